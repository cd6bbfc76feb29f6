"""An archive needs the memory of one study, not of all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attending import intake
from attending.errors import Refusal
from attending.intake import opening
from attending.testing import dicom


def test_studies_that_were_put_down_are_read_again_and_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        voxels = np.full((4, 16, 16), 10 + n, np.uint16)
        dicom.write_series(voxels, dicom.oblique(), tmp_path / str(n), seed=f"study {n}")
    whole = intake.open([tmp_path])
    monkeypatch.setattr(opening, "KEPT_IN_MEMORY", 0)
    again = intake.open([tmp_path])
    assert [s.digest for s in again.studies] == [s.digest for s in whole.studies] and len(again.studies) == 3
    assert again.inputs == whole.inputs
    for one, two in zip(again.studies, whole.studies, strict=True):
        assert np.array_equal(one.stacks[0].image.voxels, two.stacks[0].image.voxels)


def test_a_file_that_changes_in_between_is_refused_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicom.write_series(np.ones((1, 8, 8), np.uint16), dicom.oblique(), tmp_path / "a", seed="a")
    (changed,) = dicom.write_series(np.ones((1, 8, 8), np.uint16), dicom.oblique(), tmp_path / "b", seed="b")
    monkeypatch.setattr(opening, "KEPT_IN_MEMORY", 0)
    items = intake.each([tmp_path])
    first = next(items)
    assert not isinstance(first, Refusal)
    changed.write_bytes(changed.read_bytes()[:-20])
    (second,) = list(items)
    assert isinstance(second, Refusal) and "changed while it was read" in second.error.seen
