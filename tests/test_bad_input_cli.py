"""Bad input as a user meets it: one run of the command over everything that must be refused, and over odd paths."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending.testing import dicom
from attending.testing.bad_input import BAD, ODD, SECRET, Sample

MAIN = [sys.executable, "-c", "from attending.cli import main; main()"]
QUIET = 'schema = 1\n[models]\nwriter = "none"\nhead = "none"\ntumour = "none"\n'


@dataclass(frozen=True)
class Run:
    """code: exit code; rows: JSON objects of stdout; err: stderr; home: the hospital's folder."""

    code: int
    rows: list[dict[str, Any]]
    err: str
    home: Path

    def of(self, path: object) -> list[dict[str, Any]]:
        return [row for row in self.rows if row.get("input") == str(path)]


def attending(*words: object, home: Path, **options: Any) -> Run:
    """The command in a process of its own; every line of its stdout must be a JSON object with the schema."""
    if not home.exists() and os.access(home.parent, os.W_OK) and home.parts[1] not in ("proc", "dev"):
        home.mkdir()
        (home / "site.toml").write_text(QUIET)
    environment = os.environ | options.pop("env", {})
    result = subprocess.run(
        [*MAIN, *str(words[0]).split(), "--json", "--home", str(home), *map(str, words[1:])],
        capture_output=True,
        env=environment,
        timeout=120,
        **options,
    )
    err = result.stderr.decode()
    assert "Traceback" not in err and "Warning" not in err, err[-2000:]
    rows = [json.loads(line) for line in result.stdout.decode().splitlines()]
    assert all(row["schema"] == 1 for row in rows)
    return Run(result.returncode, rows, err, home)


def image(seed: int, **options: Any) -> bytes:
    """One MR image with UIDs of its own and the secret in its header."""
    import io

    plane = np.random.default_rng(seed).integers(1, 4000, (32, 40)).astype(np.uint16)
    header = {"PatientName": f"{SECRET}^X", "PatientID": SECRET, **options.pop("header", {})}
    buffer = io.BytesIO()
    dicom.save(dicom.image(plane, modality="MR", seed=f"cli-{seed}", header=header, **options), buffer)
    return buffer.getvalue()


def write(sample: Sample, path: Path, number: int) -> None:
    """A sample under UIDs of its own, so that all of them can be read in one run."""
    sample.write(path)
    data = path.read_bytes()
    for part in (("instance", 1), ("study",)):
        old = dicom.uid("attending", *part).encode()
        data = data.replace(old, old[:-3] + f"{number:03d}".encode())
    path.write_bytes(data)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """Every bad sample, in a folder named after the patient, and every odd one that must be read, in one run."""
    folder = tmp_path_factory.mktemp("bad") / f"{SECRET} 19700101"
    folder.mkdir()
    # What a deflated or compressed file holds cannot be renamed: those with the same UIDs get a run in test_intake.
    samples = [s for s in BAD if s.name != "cut-deflated.dcm"] + [s for s in ODD if s.name != "deflated.dcm"]
    for number, sample in enumerate(samples):
        write(sample, folder / sample.name, number)
    return attending("read", folder, "--modality", "MR", home=folder.parent / "home"), folder


@pytest.mark.parametrize("sample", [s for s in BAD if s.name != "cut-deflated.dcm"], ids=lambda s: s.name)
def test_each_bad_input_is_one_error_that_says_what_to_do(mixed: tuple[Run, Path], sample: Sample) -> None:
    run, folder = mixed
    (row,) = run.of(folder / sample.name)
    assert set(row) == {"schema", "error", "input"}
    assert row["error"]["code"] == sample.code
    assert sample.seen in row["error"]["seen"]
    assert all(row["error"][key].strip() for key in ("seen", "allowed", "do"))
    assert SECRET not in json.dumps(row["error"]) and str(folder) not in json.dumps(row["error"])


def test_the_others_are_read_and_nothing_is_kept_of_the_refused(mixed: tuple[Run, Path]) -> None:
    run, folder = mixed
    assert run.code == 1
    read = {row["id"] for row in run.rows if "id" in row}
    errors = [row for row in run.rows if "error" in row]
    assert len(read) == len(ODD) - 1 and len(errors) == len(BAD) - 1
    listed = attending("list", home=run.home).rows
    assert {row["id"] for row in listed} == read
    assert {path.name for path in (run.home / "readings").iterdir()} == read
    assert {path.stem for path in (run.home / "vault").iterdir()} == read
    assert not list((run.home / "tmp").iterdir())
    outside = [p for p in run.home.rglob("*") if p.is_file() and "vault" not in p.parts]
    assert outside and not [p for p in outside if SECRET.encode() in p.read_bytes()]
    assert SECRET not in run.err.replace(str(folder), "")


