"""A corpus of real quirks with declared outcomes, and a dozen of its files checked against other readers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import intake
from attending.records import Image

ROOT = Path(__file__).resolve().parent.parent
DECLARED = json.loads((ROOT / "tests" / "cases" / "dicom_corpus.json").read_text())


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("dicom_corpus", ROOT / "scripts" / "dicom_corpus.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CORPUS = _script()
FILES = dict(CORPUS.pydicom_files())


@pytest.mark.parametrize("name", sorted(FILES))
def test_outcome_is_the_declared_one(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert CORPUS.outcome(FILES[name]) == DECLARED["pydicom"][name]
    assert capfd.readouterr() == ("", "")


def test_every_file_of_pydicom_is_declared() -> None:
    assert set(FILES) == set(DECLARED["pydicom"])


def test_the_table_says_what_is_declared() -> None:
    table = (ROOT / "docs" / "dicom-corpus.md").read_text()
    for outcomes in DECLARED.values():
        for name, outcome in outcomes.items():
            assert CORPUS.row(name, outcome) in table


def test_outcomes_of_pydicom_data_are_the_declared_ones(pulled: Callable[[str], dict[str, Path]]) -> None:
    folder = next(iter(pulled("pydicom-data").values())).parent
    wrong = [n for n, p in CORPUS.data_files(folder) if CORPUS.outcome(p) != DECLARED["pydicom-data"][n]]
    assert wrong == []


def one(path: Path) -> Image:
    opened = intake.open([path])
    assert opened.refused == ()
    return opened.studies[0].stacks[0].image


# Files whose voxels another reader gives too, and what the modality makes of the stored values.
PLAIN = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "693_J2KI.dcm",
    "J2K_pixelrep_mismatch.dcm", "image_dfl.dcm", "JPEG2000.dcm", "examples_overlay.dcm",
]  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_grey_voxels_are_those_of_pydicom(name: str) -> None:
    from pydicom import dcmread

    ds = dcmread(FILES[name])
    said = ds.pixel_array.astype(np.float64) * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
    np.testing.assert_array_equal(one(FILES[name]).voxels[0], said)


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "693_J2KI.dcm", "examples_overlay.dcm"]
)
def test_voxels_spacing_and_place_are_those_of_simpleitk(name: str) -> None:
    import SimpleITK as sitk

    peer, image = sitk.ReadImage(str(FILES[name])), one(FILES[name])
    np.testing.assert_array_equal(image.voxels, sitk.GetArrayFromImage(peer))
    assert image.facts.spacing is not None and image.affine is not None
    np.testing.assert_allclose(image.facts.spacing[:2], peer.GetSpacing()[:2], rtol=1e-6)
    size = np.array(image.facts.shape[::-1]) - 1
    for corner in ((0, 0, 0), (size[0], 0, 0), (0, size[1], 0)):
        said = peer.TransformIndexToPhysicalPoint([int(c) for c in corner])
        np.testing.assert_allclose((image.affine @ [*corner, 1])[:3], said, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["SC_rgb_rle.dcm", "SC_rgb_jpeg_gdcm.dcm", "ExplVR_BigEnd.dcm", "examples_rgb_color.dcm"]
)
def test_colour_is_that_of_simpleitk(name: str) -> None:
    import SimpleITK as sitk

    peer = sitk.GetArrayFromImage(sitk.ReadImage(str(FILES[name])))
    np.testing.assert_array_equal(one(FILES[name]).voxels, peer.reshape(one(FILES[name]).voxels.shape))


def test_palette_is_that_of_pydicom() -> None:
    from pydicom import dcmread
    from pydicom.pixels import apply_color_lut

    ds = dcmread(FILES["examples_palette.dcm"])
    table = apply_color_lut(ds.pixel_array, ds)
    said = (table >> 8 if table.dtype != np.uint8 and table.max() > 255 else table)[..., :3]
    np.testing.assert_array_equal(one(FILES["examples_palette.dcm"]).voxels[0], said)


def test_no_traceback_and_no_line_of_a_library_on_stderr() -> None:
    """In a process of its own, so that C libraries and logging's last resort are heard too."""
    code = (
        "from attending import intake; import pydicom.data, pathlib\n"
        "f = pathlib.Path(pydicom.data.__file__).parent / 'test_files'\n"
        "o = intake.open([f]); print(len(o.studies), len(o.refused))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.stderr == ""
    studies, refused = map(int, done.stdout.split())
    assert studies > 20 and refused > 20
