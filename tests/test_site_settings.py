"""site.toml: defaults, the commented file, what is refused, and that docs/site.md forgets nothing."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from attending import site
from attending.errors import HomeReadOnly, RoleRefused, SiteError, UnknownPerson
from attending.site.load import default_text

DOCS = Path(__file__).resolve().parent.parent / "docs" / "site.md"


def load(home: Path, text: str) -> site.Site:
    home.mkdir(exist_ok=True)
    (home / "site.toml").write_text(text, encoding="utf-8")
    return site.load(home)


def test_a_home_that_does_not_exist_has_the_defaults_and_demo(home: Path) -> None:
    made = site.load(home)
    assert not home.exists()
    assert made.home == home
    assert made.models.writer == "smollm2-135m-instruct"
    assert made.person("demo", "approver").roles == tuple(site.ROLES)


def test_the_written_file_changes_nothing_commented_or_not(home: Path) -> None:
    path = site.write_default(home)
    assert path.stat().st_mode & 0o777 == 0o600
    assert site.load(home) == dataclasses.replace(site.load(home / "none"), home=home)
    bare = re.sub(r"^# ((?!Every|The )\w+ = .*|\[\[people\]\])$", r"\1", path.read_text(), flags=re.M)
    made = load(home, bare)
    assert dataclasses.replace(made, people=()) == dataclasses.replace(site.load(home / "none"), home=home, people=())
    assert made.people == (site.Person("A. Reader", ("radiologist",)),)
    # Every setting but the schema was commented, and none is missing from the file.
    flat = {"schema", "name", "people.name", "people.roles"} | {
        f"{section}.{key}" for section, table in tomllib.loads(bare).items() if isinstance(table, dict) for key in table
    }
    assert flat == {s.name for s in site.SETTINGS}


def test_init_twice_is_refused(home: Path) -> None:
    site.write_default(home)
    with pytest.raises(SiteError, match=r"site\.toml is there already"):
        site.write_default(home)


def test_docs_list_every_setting_with_its_type_and_default() -> None:
    rows = {
        cells[0]: cells[1:]
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
        for cells in [[c.strip().strip("`") for c in line.strip("|").split("|")]]
    }
    assert rows == {s.name: [s.type, s.default, s.meaning] for s in site.SETTINGS}


def test_frozen() -> None:
    made = site.load(Path("nowhere"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.models.threads = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("colour = 1", r"unknown key 'colour'"),
        ("[models]\nwriters = 'x'", r"unknown key 'models\.writers'.*write 'models\.writer'"),
        ("[models]\nthreads = '2'", r"models\.threads = '2'; allowed: a whole number"),
        ("[models]\nthreads = true", r"models\.threads = True; allowed: a whole number"),
        ("[models]\nthreads = 0", r"models\.threads = 0; allowed: 1 to 256"),
        ("[models]\nwriter = ''", r"models\.writer an empty text"),
        ("[models]\naccept_unlicensed = 'x'", r"allowed: a list of texts"),
        ("models = 3", r"allowed: a table \[models\]"),
        ("[thresholds]\npresent = 1.5", r"present = 1\.5; allowed: 0\.0 to 1\.0"),
        ("[thresholds]\npresent = nan", r"present = nan"),
        ("[thresholds]\npresent = 0.1", r"allowed: absent below present"),
        ("[vault]\nkey = 'cloud'", r"'file' or 'keyring'"),
        ("schema = 2", r"schema = 2; allowed: schema 1"),
        ("schema = 'x'", r"schema = 'x'"),
        ("people = 'demo'", r"tables \[\[people\]\]"),
        ("[[people]]\nname = 'A'", r"without roles"),
        ("[[people]]\nname = 'A'\nroles = ['boss']", r"role 'boss'; allowed: radiologist"),
        ("[[people]]\nname = 'A'\nroles = []\n[[people]]\nname = 'A'\nroles = []", r"one person twice"),
        ("= nothing", r"not TOML"),
    ],
)
def test_what_is_refused(home: Path, text: str, match: str) -> None:
    with pytest.raises(SiteError, match=match):
        load(home, text)


def test_not_utf8(home: Path) -> None:
    home.mkdir()
    (home / "site.toml").write_bytes(b'name = "\xff\xfe"')
    with pytest.raises(SiteError, match="not UTF-8"):
        site.load(home)


def test_people_and_roles(home: Path) -> None:
    made = load(home, "[[people]]\nname = 'A'\nroles = ['radiologist']\n[[people]]\nname = 'B'\nroles = ['privacy']")
    assert made.person("A").name == "A"
    with pytest.raises(UnknownPerson, match=r"not in site\.toml; allowed: A, B"):
        made.person("demo")
    with pytest.raises(RoleRefused, match=r"'A' has the roles radiologist.*ask one of: B"):
        made.person("A", "privacy")


def test_whole_numbers_are_numbers_too(home: Path) -> None:
    assert load(home, "[thresholds]\npresent = 1").thresholds.present == 1.0


def test_folders_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, function in (("HOME", site.default_home), ("CACHE", site.cache_dir), ("MIRROR", site.mirror_dir)):
        monkeypatch.setenv(f"ATTENDING_{name}", str(tmp_path / name))
        assert function() == tmp_path / name
        monkeypatch.delenv(f"ATTENDING_{name}")
    assert site.mirror_dir() is None
    assert site.cache_dir().name == "attending"


def test_a_file_in_place_of_the_home(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("x")
    assert site.load(tmp_path / "home").name == "demo site"
    with pytest.raises(HomeReadOnly, match="a file stands where"):
        site.write_default(tmp_path / "home")


def test_the_default_text_is_toml() -> None:
    assert tomllib.loads(default_text())["schema"] == 1