@pytest.fixture(scope="module")
def odd_paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """One run over paths that are no plain files, and over names that are no plain text, beside good files."""
    top = tmp_path_factory.mktemp("odd")
    (top / "empty").mkdir()
    (top / "hidden").mkdir()
    (top / "hidden" / ".DS_Store").write_bytes(b"x")
    (top / "loop").symlink_to("loop")
    (top / "dangling").symlink_to("nowhere")
    os.mkfifo(top / "fifo")
    os.mknod(top / "socket", stat.S_IFSOCK | 0o600)
    good = top / "good"
    good.mkdir()
    (good / "back").symlink_to("..")
    (good / "a file ünïcode\nof two lines.dcm").write_bytes(image(1))
    Path(os.fsdecode(os.fsencode(good) + b"/no-utf-8-\xff.dcm")).write_bytes(image(2))
    Path(os.fsdecode(os.fsencode(good) + b"/no-utf-8-\xfe.txt")).write_text("x")
    deep = str(good)
    for _ in range(1100):
        deep += "/d"
        Path(deep).mkdir()
    Path(deep, "x.dcm").write_bytes(image(3))
    names = ["empty", "hidden", "loop", "dangling", "fifo", "socket", "nowhere", "good"]
    paths = ["", "/dev/null", str(top / "good" / "x" / "y"), *(str(top / name) for name in names)]
    env = {"PYTHONIOENCODING": "utf-8:strict"}
    run = attending("read", *paths, home=top / "home", env=env, cwd=top / "empty")
    subprocess.run(["rm", "-rf", str(good / "d")], check=True)  # too deep for what tidies up after pytest
    return run, top


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("", "an empty path"),
        ("/dev/null", "a device"),
        ("empty", "a folder without files"),
        ("hidden", "a folder without files"),
        ("loop", "link"),
        ("dangling", "a link that leads nowhere"),
        ("fifo", "a device, pipe or socket"),
        ("socket", "a device, pipe or socket"),
        ("nowhere", "no file or folder"),
        ("good/x/y", "no file or folder"),
    ],
)
def test_what_is_no_file_is_refused_by_name(odd_paths: tuple[Run, Path], name: str, seen: str) -> None:
    run, top = odd_paths
    rows = run.of(name if not name or name.startswith("/") else top / name)
    assert rows and seen in rows[0]["error"]["seen"]


def test_names_that_are_no_text_links_upwards_and_deep_folders_are_read(odd_paths: tuple[Run, Path]) -> None:
    run, _ = odd_paths
    assert run.code == 1
    assert sum("id" in row for row in run.rows) == 3
    assert any(row.get("input", "").endswith("no-utf-8-\udcfe.txt") for row in run.rows)


def test_a_damaged_slice_is_left_out_of_its_series(tmp_path: Path) -> None:
    for number in range(4):
        place = {
            "SOPInstanceUID": dicom.uid("slice", number),
            "ImagePositionPatient": [0, 0, 3 * number],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [1, 1],
        }
        data = image(9, number=number + 1, header=place)
        (tmp_path / f"{number}.dcm").write_bytes(data if number < 3 else data[:-100])
    run = attending("read", tmp_path, home=tmp_path.parent / "home-of-series")
    assert run.code == 1
    (refused,) = [row for row in run.rows if "error" in row]
    assert refused["input"].endswith("3.dcm") and refused["error"]["code"] == "truncated"
    (read,) = [row for row in run.rows if "id" in row]
    assert "3 planes" in read["evidence"][0]["text"]


def test_a_codestream_that_makes_its_decoder_abort_is_one_error(tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    data = Path(str(get_testdata_file("SC_rgb_jpeg_gdcm.dcm", download=False))).read_bytes()
    adobe = data.index(b"Adobe\0d")
    (tmp_path / "bad.dcm").write_bytes(data[: adobe + 11] + b"\x94" + data[adobe + 12 :])  # an unknown colour transform
    (tmp_path / "good.dcm").write_bytes(image(1))
    run = attending("read", tmp_path, home=tmp_path.parent / "home-of-abort")
    assert run.code == 1
    assert [row["error"]["code"] for row in run.rows if "error" in row] == ["truncated"]
    assert sum("id" in row for row in run.rows) == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), "modality_undeclared"),
        (("--modality", "XX"), "modality_undeclared"),
        (("--modality", ""), "modality_undeclared"),
        (("--modality", "cr"), None),
    ],
    ids=["none", "unknown", "empty", "lower case"],
)
def test_a_picture_needs_a_modality_of_dicom(tmp_path: Path, options: tuple[str, ...], code: str | None) -> None:
    next(s for s in ODD if s.name == "png-named.jpg").write(tmp_path / "p.png")
    run = attending("read", tmp_path / "p.png", *options, home=tmp_path / "home")
    (row,) = run.rows
    assert (run.code, row.get("error", {}).get("code")) == ((3, code) if code else (0, None))
    assert row.get("modality") == (None if code else "CR")


