"""Candidate sentences for checker.jsonl, one JSON object a line on stdout, to be read and labelled by a person.

Without --writer: what the deterministic writer makes of the studies in studies.txt. With --writer ID: what that
language model makes of them, through the product's own path and by freer prompts, by which small models go wrong in
their own ways. Labels and seeded errors are not made here: they are a reader's.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attending import drafting
from attending.models import load
from attending.records import CaseFacts, Code, Evidence, Finding, Findings, ImageFacts, Measurement
from attending.site import cache_dir, default_home
from attending.site import load as load_site

STUDIES = Path(__file__).with_name("studies.txt")
PRESENCE = {"+": "present", "-": "absent", "?": "uncertain"}
SIDE = {"L": "left", "R": "right", "B": "bilateral", ".": None}
TOLD = {"present": "", "absent": "no ", "uncertain": "possible "}
UNITS = {"1": "", "[hnsf'U]": "HU", "deg": "degrees"}
KIND = {"CR": "radiograph", "CT": "CT", "MR": "MRI", "US": "ultrasound"}
OWN = (
    "Write one sentence of a radiology report for this {kind} of the {part}. Finding: {facts}. One sentence only.",
    "You are a radiologist dictating a {part} {kind}. Facts: {facts}. Write the report sentence.",
    "Put into one short, fluent report sentence, keeping side and numbers: {facts}.",
    "Rewrite as one sentence for the impression of a {part} {kind}: {facts}.",
)
NOTES = (
    "Report the {part} {kind} in one sentence. {facts}.",
    "Findings of this {kind}: {facts}. Summarise them in a single sentence for the referring doctor.",
    "Dictated note: {facts}. Clean it up into one report sentence.",
    "Translate these codes into one sentence a radiologist would sign: {facts}.",
)
Facts = list[dict[str, Any]]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--writer", help="id of a pulled language model; none: the deterministic writer")
    options.add_argument("--notes", type=int, default=50, help="prompts over facts of two studies mixed")
    asked = options.parse_args()
    found = model(asked.writer, asked.notes) if asked.writer else deterministic()
    seen: set[str] = set()
    for row in found:
        if row["text"] not in seen:
            seen.add(row["text"])
            print(json.dumps(row), flush=True)
    return 0


def studies() -> Iterator[tuple[str, str, Facts]]:
    """Modality, body part and facts of each line: "CT HEAD | + R infarct | volume 14 ml | p 0.9 | @frontal lobe"."""
    for line in STUDIES.read_text().splitlines():
        head, _, rest = line.partition("|")
        modality, part = head.split()
        yield modality, part, [fact(text) for text in rest.split("&&")]


def fact(text: str) -> dict[str, Any]:
    first, *bits = (bit.strip() for bit in text.split("|"))
    presence, side, name = first.split(" ", 2)
    out: dict[str, Any] = {"name": name, "presence": PRESENCE[presence], "side": SIDE[side]}
    for bit in bits:
        if bit.startswith("@"):
            out["site"] = bit[1:]
        elif bit.startswith(("s ", "p ")):
            out["score" if bit[0] == "s" else "probability"] = float(bit[2:])
        else:
            what, value, unit = bit.rsplit(" ", 2)
            out.setdefault("measurements", []).append({"name": what, "value": float(value), "unit": unit})
    return out


def records(facts: Facts) -> Findings:
    findings, evidence = [], []
    for n, f in enumerate(facts, 1):
        measured = tuple(
            Measurement(coded(m["name"]), m["value"], m["unit"], f"m{n}-{k}")
            for k, m in enumerate(f.get("measurements", ()), 1)
        )
        findings.append(
            Finding(
                f"f{n}",
                coded(f["name"].capitalize()),
                f["presence"],
                probability=f.get("probability"),
                score=f.get("score"),
                side=f["side"],
                site=coded(f["site"].capitalize()) if "site" in f else None,
                measurements=measured,
            )
        )
        evidence.append(Evidence(f"e{n}", "finding", f"{f['name']}: {f['presence']}", about=f"f{n}"))
        evidence += [
            Evidence(f"e-{m.id}", "measurement", f"{m.code.meaning}: {m.value:g} {m.unit}", about=m.id)
            for m in measured
        ]
    return Findings(tuple(findings), tuple(evidence))


def coded(name: str) -> Code:
    return Code("99ATTENDING", name, name)


def case_of(modality: str, part: str) -> CaseFacts:
    return CaseFacts("gold", "gold", "dicom", (ImageFacts("i1", (1, 2, 2), None, None, modality, body_part=part),))


def row(text: str, modality: str, part: str, facts: Facts, path: str) -> dict[str, Any]:
    """As the gold keeps it: a score or a probability is a measurement of unit 1."""
    kept = []
    for f in facts:
        scores = [
            {"name": name, "value": f[key], "unit": "1"}
            for key, name in (("score", "model score"), ("probability", "probability"))
            if key in f
        ]
        measured = [*f.get("measurements", ()), *scores]
        plain = {k: v for k, v in f.items() if k not in {"score", "probability", "measurements"}}
        kept.append({**plain, **({"measurements": measured} if measured else {})})
    return {"text": text, "modality": modality, "body_part": part, "facts": kept, "path": path}


def drafted(writer: Any = None) -> Iterator[dict[str, Any]]:
    """Every sentence of the product's own drafts, with the facts that it cites; of a model only what it worded."""
    for modality, part, facts in studies():
        for s in drafting.write(case_of(modality, part), records(facts), writer).sentences:
            if writer is None or s.producer.model is not None:
                cited = [facts[int(i[1:]) - 1] for i in s.rests_on if re.fullmatch(r"f\d+", i)]
                yield row(s.text, modality, part, cited, "product")


