"""Every bad input gives exactly one refusal in plain words; the rest is read all the same."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from attending import intake
from attending.errors import Refusal
from attending.testing import bad_input, dicom

MR = {"modality": "MR"}


def one(path: Path, **options: object) -> Refusal:
    opened = intake.open([path], declared=MR, **options)  # type: ignore[arg-type]
    assert opened.studies == ()
    assert len(opened.refused) == 1, opened.refused
    return opened.refused[0]


@pytest.mark.parametrize("sample", bad_input.BAD, ids=lambda s: s.name)
def test_each_is_refused_once_in_plain_words(
    sample: bad_input.Sample,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / sample.name
    sample.write(path)
    recwarn.clear()
    caplog.clear()
    capfd.readouterr()
    refused = one(path)
    assert refused.input == str(path)
    assert (refused.error.code, sample.seen in refused.error.seen) == (sample.code, True), str(refused.error)
    message = str(refused.error)
    assert bad_input.SECRET not in message and str(tmp_path) not in message and sample.name not in message
    assert not re.search(r"\d+\.\d+\.\d+\.\d+", message.replace("4.1", "")), "no UID in a message"
    for part in (refused.error.seen, refused.error.allowed, refused.error.do):
        assert part and not part.endswith(".")
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn) and not caplog.records


@pytest.mark.parametrize("sample", bad_input.ODD, ids=lambda s: s.name)
def test_content_counts_not_the_name(sample: bad_input.Sample, tmp_path: Path) -> None:
    path = tmp_path / sample.name
    sample.write(path)
    opened = intake.open([path], declared=MR)
    assert opened.refused == () and len(opened.studies) == 1
    assert opened.studies[0].stacks[0].image.facts.modality == "MR"


def test_one_bad_file_among_good_ones(tmp_path: Path) -> None:
    paths = dicom.write_series(np.ones((5, 8, 8), np.uint16), dicom.oblique(), tmp_path)
    data = paths[2].read_bytes()
    paths[2].write_bytes(data[:-40])
    opened = intake.open([tmp_path])
    assert [r.input for r in opened.refused] == [str(paths[2])]
    assert opened.refused[0].error.code == "truncated"
    assert len(opened.studies[0].files) == 4
    assert [s.image.facts.shape[0] for s in opened.studies[0].stacks] == [2, 2]


def test_a_file_that_fails_only_when_decoded_is_left_out(tmp_path: Path) -> None:
    """Its codestream is damaged inside a whole fragment, which the header cannot show."""
    paths = dicom.write_series(
        np.arange(5 * 64).reshape(5, 8, 8).astype(np.uint16), dicom.oblique(), tmp_path, syntax="1.2.840.10008.1.2.5"
    )
    data = bytearray(paths[4].read_bytes())
    at = data.rindex(b"\xfe\xff\x00\xe0") + 8
    data[at : at + 64] = b"\xff" * 64
    paths[4].write_bytes(bytes(data))
    opened = intake.open([tmp_path])
    assert [r.input for r in opened.refused] == [str(paths[4])]
    assert opened.studies[0].stacks[0].image.facts.shape[0] == 4


def test_duplicates_are_dropped_and_said_so(tmp_path: Path) -> None:
    paths = dicom.write_series(np.ones((3, 8, 8), np.uint16), dicom.oblique(), tmp_path)
    (tmp_path / "copy.dcm").write_bytes(paths[0].read_bytes())
    opened = intake.open([tmp_path, tmp_path / "copy.dcm"])
    assert opened.refused == ()
    assert len(opened.studies[0].files) == 3
    assert "1 further copies of the same images left out" in opened.studies[0].given


def test_the_same_uid_with_other_bytes_is_refused(tmp_path: Path) -> None:
    dicom.write_series(np.ones((3, 8, 8), np.uint16), dicom.oblique(), tmp_path)
    ds = dicom.series(np.zeros((1, 8, 8), np.uint16), dicom.oblique())[0]
    dicom.save(ds, tmp_path / "zz.dcm")
    opened = intake.open([tmp_path])
    assert [(r.input, r.error.code) for r in opened.refused] == [(str(tmp_path / "zz.dcm"), "same_uid_other_bytes")]
    assert len(opened.studies) == 1


def test_two_patients_under_one_study_uid_are_kept_apart(tmp_path: Path) -> None:
    for name in ("A", "B"):
        dicom.save(
            dicom.image(np.ones((4, 4), np.uint8), header={"PatientID": name}, number=ord(name)), tmp_path / name
        )
    assert len(intake.open([tmp_path]).studies) == 2


def test_links_hidden_files_and_special_files(tmp_path: Path) -> None:
    dicom.write_series(np.ones((2, 8, 8), np.uint16), dicom.oblique(), tmp_path / "study")
    (tmp_path / "study" / "again").symlink_to(tmp_path / "study", target_is_directory=True)
    (tmp_path / "study" / ".DS_Store").write_bytes(b"hidden")
    (tmp_path / "study" / "loop").symlink_to(tmp_path / "study" / "loop")
    (tmp_path / "study" / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "study" / "pipe")
    opened = intake.open([tmp_path / "study"])
    assert len(opened.studies) == 1 and len(opened.studies[0].files) == 2
    assert sorted((Path(r.input).name, r.error.code) for r in opened.refused) == [
        ("gone", "not_found"), ("loop", "not_found"), ("pipe", "not_an_image"),
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.dcm"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "may not read" in one(path).error.seen


def test_nothing_there_and_empty_folders(tmp_path: Path) -> None:
    assert one(tmp_path / "absent").error.code == "not_found"
    (tmp_path / "empty").mkdir()
    assert "folder without files" in one(tmp_path / "empty").error.seen


def test_a_file_above_the_site_limit(tmp_path: Path) -> None:
    class Small:
        max_voxels, max_file_mib = 1000, 1

    (tmp_path / "big.dcm").write_bytes(bytes(2**20 + 1))
    assert re.search("files up to 1 MiB", str(one(tmp_path / "big.dcm", limits=Small()).error))
    folder = tmp_path / "series"
    dicom.write_series(np.ones((20, 8, 8), np.uint16), dicom.oblique(), folder)
    refused = one(folder, limits=Small())
    assert refused.input == str(folder) and "1280 voxels" in refused.error.seen


def test_a_deflated_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    class Small:
        max_voxels, max_file_mib = 10**9, 1

    plane = np.zeros((2048, 2048), np.uint16)
    dicom.save(dicom.image(plane), tmp_path / "bomb.dcm", syntax="1.2.840.10008.1.2.1.99")
    assert (tmp_path / "bomb.dcm").stat().st_size < 2**20
    assert "grows beyond 1 MiB" in one(tmp_path / "bomb.dcm", limits=Small()).error.seen


def test_dicomdir_beside_images_is_left_out_and_alone_refused(tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    index = Path(str(get_testdata_file("DICOMDIR"))).read_bytes()
    (tmp_path / "DICOMDIR").write_bytes(index)
    assert "DICOMDIR index without its images" in one(tmp_path).error.seen
    dicom.write_series(np.ones((2, 8, 8), np.uint16), dicom.oblique(), tmp_path / "images")
    opened = intake.open([tmp_path])
    assert opened.refused == ()
    assert "the DICOMDIR index beside the images left out" in opened.studies[0].given
    assert one(tmp_path / "DICOMDIR").error.code == "not_an_image"


def test_pictures_and_nifti_need_a_modality(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(bad_input.nifti())
    (tmp_path / "a.png").write_bytes(bad_input.png(4, 4))
    opened = intake.open([tmp_path])
    assert [r.error.code for r in opened.refused] == ["modality_undeclared"] * 2
    opened = intake.open([tmp_path], declared={"modality": "XYZ"})
    assert all("unknown modality" in r.error.seen for r in opened.refused)


def test_random_damage_never_raises(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes flipped and cut at random: read or refused, never a traceback, a warning or a line of a library."""
    rng = np.random.default_rng(5)
    seeds = []
    for k, syntax in enumerate((dicom.EXPLICIT, dicom.IMPLICIT, "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90")):
        path = dicom.write_series(
            np.arange(4096).reshape(1, 64, 64), dicom.oblique(), tmp_path / str(k), syntax=syntax
        )[0]
        seeds.append(path.read_bytes())
    seeds += [bad_input.nifti(), bad_input.png(16, 16)]
    capfd.readouterr()
    caplog.clear()
    for trial in range(240):
        data = bytearray(seeds[trial % len(seeds)])
        for _ in range(int(rng.integers(1, 12))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        if trial % 3 == 0:
            data = data[: int(rng.integers(1, len(data)))]
        path = tmp_path / f"{trial}.bin"
        path.write_bytes(bytes(data))
        opened = intake.open([path], declared=MR)
        assert len(opened.studies) + len(opened.refused) == 1
    assert capfd.readouterr() == ("", "") and not caplog.records


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"])
def test_a_codestream_cut_inside_a_whole_fragment(tmp_path: Path, syntax: str) -> None:
    plane = np.random.default_rng(0).integers(0, 4000, (64, 64)).astype(np.uint16)
    dicom.save(dicom.image(plane), tmp_path / "a.dcm", syntax=syntax)
    data = (tmp_path / "a.dcm").read_bytes()
    at = data.rindex(b"\xfe\xff\x00\xe0") + 4
    half = int.from_bytes(data[at : at + 4], "little") // 4 * 2
    cut = data[:at] + half.to_bytes(4, "little") + data[at + 4 : at + 4 + half] + b"\xfe\xff\xdd\xe0\0\0\0\0"
    (tmp_path / "a.dcm").write_bytes(cut)
    assert "damaged or ends early" in one(tmp_path / "a.dcm").error.seen


def test_a_compressed_image_of_another_size_with_as_many_pixels(tmp_path: Path) -> None:
    plane = np.random.default_rng(0).integers(0, 4000, (64, 32)).astype(np.uint16)
    dicom.save(dicom.image(plane), tmp_path / "a.dcm", syntax="1.2.840.10008.1.2.4.90")
    data = (tmp_path / "a.dcm").read_bytes()
    data = data.replace(b"\x28\0\x10\0US\2\0\x40\0", b"\x28\0\x10\0US\2\0\x20\0")
    data = data.replace(b"\x28\0\x11\0US\2\0\x20\0", b"\x28\0\x11\0US\2\0\x40\0")
    (tmp_path / "a.dcm").write_bytes(data)
    assert "a compressed image of 64 x 32 where the header claims 32 x 64" in one(tmp_path / "a.dcm").error.seen


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    dicom.save(dicom.image(np.full((16, 16), 7, np.uint16)), tmp_path / "a.dcm")
    data = (tmp_path / "a.dcm").read_bytes()
    for length in range(1, len(data), 11):
        (tmp_path / "b.dcm").write_bytes(data[:length])
        assert one(tmp_path / "b.dcm").error.code in ("truncated", "not_an_image")


@pytest.mark.parametrize("kind", ["png", "nifti", "dicom"])
def test_too_little_memory_is_a_refusal(tmp_path: Path, kind: str) -> None:
    """In a process that may use 300 MiB more than it started with."""
    import gzip
    import subprocess
    import sys

    path = tmp_path / f"large.{kind}"
    if kind == "png":
        path.write_bytes(bad_input.png(16000, 16000))
    elif kind == "nifti":
        path.write_bytes(gzip.compress(bad_input.nifti((600, 600, 600), data=bytes(2 * 600**3)), 1))
    else:
        plane = np.zeros((1, 4096, 4096), np.uint8).repeat(12, axis=0)
        dicom.save(dicom.image(plane, modality="US", frames=True), path, syntax="1.2.840.10008.1.2.5")
    code = (
        "import sys, resource, psutil, numpy, PIL.Image, nibabel, pydicom.pixels\n"
        "from attending import intake\n"
        "from attending.intake import nifti, pictures\n"
        "room = psutil.Process().memory_info().vms + 300 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (room, room))\n"
        "opened = intake.open([sys.argv[1]], declared={'modality': 'MR'})\n"
        "print([r.error.code for r in opened.refused])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.stderr) == ("['too_large']", "")
