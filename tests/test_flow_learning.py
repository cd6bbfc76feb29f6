"""The learning half of flow: what may teach, and a candidate learned again after the release changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydicom.data import get_testdata_file

from attending import Hospital, demo, exporting, flow, learning, reviewing, teaching
from attending.equipment import head_of
from attending.errors import ExportRefused, IdentifierInText, ReleaseRefused, ThinlyTested, UnknownModel
from attending.records import CaseFacts, Code, Image, ImageFacts, Reading, Release, Study
from attending.site import load
from attending.store import Store
from attending.testing import dicom

CODE = Code("SCT", "233604007", "Pneumonia")
SPACE = "test/1"
RULES = 'schema = 1\n[models]\nwriter = "none"\nhead = "none"\ntumour = "none"\n'


def turns(store: Store, home: Path) -> Any:
    """A function of shots: one turn on synthetic vectors of 600 pictures."""
    rng = np.random.default_rng(0)
    facts = (ImageFacts("i1", (1, 28, 28), None, None, "DX"),)
    ids = [f"c{n:04}" for n in range(600)]
    cases = {id: CaseFacts(id, id, "picture", facts, use="teach", source="set") for id in ids}
    vectors = {(id, "i1"): (rng.normal(size=8) + 0.8 * (n % 2)).astype(np.float32) for n, id in enumerate(ids)}
    when = "2026-01-01T00:00:00+00:00"
    reviews = [reviewing.imported(id, CODE.value, n % 2, "set", when) for n, id in enumerate(ids)]
    store.save_vectors(SPACE, [(case, image, v) for (case, image), v in vectors.items()])
    whole = learning.training_set(reviews, cases, vectors, CODE, encoder=SPACE, key=store.secret("split"))

    def turn(shots: int) -> Release:
        learned = learning.train(learning.few(whole, shots), vectors, cases, CODE, created=when)
        return flow._proven(learned, vectors, store, load(home))

    return turn


def test_a_candidate_learned_again_is_compared_with_the_release_in_use_now(home: Path) -> None:
    with Store.open(home) as store:
        site, turn = load(home), turns(store, home)
        first, second = turn(60), turn(400)
        assert (first.status, second.status) == ("candidate", "candidate")
        flow.approve(store, site, first.id, "demo")
        with pytest.raises(ThinlyTested, match="not compared with the release in use"):
            flow.approve(store, site, second.id, "demo")
        again = turn(400)
        assert again.id == second.id and again.scores is not None and again.scores.release == first.id
        assert flow.approve(store, site, again.id, "demo").previous == first.id
        assert turn(400).status == "approved"  # what is in use stays as it was approved
        assert store.verify_audit() > 0


class Encoder:
    """Counts what it is shown."""

    space = SPACE

    def __init__(self) -> None:
        self.shown: list[Image] = []

    def encode(self, images: Any) -> Any:
        self.shown += images
        return np.ones((len(images), 4), np.float32)


@pytest.fixture
def signed(home: Path) -> tuple[Hospital, Reading]:
    home.mkdir()
    (home / "site.toml").write_text(RULES)
    hospital = Hospital(home)
    (reading,) = hospital.read([str(get_testdata_file("CT_small.dcm", download=False))])
    assert isinstance(reading, Reading)
    return hospital, hospital.sign(reading.id, "demo")[1]


def resigned(hospital: Hospital, final: Reading, id: str, **facts: Any) -> None:
    """The same reading under another id, its case's facts changed, signed."""
    changed = replace(final, id=id, version=1, status="draft", case=replace(final.case, id=id, **facts))
    store = hospital.store
    voxels = {i: image.voxels for i, image in store.images(final).items()}
    store.save_reading(changed, {}, voxels, {})
    review, again = reviewing.review(changed, None, by="demo", when=flow.now(), key=store.signing_key("demo"))
    store.save_review(review, again)


def test_only_what_may_teach_is_encoded(signed: tuple[Hospital, Reading]) -> None:
    hospital, final = signed
    film = tuple(replace(i, modality="DX") for i in final.case.images)
    resigned(hospital, final, "viewed", use="view", source="set")
    resigned(hospital, final, "unchecked", pixels_checked=False)
    resigned(hospital, final, "gated", images=film)  # a CT section declared a radiograph
    encoder = Encoder()
    cases = teaching.signed_cases(hospital.store, encoder)  # type: ignore[arg-type]
    assert set(cases) == {final.id, "viewed", "unchecked", "gated"}
    assert {v.case for v in hospital.store.vectors(SPACE)} == {final.id}
    assert len(encoder.shown) == 1