def test_a_section_whose_header_calls_it_a_radiograph_is_kept_from_the_models(tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    ds = dicom_of(str(get_testdata_file("MR_small.dcm", download=False)))
    ds.Modality, ds.SOPClassUID = "CR", dicom.SOP_CLASSES["CR"]
    ds.save_as(tmp_path / "x.dcm")
    run = attending("read", tmp_path / "x.dcm", home=tmp_path / "home")
    assert run.code == 0  # a refusal of the gate is a reading
    assert "no radiograph is. Kept from every model" in run.rows[0]["evidence"][0]["text"]
    assert run.rows[0]["not_assessed"] and not run.rows[0]["findings"]


def dicom_of(path: str) -> Any:
    from pydicom import dcmread

    return dcmread(path)


@pytest.mark.parametrize("toml", ["bogus", "schema = 99", "schema = 1\n[models]\nwriter = 5\n", "[limits]\nx = 1\n"])
def test_a_site_that_cannot_be_read_refuses_everything_once(tmp_path: Path, toml: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "site.toml").write_text(toml)
    (tmp_path / "a.dcm").write_bytes(image(1))
    (tmp_path / "b.dcm").write_bytes(image(2))
    run = attending("read", tmp_path / "a.dcm", tmp_path / "b.dcm", home=home)
    assert run.code == 3
    assert [row["error"]["code"] for row in run.rows] in (["site_error"], ["unknown_version"])


@pytest.mark.parametrize("home", ["/proc/attending", "/dev/null/home", "/dev/null"])
def test_a_home_where_nothing_can_be_made_is_one_message(tmp_path: Path, home: str) -> None:
    (tmp_path / "a.dcm").write_bytes(image(1))
    run = attending("read", tmp_path / "a.dcm", home=Path(home))
    assert run.code == 3
    (row,) = run.rows
    assert row["error"]["code"] == "home_read_only"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_an_output_without_space_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(image(1))
    attending("read", tmp_path / "a.dcm", home=tmp_path / "home")
    for words in (["list"], ["list", "--json"]):
        with Path("/dev/full").open("w") as full:
            command = [*MAIN, *words, "--home", str(tmp_path / "home")]
            result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert result.returncode == 1 and "No space left" in result.stderr and "Traceback" not in result.stderr


def test_processes_that_read_the_same_study_at_once_all_read_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "site.toml").write_text(QUIET)
    (tmp_path / "a.dcm").write_bytes(image(1))
    command = [*MAIN, "read", str(tmp_path / "a.dcm"), "--json", "--home", str(home)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    rows = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    assert [process.returncode for process in running] == [0] * 4, rows
    assert len({row["id"] for row in rows}) == 1 and sorted(row["version"] for row in rows) == [1, 2, 3, 4]
    assert attending("audit verify", home=home).code == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b"{}", b'{"schema": 1, "id": "other"}'],
    ids=["empty", "cut", "list", "null", "no text", "nested", "bare", "of another"],
)
def test_an_edit_that_is_no_report_signs_nothing(tmp_path_factory: Any, content: bytes) -> None:
    home = tmp_path_factory.getbasetemp() / "home-of-edits"
    if not home.exists():
        (home.parent / "edit.dcm").write_bytes(image(1))
        attending("read", home.parent / "edit.dcm", home=home)
    edit = home.parent / "edit.json"
    edit.write_bytes(content)
    (kept,) = attending("list", home=home).rows
    run = attending("sign", kept["id"], "--by", "demo", "--edit", edit, home=home)
    assert run.code == 1 and run.rows[0]["error"]["code"] == "edit_refused"
    assert attending("list", home=home).rows == [kept]


def test_an_edit_saved_with_a_byte_order_mark_signs(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(image(1))
    (read,) = attending("read", tmp_path / "a.dcm", home=tmp_path / "home").rows
    edit = tmp_path / "edit.json"
    edit.write_bytes(b"\xef\xbb\xbf" + Path(read["files"]["report"]).read_bytes())
    assert attending("sign", read["id"], "--by", "demo", "--edit", edit, home=tmp_path / "home").code == 0
