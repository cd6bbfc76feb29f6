"""Closed word lists, read once: header text goes in, canonical words come out, nothing else passes."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

from ..errors import ModalityUndeclared

TOKEN = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Words:
    """One list: token phrase -> canonical word; longest is the most tokens that one phrase has."""

    phrases: dict[tuple[str, ...], str]
    longest: int

    @property
    def canonical(self) -> frozenset[str]:
        return frozenset(self.phrases.values())

    def match(self, text: str) -> tuple[str, ...]:
        """The canonical words in a text, in order, each once; longer phrases first."""
        found: list[str] = []
        parts = tokens(text)
        at = 0
        while at < len(parts):
            for size in range(min(self.longest, len(parts) - at), 0, -1):
                word = self.phrases.get(tuple(parts[at : at + size]))
                if word is not None:
                    if word not in found:
                        found.append(word)
                    at += size
                    break
            else:
                at += 1
        return tuple(found)

    def one(self, text: str | None) -> str | None:
        """The canonical word that stands for the whole text, or the only one in it."""
        if not text:
            return None
        whole = self.phrases.get(tuple(tokens(text)))
        if whole is not None:
            return whole
        found = self.match(text)
        return found[0] if len(found) == 1 else None

    def covers(self, text: str) -> bool:
        """Whether a text is nothing but words of this list."""
        parts = tokens(text)
        known = {token for phrase in self.phrases for token in phrase}
        return bool(parts) and all(part in known for part in parts)


def fold(text: str) -> str:
    """Without case, accents and width: "Müller" and "MULLER" fold alike."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c for c in plain if not unicodedata.combining(c)).upper()


def tokens(text: str) -> list[str]:
    """Folded words of a text. Glued ones are taken apart where a lower-case letter meets an upper-case one."""
    spread = "".join(a + " " if a.islower() and b.isupper() else a for a, b in pairwise(text + " "))
    return TOKEN.findall(fold(spread))


@cache
def _document() -> dict[str, dict[str, list[str]]]:
    text = files(__package__).joinpath("words.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def words(name: str) -> Words:
    """A list by its table's name in words.toml."""
    phrases = {tuple(phrase.split()): word for word, given in _document()[name].items() for phrase in given}
    return Words(phrases, max(len(phrase) for phrase in phrases))


@cache
def terms(table: str, key: str = "terms") -> frozenset[str]:
    """A flat list of terms."""
    return frozenset(_document()[table][key])


@cache
def codes(table: str) -> dict[str, str]:
    """Code value -> canonical word."""
    return {code: word for word, given in _document()[table].items() for code in given}


@cache
def ordinary() -> frozenset[str]:
    """Folded ordinary words that alone identify nobody, the closed lists' own words among them."""
    text = files(__package__).joinpath("ordinary.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    closed = {t for name in ("views", "body_parts", "sequences", "descriptions", "manufacturers") for t in _flat(name)}
    return frozenset(fold(" ".join(lines)).split()) | closed


def _flat(name: str) -> set[str]:
    return {token for phrase in words(name).phrases for token in phrase}


def closed(text: str) -> bool:
    """Whether a text is made of nothing but words that are public by their nature."""
    parts = tokens(text)
    return bool(parts) and all(part in ordinary() or part in terms("modalities") for part in parts)


def placeholder(text: str) -> bool:
    """Whether an identifier names nobody ("ANONYMOUS", "0000")."""
    return " ".join(tokens(text)) in terms("placeholders")


def check_declared(declared: Mapping[str, str]) -> None:
    """Raises ModalityUndeclared for a declared view or body part that is not a word of the closed lists: to drop it
    without a word would read the picture as something that nobody said it is."""
    for what, name in (("view", "views"), ("body_part", "body_parts")):
        if declared.get(what) and words(name).one(declared[what]) is None:
            known = sorted(words(name).canonical)
            plain = what.replace("_", " ")
            raise ModalityUndeclared(
                f"a declared {plain} that is not known",
                f"one of {', '.join(known)}",
                f"choose the nearest, or leave --{plain.replace(' ', '-')} out",
            )