def test_reading_a_signed_study_again_leaves_an_entry(signed: tuple[Hospital, Reading]) -> None:
    hospital, final = signed
    before = [e["event"] for e in hospital.store.audit_entries()]
    (again,) = hospital.read([str(get_testdata_file("CT_small.dcm", download=False))])
    assert again == final
    assert [e["event"] for e in hospital.store.audit_entries()] == [*before, "read"]


def test_the_demo_s_sides_are_those_of_the_split(home: Path, pulled: Any) -> None:
    files = pulled(demo.TEACHING)
    labels = json.loads(files["labels.json"].read_text(encoding="utf-8"))
    with Hospital(home) as hospital:
        tested, taught = demo._sides(hospital, files, labels)
        cases = {c.id: c for c in (demo._case(hospital, files[name]).facts for name in (tested, *taught[:40]))}
        vectors = {(id, "i1"): np.full(4, n, np.float32) for n, id in enumerate(cases)}
        when = flow.now()
        reviews = [reviewing.imported(id, CODE.value, n % 2, demo.TEACHING, when) for n, id in enumerate(cases)]
        key = hospital.store.secret("split")
        split = learning.training_set(reviews, cases, vectors, CODE, encoder=SPACE, key=key, clean=[demo.TEACHING])
    assert [e.case for e in split.held_out] == list(cases)[:1]
    assert {e.case for e in split.train} == set(list(cases)[1:])


def test_a_release_is_used_only_as_it_was_approved(home: Path) -> None:
    with Store.open(home) as store:
        site, turn = load(home), turns(store, home)
        release = flow.approve(store, site, turn(400).id, "demo")
        for changed in (
            replace(release, signature=""),
            replace(release, approved_by="another"),
            replace(release, candidate=replace(release.candidate, card=(("modalities", "CT"),))),
        ):
            with pytest.raises(ReleaseRefused, match="not signed as it stands"):
                head_of(changed, store, site, home)
        with pytest.raises(UnknownModel):  # signed as it stands: it goes on to the encoder, which is made up here
            head_of(store.approved()[0], store, site, home)


def test_a_review_signed_with_another_key_neither_teaches_nor_leaves(
    signed: tuple[Hospital, Reading], tmp_path: Path
) -> None:
    hospital, final = signed
    store = hospital.store
    draft = replace(final, id="forged", version=1, status="draft", case=replace(final.case, id="forged"))
    store.save_reading(draft, {}, {}, {})
    review, made = reviewing.review(draft, None, by="demo", when=flow.now(), key=Ed25519PrivateKey.generate())
    store.save_review(review, made)
    assert reviewing.verify(review, made)
    assert not teaching.holds(store, review) and flow.review_of(store, made) is None
    with pytest.raises(ExportRefused, match="without a signature that holds"):
        exporting.export(made, Study("dicom", "", (), ()), {}, {}, flow.review_of(store, made), tmp_path / "out")
    assert flow.review_of(store, final) is not None


def test_an_id_typed_as_a_measured_value_is_found(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    (home / "site.toml").write_text(RULES)
    voxels = np.random.default_rng(0).integers(0, 900, (6, 32, 40)).astype(np.int16)
    place = dicom.oblique((5, 0, 10), (2.0, 1.0, 3.0), (-40, -20, -30))
    dicom.write_series(voxels, place, tmp_path / "in", header={"PatientID": "48391726"})
    with Hospital(home) as hospital:
        (reading,) = hospital.read([tmp_path / "in"])
        assert isinstance(reading, Reading)
        edited = json.loads(hospital.files(reading)["report.json"].read_text(encoding="utf-8"))
        code = {"scheme": "SCT", "value": "4147007", "meaning": "Mass"}
        size = {"code": {"scheme": "SCT", "value": "81827009", "meaning": "Diameter"}, "unit": "mm"}
        mass = {"code": code, "presence": "present", "measurements": [size | {"value": 48391726}]}
        with pytest.raises(IdentifierInText, match="patient ID"):
            hospital.sign(reading.id, "demo", edited=edited | {"findings": [*edited["findings"], mass]})
        mass["measurements"] = [size | {"value": 12.5}]
        hospital.sign(reading.id, "demo", edited=edited | {"findings": [*edited["findings"], mass]})


def test_a_release_that_took_no_part_is_not_named(home: Path) -> None:
    home.mkdir()
    (home / "site.toml").write_text(RULES)
    with Hospital(home) as hospital:
        hospital.equipment = replace(hospital.equipment, releases=("0123456789abcdef",))
        (reading,) = hospital.read([str(get_testdata_file("CT_small.dcm", download=False))])
        assert isinstance(reading, Reading) and reading.releases == ()