def deterministic() -> Iterator[dict[str, Any]]:
    return drafted()


def model(id: str, notes: int) -> Iterator[dict[str, Any]]:
    writer = load(id, load_site(default_home()), cache_dir())
    every = [(modality, part, facts[:3]) for modality, part, facts in studies()]
    mixed: dict[tuple[str, str], Facts] = {}
    for modality, part, facts in every:
        if len(facts) <= 2 and part in {"CHEST", "HEAD", "ABDOMEN"}:
            mixed.setdefault((modality, part), []).extend(facts)
    chosen, groups = random.Random(5), [g for g in mixed.items() if len(g[1]) > 3]
    for n in range(notes):
        (modality, part), facts = groups[n % len(groups)]
        every.append((modality, part, chosen.sample(facts, 1 + n % 2)))
    for n, (modality, part, facts) in enumerate(every):
        prompts = OWN if n < len(every) - notes else NOTES
        asked = prompts[n % len(prompts)].format(
            kind=KIND[modality], part=part.lower(), facts="; ".join(told(f) for f in facts)
        )
        text = first_sentence(writer.write([{"role": "user", "content": asked}], max_tokens=70, timeout_s=60).text)
        if text:
            yield row(text, modality, part, facts, "own prompt")
    yield from drafted(writer)
    writer.close()


def told(f: dict[str, Any]) -> str:
    parts = [f"{TOLD[f['presence']]}{f['side'] + ' ' if f['side'] else ''}{f['name']}"]
    parts += [f["site"]] if "site" in f else []
    for m in f.get("measurements", ()):
        parts.append(f"{m['name']} {m['value']:g} {UNITS.get(m['unit'], m['unit'])}".rstrip())
    parts += [f"model score {f['score']:g}"] if "score" in f else []
    parts += [f"probability {f['probability']:g}"] if "probability" in f else []
    return ", ".join(parts)


def first_sentence(text: str) -> str:
    text = re.split(r"(?<=[a-z)])[.] (?=[A-Z])", " ".join(text.split()))[0].strip().strip('"')
    return text + ("" if text.endswith((".", "!", "?")) else ".") if 8 <= len(text) < 330 else ""


if __name__ == "__main__":
    sys.exit(main())
