"""The JSON contract is what docs/json.md says, key by key."""

from __future__ import annotations

import json
import re
from pathlib import Path

from exporting_samples import picture, signed, volume

from attending.exporting import public

DOC = Path(__file__).resolve().parent.parent / "docs" / "json.md"

# The contract of schema 1: these keys may gain neighbours, never go.
READING = {
    "schema",
    "id",
    "status",
    "modality",
    "view",
    "findings",
    "evidence",
    "sentences",
    "not_assessed",
    "quality",
    "files",
}
FINDING = {"id", "code", "presence", "probability", "side", "site", "region", "measurements", "producer"}
SENTENCE = {"id", "text", "section", "rests_on", "verdict", "rule", "reason", "struck"}


def test_the_contracts_keys_are_there_with_their_types() -> None:
    reading, _, _ = picture()
    out = public(reading, {"page": "x/page.html"})
    assert set(out) >= READING
    assert out["schema"] == 1
    assert (out["id"], out["status"], out["modality"], out["view"]) == (reading.id, "draft", "MR", "AXIAL")
    assert all(set(f) >= FINDING for f in out["findings"])
    assert set(out["findings"][0]["code"]) == {"scheme", "value", "meaning"}
    assert set(out["findings"][0]["producer"]) == {"model", "version"}
    assert all(set(s) >= SENTENCE for s in out["sentences"])
    assert out["not_assessed"][0]["what"] == "haemorrhage"
    assert out["not_assessed"][0]["why"] == "no admitted model"
    assert out["files"] == {"page": "x/page.html"}
    assert "Draft by software" in out["mark"]
    assert "review" not in out


def test_a_score_that_is_no_probability_is_never_given_as_one() -> None:
    finding = public(picture()[0])["findings"][0]
    assert finding["probability"] is None
    assert finding["score"] == 0.97


def test_rules_have_no_model() -> None:
    out = public(picture()[0])
    assert out["evidence"][0]["producer"] == {"model": None, "version": None}


def test_every_sentence_rests_on_an_id_that_the_same_document_holds() -> None:
    for reading, _, _ in (picture(), volume()):
        out = public(reading)
        ids = {e["id"] for e in out["evidence"]} | {f["id"] for f in out["findings"]}
        ids |= {m["id"] for f in out["findings"] for m in f["measurements"]}
        assert all(s["rests_on"] and set(s["rests_on"]) <= ids for s in out["sentences"])


def test_struck_wording_is_kept_with_its_rule() -> None:
    sentence = public(picture()[0])["sentences"][0]
    assert sentence["struck"][0]["text"] == "There is no glioma."
    assert sentence["struck"][0]["rule"] == "negation_agrees"


def test_a_sentence_that_no_rule_judged_is_unknown_and_says_so() -> None:
    last = public(picture()[0])["sentences"][-1]
    assert (last["verdict"], last["rule"]) == ("unknown", None)
    assert "no rule" in last["reason"]


def test_a_signed_reading_carries_its_review_and_no_draft_mark() -> None:
    final, review = signed(picture()[0])
    out = public(final, review=review)
    assert out["status"] == "final"
    assert out["mark"] is None
    assert out["review"]["by"] == "Dr Demo"
    assert out["review"]["ratings"] == {"accuracy": 4}


def test_it_is_plain_json() -> None:
    for reading, _, _ in (picture(), volume()):
        out = public(reading)
        assert json.loads(json.dumps(out)) == out


def paths(value: object, at: str = "") -> set[str]:
    """Every key with the keys above it: ``findings[].code.scheme``."""
    if isinstance(value, dict):
        out = set()
        for key, below in value.items():
            where = f"{at}.{key}" if at else key
            out |= {where} | (set() if where in ("files", "seconds", "review.ratings") else paths(below, where))
        return out
    if isinstance(value, list):
        return set().union(*(paths(v, at + "[]") for v in value)) if value else set()
    return set()


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    of_readings = DOC.read_text("utf-8").split("\n## `list`")[0]
    documented = set(re.findall(r"^\| `([^`]+)` \|", of_readings, re.MULTILINE))
    final, review = signed(picture()[0])
    written = paths(public(final, {"page": "page.html"}, review)) | paths(public(volume()[0]))
    beyond = {k for k in documented if k.split(".")[0] in ("error", "input")}
    assert written - documented == set()
    assert documented - written - beyond == set()


def test_the_documents_words_are_the_records_words() -> None:
    from typing import get_args

    from attending.records.finding import EvidenceKind
    from attending.records.reading import EditKind, Section

    text = DOC.read_text("utf-8")
    for words in (EvidenceKind, EditKind, Section):
        assert [w for w in get_args(words) if w not in text] == []
