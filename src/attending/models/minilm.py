"""TextEncoder: MiniLM-L6-v2 sentence vectors (int8 ONNX) by ONNX Runtime, with BERT's uncased WordPiece written here.

Why no tokenizer library: the one that fits (``tokenizers``) brings a hub client with network code and three compiled
packages into the base install, for a rule of some sixty lines. The rule is held against that library by a test, where
it is installed. On purpose unlike it: "[SEP]" and its like in a text are plain characters here, so that no text can
end itself.

One text at a time: int8 activations are scaled over the whole batch, so a batch would make a text's vector depend on
its neighbours.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PluginFailed
from .protocols import Setup

FEATURES = 384
LONGEST = 256
"""Pieces that the model was trained with, the two marks at the ends included; what comes after is not read."""
LONGEST_WORD = 100


class MiniLM:
    """TextEncoder. Files: ``model.onnx`` and ``tokenizer.json``. Mean over the pieces, then unit length."""

    space = "minilm-l6-v2-int8/1.0.0"

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card
        self._pieces = WordPiece(setup.files["tokenizer.json"])
        self._path, self._threads = setup.files["model.onnx"], setup.threads
        self._session: Any = None

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 384) float32 of length 1: a dot product is a cosine. Texts are read up to 256 pieces."""
        out = np.zeros((len(texts), FEATURES), dtype=np.float32)
        for row, text in enumerate(texts):
            ids = np.array([self._pieces.ids(text)], dtype=np.int64)
            ones = np.ones_like(ids)
            feed = {"input_ids": ids, "attention_mask": ones, "token_type_ids": np.zeros_like(ids)}
            vector = self._run(feed)[0].mean(axis=0)
            out[row] = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return out

    def _run(self, feed: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        out: NDArray[np.float32] = self._session.run(None, dict(feed))[0]
        return out


class WordPiece:
    """BERT's uncased tokenizer, from the vocabulary in a ``tokenizer.json``. Raises PluginFailed for another kind."""

    def __init__(self, path: Path) -> None:
        described = json.loads(path.read_text(encoding="utf-8"))
        model, normal = described.get("model", {}), described.get("normalizer") or {}
        kind = (model.get("type"), normal.get("type"), normal.get("lowercase"), model.get("continuing_subword_prefix"))
        if kind != ("WordPiece", "BertNormalizer", True, "##"):
            raise PluginFailed(
                f"a tokenizer of kind {kind}", "BERT's uncased WordPiece", "pull the model again, or report it"
            )
        self.vocabulary: dict[str, int] = model["vocab"]
        self._unknown = self.vocabulary[model["unk_token"]]
        self._first, self._last = self.vocabulary["[CLS]"], self.vocabulary["[SEP]"]

    def ids(self, text: str, longest: int = LONGEST) -> list[int]:
        """[CLS], the pieces, [SEP]; at most ``longest`` in all."""
        found: list[int] = []
        for word in words(text):
            found.extend(self._pieces(word))
            if len(found) >= longest - 2:
                break
        return [self._first, *found[: longest - 2], self._last]

    def _pieces(self, word: str) -> list[int]:
        """Longest match first; one unknown for the whole word where a part is not in the vocabulary."""
        if len(word) > LONGEST_WORD:
            return [self._unknown]
        start, found = 0, list[int]()
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = self.vocabulary.get(("##" if start else "") + word[start:end])
                if piece is not None:
                    found.append(piece)
                    start = end
                    break
            else:
                return [self._unknown]
        return found


def words(text: str) -> Iterator[str]:
    """Lower-cased, without accents and control characters, cut at white space, punctuation and around ideographs."""
    kept: list[str] = []
    for character in text:
        if character in "\t\n\r":
            kept.append(" ")
        elif character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs"):
            continue
        elif _is_space(character):
            kept.append(" ")
        else:
            kept.append(f" {character} " if _is_ideograph(ord(character)) else character)
    plain = "".join(c for c in unicodedata.normalize("NFD", "".join(kept)) if unicodedata.category(c) != "Mn")
    word: list[str] = []
    # Letter by letter, as BERT does: the whole text's lower() would write a capital sigma at a word's end otherwise.
    for character in "".join(c.lower() for c in plain):
        if _is_space(character) or _is_punctuation(character):
            if word:
                yield "".join(word)
                word = []
            if not _is_space(character):
                yield character
        else:
            word.append(character)
    if word:
        yield "".join(word)


def _is_space(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Zs"


def _is_punctuation(character: str) -> bool:
    code = ord(character)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or unicodedata.category(character).startswith("P")


IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def _is_ideograph(code: int) -> bool:
    return any(low <= code <= high for low, high in IDEOGRAPHS)
