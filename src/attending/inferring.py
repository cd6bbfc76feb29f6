"""A radiology language-inference set from public report sentences: premise, hypothesis, and whether it follows.

Built here by rules from the Open-i reports (never shipped: their licence forbids it), without the reports whose id is
divisible by 7. Premise: a sentence of FINDINGS or IMPRESSION that states exactly one finding. Hypotheses of it:

    entailment     the finding as stated: "There is F." or "There is no F."
    contradiction  the finding the other way round, or on the other side
    neutral        a finding that the whole report does not name, nor the sentence anything broader

The finding is what ``terms.parse`` reads, so the rules of this program are no contender here. Sentences that the parser
calls uncertain are left out.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree  # of a file whose hash was proved

import numpy as np

from .terms import lexicon, parse

__all__ = ["LABELS", "Pair", "ask", "pairs", "reports"]

Label = Literal["entailment", "contradiction", "neutral"]
LABELS: tuple[Label, ...] = ("entailment", "contradiction", "neutral")
HELD_OUT = 7
OTHER = {"left": "right", "right": "left"}
COMMON = ("pneumothorax", "pleural effusion", "cardiomegaly", "consolidation", "atelectasis", "pulmonary edema",
          "pneumonia", "nodule", "fracture", "emphysema")  # fmt: skip
PROMPT = (
    "Premise: {premise}\nHypothesis: {hypothesis}\n"
    "Does the hypothesis follow from the premise (entailment), is it ruled out by it (contradiction), or neither "
    "(neutral)?"
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"enum": list(LABELS)}},
    "required": ["label"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Pair:
    """report: the Open-i id, never divisible by 7."""

    report: int
    premise: str
    hypothesis: str
    label: Label


def pairs(archive: Path, count: int, seed: int = 0) -> tuple[Pair, ...]:
    """count pairs, a third of each label, in a random order that the seed fixes. archive: NLMCXR_reports.tgz."""
    rng = np.random.default_rng(seed)
    book = lexicon()
    made: dict[str, list[Pair]] = {label: [] for label in LABELS}
    whole = list(reports(archive))
    for n in rng.permutation(len(whole)):
        number, text = whole[int(n)]
        named = {a.finding for a in parse(text)}
        single = [(s, a[0]) for s in _sentences(text) if len(a := parse(s)) == 1 and a[0].kind == "finding"]
        single = [(s, a) for s, a in single if a.presence != "uncertain" and not a.quantities]
        if not single:
            continue
        sentence, said = single[int(rng.integers(len(single)))]
        label = LABELS[int(rng.integers(3))]
        if label == "neutral":
            free = [f for f in COMMON if f in book.terms and f not in named]
            broad = {a.finding for a in parse(sentence)}
            free = [f for f in free if not set(book.ancestors(f)) & broad]
            if not free:
                continue
            hypothesis = _worded(str(rng.choice(free)), bool(rng.integers(2)), None)
        elif label == "entailment":
            hypothesis = _worded(said.finding, said.presence == "present", said.side)
        elif said.side in OTHER and said.presence == "present" and rng.integers(2):
            hypothesis = f"The {said.finding} is on the {OTHER[said.side]} side only."
        else:
            hypothesis = _worded(said.finding, said.presence != "present", said.side)
        made[label].append(Pair(number, sentence, hypothesis, label))
        if all(len(rows) >= -(-count // 3) for rows in made.values()):
            break
    each = min(-(-count // 3), *(len(rows) for rows in made.values()))
    out = [pair for rows in made.values() for pair in rows[:each]]
    return tuple(out[int(i)] for i in rng.permutation(len(out)))


def ask(pair: Pair, writer: Any) -> str | None:
    """The label that a Writer chooses, or None where it gave none."""
    import json

    messages = [
        {"role": "system", "content": "You judge statements of radiology reports."},
        {"role": "user", "content": PROMPT.format(premise=pair.premise, hypothesis=pair.hypothesis)},
    ]
    written = writer.write(messages, schema=SCHEMA, max_tokens=40)
    try:
        label = json.loads(written.text)["label"]
    except (ValueError, KeyError, TypeError):
        return None
    return label if label in LABELS else None


def reports(archive: Path) -> Iterator[tuple[int, str]]:
    """(id, FINDINGS and IMPRESSION) of every report that is not held out, by id."""
    found: dict[int, str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes()), mode="r:gz") as packed:
        for item in packed:
            stem = Path(item.name).stem
            if not item.name.endswith(".xml") or not stem.isdigit() or int(stem) % HELD_OUT == 0:
                continue
            handle = packed.extractfile(item)
            if handle is None:
                continue
            parts = [
                node.text or ""
                for node in ElementTree.parse(handle).iter("AbstractText")
                if node.get("Label") in ("FINDINGS", "IMPRESSION")
            ]
            found[int(stem)] = " ".join(parts)
    yield from sorted(found.items())


def _sentences(text: str) -> list[str]:
    """Sentences of 4 to 25 words without the set's XXXX, which stands for what was taken out."""
    cut = re.split(r"(?<=[.!?])\s+(?=[A-Z])", text)
    return [s.strip() for s in cut if "XXXX" not in s and 4 <= len(s.split()) <= 25 and not re.search(r"\d\.\s", s)]


def _worded(finding: str, present: bool, side: str | None) -> str:
    where = f" on the {side}" if side in OTHER else " on both sides" if side == "bilateral" else ""
    return f"There is {finding}{where}." if present else f"There is no {finding}{where}."
