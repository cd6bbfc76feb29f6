"""MiniLM: WordPiece against the library, vectors against the original's arithmetic and against each other."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import models
from attending.errors import PluginFailed
from attending.models.minilm import MiniLM, WordPiece, words
from attending.site import Site

Pulled = Callable[[str], dict[str, Path]]
ID = "minilm-l6-v2-int8"


@pytest.fixture(scope="module")
def plugin(pulled: Pulled, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> MiniLM:
    pulled(ID)
    found = models.load(ID, Site(home=tmp_path_factory.mktemp("home")), cache)
    assert isinstance(found, MiniLM)
    return found


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Right-sided effusion, 12 mm.", ["right", "-", "sided", "effusion", ",", "12", "mm", "."]),
        ("NAÏVE\tÜber\u200bfunktion\u00a0x", ["naive", "uberfunktion", "x"]),
        ("肺炎", ["肺", "炎"]),
        ("[SEP] \x00\x0b", ["[", "sep", "]"]),
        (" \n ", []),
        ("ΑΣ Σ", ["ασ", "σ"]),
    ],
)
def test_words(text: str, want: list[str]) -> None:
    assert list(words(text)) == want


def test_pieces_are_the_longest_first(plugin: MiniLM, pulled: Pulled) -> None:
    ids = plugin._pieces.ids
    vocabulary = plugin._pieces.vocabulary
    assert ids("") == [101, 102]
    assert ids("effusions") == [101, *(vocabulary[p] for p in ("e", "##ff", "##usions")), 102]
    assert ids("x" * 101) == [101, 100, 102]
    assert len(ids("lung " * 1000)) == 256


@pytest.mark.slow
def test_pieces_agree_with_the_library(pulled: Pulled) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the library that the rule is held against")
    path = pulled(ID)["tokenizer.json"]
    library = tokenizers.Tokenizer.from_file(str(path))
    library.no_padding()
    library.enable_truncation(256)
    ours = WordPiece(path)
    rng = random.Random(1)
    letters = [
        chr(c) for c in (*range(0x20, 0x250), *range(0x391, 0x3CA), *range(0x410, 0x450), 0x200B, 0x2013, 0x2265)
    ]
    pool = [*letters, *"aeiou tnrsld  ,.-12%µ" * 40, "肺", "炎"]
    for _ in range(5000):
        text = "".join(rng.choice(pool) for _ in range(rng.randint(0, 80)))
        assert ours.ids(text) == library.encode(text).ids, repr(text)


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"model": {"type": "BPE"}}))
    with pytest.raises(PluginFailed, match="BERT's uncased WordPiece"):
        WordPiece(tmp_path / "t.json")


def test_like_texts_are_near_and_rows_are_alone(plugin: MiniLM) -> None:
    texts = [
        "There is a pleural effusion on the right.",
        "Fluid in the right pleural space.",
        "The invoice is overdue.",
    ]
    vectors = plugin.encode_texts(texts)
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    near = vectors @ vectors.T
    assert near[0, 1] > 0.6 > 0.2 > near[0, 2]
    for row, text in enumerate(texts):
        assert np.array_equal(plugin.encode_texts([text])[0], vectors[row])
    assert plugin.encode_texts([]).shape == (0, 384)
    assert np.isfinite(plugin.encode_texts(["", "\x00", "x" * 100000])).all()


def test_it_is_blind_to_negation_as_its_card_says(plugin: MiniLM) -> None:
    a, b = plugin.encode_texts(["There is a pleural effusion.", "There is no pleural effusion."])
    assert float(a @ b) > 0.7 and "blind to negation" in plugin.card.limits


def test_the_vector_is_the_mean_over_all_pieces(plugin: MiniLM, pulled: Pulled) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(pulled(ID)["model.onnx"]), providers=["CPUExecutionProvider"])
    ids = np.array([plugin._pieces.ids("no focal consolidation")])
    feed: dict[str, Any] = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    mean = session.run(None, feed)[0][0].mean(axis=0)
    got = plugin.encode_texts(["no focal consolidation"])[0]
    assert np.allclose(got, mean / np.linalg.norm(mean), atol=1e-5)
