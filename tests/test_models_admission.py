"""The card against what is known of an image."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attending.errors import NotAdmitted
from attending.models import Card, admit, catalog, entry, refuse_unless_admitted
from attending.records import ImageFacts

CHEST = ImageFacts("i1", (1, 2000, 1800), None, None, "DX", "PA", "CHEST")
HEAD = ImageFacts("i1", (180, 256, 256), None, (1.0, 1.0, 1.0), "MR", "AXIAL", "HEAD", sequence="T1")
CARD = Card(
    "c", "1", "C", ("Detector",), "python", "MIT",
    modalities=("CR", "DX"), views=("PA", "AP"), body_parts=("CHEST",), dims=(2,), min_matrix=64, max_matrix=4096,
    colour=False, unstated=("body_part",), intended_use="chest radiographs",
)  # fmt: skip


def test_a_fitting_image_is_admitted() -> None:
    assert admit(CARD, CHEST) is None
    assert admit(CARD, replace(CHEST, modality="cr")) is None
    refuse_unless_admitted(CARD, CHEST)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"modality": "CT"}, "its modality is CT, the card admits CR or DX"),
        ({"view": "LL"}, "its view is LL, the card admits PA or AP"),
        ({"view": None}, "its view is not stated, the card admits PA or AP"),
        ({"body_part": "FOOT"}, "its body part is FOOT, the card admits CHEST"),
        ({"shape": (30, 512, 512)}, "it has 30 planes, the card admits single planes"),
        ({"shape": (1, 28, 28)}, "its matrix is 28x28, the card admits at least 64 on a side"),
        ({"shape": (1, 100, 5000)}, "its matrix is 5000x100, the card admits at most 4096 on a side"),
        ({"shape": (1, 100, 100, 3)}, "it is in colour, the card admits grey images"),
    ],
)
def test_the_reason_says_what_the_image_is_and_what_the_card_admits(change: dict[str, object], reason: str) -> None:
    facts = replace(CHEST, **change)  # type: ignore[arg-type]
    assert admit(CARD, facts) == f"c does not admit this image: {reason}"
    with pytest.raises(NotAdmitted, match="does not admit this image"):
        refuse_unless_admitted(CARD, facts)


def test_what_is_unstated_may_be_admitted_but_what_is_stated_must_match() -> None:
    assert admit(CARD, replace(CHEST, body_part=None)) is None
    assert admit(CARD, replace(CHEST, body_part="ABDOMEN")) is not None


def test_every_reason_is_given_at_once() -> None:
    reason = admit(CARD, HEAD)
    assert reason is not None and all(word in reason for word in ("MR", "AXIAL", "HEAD", "180 planes"))


def test_a_head_taught_by_an_imported_set_admits_that_set_only() -> None:
    card = replace(CARD, sources=("pneumoniamnist",))
    assert admit(card, CHEST, source="pneumoniamnist") is None
    assert "it comes from no imported set, the card admits pneumoniamnist" in (admit(card, CHEST) or "")
    assert "it comes from other" in (admit(card, CHEST, source="other") or "")


def test_the_catalogs_cards_keep_each_others_images_out() -> None:
    t1, tumour = entry("brainchop-model18cls").card, entry("detect-tumor").card
    assert admit(t1, HEAD) is None and admit(t1, replace(HEAD, sequence=None)) is None
    assert "sequence is T2" in (admit(t1, replace(HEAD, sequence="T2")) or "")
    assert "CT" in (admit(t1, replace(HEAD, modality="CT")) or "")
    assert "times" in (admit(t1, replace(HEAD, axis="time")) or "")
    assert admit(tumour, HEAD) is not None
    assert admit(tumour, replace(HEAD, shape=(1, 512, 512), sequence=None)) is None
    assert admit(tumour, replace(HEAD, shape=(1, 512, 512), body_part="SHOULDER")) is not None
    for card in (t1, tumour):
        assert admit(card, CHEST) is not None


FACTS = st.builds(
    ImageFacts,
    st.just("i1"),
    st.tuples(st.integers(1, 300), st.integers(1, 4000), st.integers(1, 4000)),
    st.none(),
    st.none(),
    st.sampled_from(["CT", "MR", "CR", "DX", "US", "NM", "OT", "SC"]),
    st.sampled_from([None, "PA", "AP", "AXIAL", "LL"]),
    st.sampled_from([None, "HEAD", "CHEST", "FOOT"]),
    axis=st.sampled_from(["space", "time", "frame"]),
)


@given(FACTS)
def test_a_detector_or_segmenter_never_admits_another_modality(facts: ImageFacts) -> None:
    for e in catalog():
        if e.kind == "model" and e.card.modalities and admit(e.card, facts) is None:
            assert facts.modality in e.card.modalities
            assert (2 if facts.shape[0] == 1 else 3) in e.card.dims
            assert facts.body_part is None or facts.body_part in e.card.body_parts


def test_a_card_travels_as_json() -> None:
    import json

    card = json.loads(json.dumps(entry("detect-tumor").card.as_dict()))
    assert card["labels"]["glioma"]["meaning"] == "Glioma" and card["modalities"] == ["MR"] and card["licence"] == "MIT"
