"""The registry: anyone's plugin by an entry point, failures named, licences and hashes before use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from attending import models, site
from attending.errors import (
    ExtraMissing,
    HashMismatch,
    LicenceRefused,
    NotLooking,
    NotPulled,
    PluginFailed,
    UnknownModel,
)
from attending.models import echo, encoders
from attending.testing import image_for

Install = Callable[..., None]

PLUGIN = """
from attending.models import Card
from attending.records import Code, Detection

CODE = Code("99TEST", "x", "X")

class Mine:
    card = Card("mine", "1", "Mine", ("Detector",), "python", {licence!r}, intended_use="tests", limits="none",
                labels={{"x": CODE}}, extra={extra!r})

    def __init__(self, setup):
        self.threads = setup.threads

    def detect(self, image, progress=None):
        plane = image.voxels[0].astype(float)
        return (Detection(CODE, min(1.0, float(abs(plane - plane[:, ::-1]).mean()) / 200)),)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with entry points on the path, as pip would, without pip."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def put(module: str, source: str, **points: str) -> None:
        (folder / f"{module}.py").write_text(source)
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = "".join(f"{name.replace('_', '-')} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{models.GROUP}]\n{lines}")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return put


@pytest.fixture
def settings(home: Path) -> site.Site:
    return site.load(home)


def accepting(settings: site.Site, *ids: str) -> site.Site:
    return replace(settings, models=replace(settings.models, accept_unlicensed=ids))


def test_anyones_plugin_loads_by_its_entry_point(install: Install, settings: site.Site, tmp_path: Path) -> None:
    install("third_party_a", PLUGIN.format(licence="MIT", extra=None), mine="third_party_a:Mine")
    plugin = models.load("mine", settings, tmp_path)
    assert plugin.card.title == "Mine" and plugin.threads == settings.models.threads
    assert plugin.detect(image_for(plugin.card, "noise"))[0].score == 1.0
    assert models.card_of("mine", tmp_path) == plugin.card


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("raise RuntimeError('no such chip')", r"bad \(third_party_b:Bad\) failed .*RuntimeError: no such chip"),
        ("raise SystemExit(3)", "failed while importing it: SystemExit"),
        ("import a_library_that_nobody_has", "ModuleNotFoundError: No module named 'a_library_that_nobody_has'"),
        ("", "AttributeError"),
        ("class Bad: pass", "has no card of that id"),
        (PLUGIN.format(licence="MIT", extra=None) + "\nBad = Mine", "has no card of that id"),
    ],
)  # fmt: skip
def test_a_plugin_that_fails_is_named_and_the_others_load(
    install: Install, settings: site.Site, tmp_path: Path, source: str, match: str
) -> None:
    install("third_party_b", source, bad="third_party_b:Bad")
    with pytest.raises(PluginFailed, match=match) as failed:
        models.load("bad", settings, tmp_path)
    assert failed.value.do
    assert models.load("echo", settings, tmp_path).card.id == "echo"
    listed = {status.card.id: status for status in models.installed(settings, tmp_path)}
    assert not listed["bad"].usable and listed["bad"].why and listed["bad"].do
    assert listed["echo"].usable and listed["skimage-descriptors"].usable


def test_a_plugin_that_fails_while_it_is_built_is_named(install: Install, settings: site.Site, tmp_path: Path) -> None:
    source = PLUGIN.format(licence="MIT", extra=None).replace("self.threads = setup.threads", "1 / 0")
    install("third_party_c", source, mine="third_party_c:Mine")
    with pytest.raises(PluginFailed, match=r"the plugin mine .* failed while building it: ZeroDivisionError"):
        models.load("mine", settings, tmp_path)


def test_a_plugin_without_the_methods_of_its_card_is_named(
    install: Install, settings: site.Site, tmp_path: Path
) -> None:
    source = PLUGIN.format(licence="MIT", extra=None).replace("def detect", "def detekt")
    install("third_party_d", source, mine="third_party_d:Mine")
    with pytest.raises(PluginFailed, match="no methods of Detector"):
        models.load("mine", settings, tmp_path)


def test_two_packages_with_one_id_are_refused_and_a_built_in_keeps_its_own(
    install: Install, settings: site.Site, tmp_path: Path
) -> None:
    install(
        "third_party_e", PLUGIN.format(licence="MIT", extra=None), mine="third_party_e:Mine", echo="third_party_e:Mine"
    )
    install("third_party_f", PLUGIN.format(licence="MIT", extra=None), mine="third_party_f:Mine")
    with pytest.raises(PluginFailed, match="two packages provide a model mine"):
        models.load("mine", settings, tmp_path)
    assert isinstance(models.load("echo", settings, tmp_path), echo.Echo)


def test_a_plugin_that_does_not_look_is_refused_with_the_figures_and_listed_so(
    install: Install, settings: site.Site, tmp_path: Path
) -> None:
    source = PLUGIN.format(licence="MIT", extra=None).replace("abs(plane - plane[:, ::-1])", "plane")
    install("third_party_i", source, mine="third_party_i:Mine")
    with pytest.raises(NotLooking, match="its own voxels shuffled changes 0 of 24 answers") as refused:
        models.load("mine", settings, tmp_path)
    assert "attending models check mine" in refused.value.do
    listed = {status.card.id: status for status in models.installed(settings, tmp_path)}
    assert not listed["mine"].usable and "does not look" in listed["mine"].why
    assert models.load("mine", settings, tmp_path, unseeing=True).card.id == "mine"


def test_a_plugin_without_a_licence_needs_the_sites_word(install: Install, settings: site.Site, tmp_path: Path) -> None:
    install("third_party_g", PLUGIN.format(licence=None, extra=None), mine="third_party_g:Mine")
    with pytest.raises(LicenceRefused, match=r'add "mine" to models\.accept_unlicensed in site\.toml'):
        models.load("mine", settings, tmp_path)
    assert models.load("mine", accepting(settings, "mine"), tmp_path).card.licence is None
    listed = {status.card.id: status for status in models.installed(settings, tmp_path)}
    assert not listed["mine"].usable and "no licence" in listed["mine"].why


def test_the_licence_gate_stands_before_everything_else(settings: site.Site, tmp_path: Path) -> None:
    with pytest.raises(LicenceRefused, match="pneumonia-xception states no licence"):
        models.load("pneumonia-xception", settings, tmp_path)
    with pytest.raises(NotPulled, match="pneumonia-xception are not in the cache"):
        models.load("pneumonia-xception", accepting(settings, "pneumonia-xception"), tmp_path)


def test_a_missing_library_is_told_with_the_line_that_installs_it(
    install: Install, settings: site.Site, tmp_path: Path
) -> None:
    install("third_party_h", PLUGIN.format(licence="MIT", extra="torch_of_nobody"), mine="third_party_h:Mine")
    with pytest.raises(ExtraMissing, match=r"'\.\[torch_of_nobody\]'"):
        models.load("mine", settings, tmp_path)


def test_what_is_not_pulled_says_how(settings: site.Site, tmp_path: Path) -> None:
    with pytest.raises(NotPulled, match="attending models pull efficientnet-lite0"):
        models.load("efficientnet-lite0", settings, tmp_path)
    listed = {status.card.id: status for status in models.installed(settings, tmp_path)}
    assert listed["efficientnet-lite0"].do == "run: attending models pull efficientnet-lite0"


def test_unknown_ids_and_data_sets_are_refused(settings: site.Site, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="did you mean skimage-descriptors"):
        models.load("skimage-descriptor", settings, tmp_path)
    with pytest.raises(UnknownModel, match="is a data set"):
        models.load("pydicom-data", settings, tmp_path)


def test_files_that_were_changed_in_the_cache_are_not_run(
    pulled: Callable[[str], dict[str, Path]], cache: Path, settings: site.Site, tmp_path: Path
) -> None:
    (model,) = pulled("efficientnet-lite0").values()
    mine = tmp_path / "cache" / "efficientnet-lite0" / model.parent.name
    mine.mkdir(parents=True)
    for path in model.parent.iterdir():
        (mine / path.name).write_bytes(path.read_bytes())
    assert models.load("efficientnet-lite0", settings, tmp_path / "cache").card.files.keys() == {"model.onnx"}
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    (mine / "model.onnx").write_bytes(data)
    with pytest.raises(HashMismatch, match=r"model\.onnx of efficientnet-lite0 in the cache was changed"):
        models.load("efficientnet-lite0", settings, tmp_path / "cache")


def test_every_built_in_of_the_catalog_has_a_door(settings: site.Site, tmp_path: Path) -> None:
    without = {s.card.id for s in models.installed(settings, tmp_path) if s.why.startswith("no plugin here runs")}
    assert without == {"whisper-base", "i3resnet152-astra", "rapidocr-ppocrv6"}


def test_built_ins_load_by_the_same_door(settings: site.Site, tmp_path: Path) -> None:
    assert isinstance(models.load("skimage-descriptors", settings, tmp_path), encoders.SkimageDescriptors)


def test_importing_the_room_and_listing_models_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from attending import models, site; "
        f"s = site.load(Path({str(tmp_path)!r})); models.installed(s, Path({str(tmp_path)!r})); models.catalog(); "
        "heavy = ('onnxruntime', 'onnx', 'xllamacpp', 'sklearn', 'skimage', 'scipy', 'torch', 'PIL'); "
        "print(*[m for m in heavy if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
