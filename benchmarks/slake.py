"""SLAKE questions without images: does the tools-only path abstain where the image is needed, against a blind guess?

    python benchmarks/slake.py [--split test] [--show N] [--json FILE]

Every English question of the split is asked of two readings. "nothing known": no header facts at all. "header known":
the modality and body part that SLAKE states for the image, as a DICOM header would state them. A question needs the
image unless it asks for the modality, the body part or the modality's radiation (then the header is enough), or for a
fact about an organ that it names. Printed: how many questions that need the image were answered (wanted: 0), how many
of the others were answered and how often rightly, and the blind baseline: the most frequent answer of the training
split to the same words, else to the same type of question. Needs ATTENDING_MIRROR.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from attending import answering, metrics, site
from attending.errors import QuestionRefused
from attending.records import CaseFacts, Draft, Evidence, ImageFacts, Reading, Verdict

MODALITY = {"CT": "CT", "MRI": "MR", "X-Ray": "CR"}
PARTS = {
    "Lung": "CHEST", "Chest_lung": "CHEST", "Chest_heart": "CHEST", "Chest_mediastinal": "CHEST", "Abdomen": "ABDOMEN",
    "Brain": "HEAD", "Brain_Tissue": "HEAD", "Brain_Face": "HEAD", "Neck": "NECK", "Pelvic Cavity": "PELVIS",
}  # fmt: skip
HEADER_KINDS = ("modality", "body_part", "radiation")
YES, NO = {"yes"}, {"no"}
SAME = {
    "MR": ("mri",), "CR": ("x-ray", "xray"), "HEAD": ("head", "brain"), "CHEST": ("chest", "lung", "thorax"),
    "PELVIS": ("pelvic cavity",),
}  # fmt: skip


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--split", default="test", choices=("test", "validate", "train"))
    options.add_argument("--show", type=int, default=0, help="print so many answers of each kind")
    options.add_argument("--json", type=Path)
    asked = options.parse_args()
    mirror = site.mirror_dir()
    if mirror is None:
        print("set ATTENDING_MIRROR to the mirror folder", file=sys.stderr)
        return 1
    folder = mirror / "data/slake"
    questions = [q for q in json.loads((folder / f"{asked.split}.json").read_text()) if q["q_lang"] == "en"]
    foreign = [q for q in json.loads((folder / f"{asked.split}.json").read_text()) if q["q_lang"] != "en"]
    guess = blind(json.loads((folder / "train.json").read_text()))
    out: dict[str, Any] = {"split": asked.split, "english": len(questions)}
    print(f"SLAKE {asked.split}: {len(questions)} English questions, {len(foreign)} Chinese; no images\n")
    for known in (False, True):
        name = "header known" if known else "nothing known"
        out[name] = told(name, questions, known, asked.show)
    right = sum(guess(q) == norm(q["answer"]) for q in questions)
    out["blind"] = {"right": right, "of": len(questions)}
    print(f"\nblind baseline: {rate(right, len(questions))} right by guessing from the words of the question alone")
    refused = sum(is_refused(q["question"]) for q in foreign)
    out["foreign refused"] = {"refused": refused, "of": len(foreign)}
    print(f"refused as not English, of the Chinese questions: {rate(refused, len(foreign))}")
    if asked.json:
        asked.json.write_text(json.dumps(out, indent=1))
    return 0


def told(name: str, questions: list[dict[str, Any]], known: bool, show: int) -> dict[str, Any]:
    needs: Counter[str] = Counter()
    shown: dict[str, list[str]] = defaultdict(list)
    for q in questions:
        reading = study(q, known)
        try:
            answer = answering.answer(q["question"], reading)
        except QuestionRefused:
            needs["refused"] += 1
            shown["refused"].append(q["question"])
            continue
        kind = answering.understand(q["question"]).kind
        from_header = known and kind in HEADER_KINDS
        from_fact = bool(answer.rests_on) and all(i.startswith("fact:") for i in answer.rests_on)
        group = "header" if from_header else "fact" if from_fact else "image"
        needs[f"{group} {answer.status}"] += 1
        if answer.status == "answered" and group != "image":
            good = right(answer.text, norm(q["answer"]))
            needs[f"{group} right"] += good
            if not good:
                shown[f"{group} wrong"].append(f"{q['question']} | {answer.text} | gold: {q['answer']}")
        elif answer.status == "answered":
            shown["image answered"].append(f"{q['question']} | {answer.text} | gold: {q['answer']}")
        elif group == "header":
            shown["header cannot_tell"].append(q["question"])
    image = needs["image answered"] + needs["image cannot_tell"]
    print(f"{name}:")
    print(f"  need the image          {image:5}   answered all the same: {needs['image answered']}")
    for group, what in (("header", "answerable from header"), ("fact", "answerable from a fact")):
        n = needs[f"{group} answered"] + needs[f"{group} cannot_tell"]
        print(f"  {what:23} {n:5}   answered {needs[f'{group} answered']}, "
              f"right {rate(needs[f'{group} right'], needs[f'{group} answered'])}")  # fmt: skip
    print(f"  refused                 {needs['refused']:5}")
    for what, lines in shown.items():
        for line in lines[:show]:
            print(f"    {what}: {line}")
    return dict(needs)


def study(q: dict[str, Any], known: bool) -> Reading:
    modality = MODALITY.get(q["modality"], "OT") if known else "OT"
    facts = ImageFacts("i1", (1, 512, 512), None, None, modality, body_part=PARTS.get(q["location"]) if known else None)
    gate = Evidence("e1", "gate", f"Stated {modality}, body part {facts.body_part or 'not stated'}.")
    case = CaseFacts("0" * 16, "1" * 16, "picture", (facts,))
    return Reading("0" * 16, 1, "2026-01-01T00:00:00+00:00", case, (), (gate,), (), (), Draft(()), Verdict(()))


def right(text: str, gold: str) -> bool:
    said = norm(text)
    if gold in YES | NO:
        return said.startswith(gold)
    if "ionising" in said:  # gold: "a little" for X-rays, "almost no" and the like for MR
        none = any(word in gold for word in ("no ", "none", "nothing", "harmless", "almost"))
        return ("no ionising" in said) == none
    words = [gold, *(w for key, same in SAME.items() if key.lower() in said for w in same)]
    return any(re.search(rf"\b{re.escape(w)}\b", said) for w in words[:1]) or gold in words[1:]


def blind(train: list[dict[str, Any]]) -> Any:
    by_words: dict[str, Counter[str]] = defaultdict(Counter)
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    for q in train:
        if q["q_lang"] == "en":
            by_words[norm(q["question"])][norm(q["answer"])] += 1
            by_type[q["content_type"]][norm(q["answer"])] += 1

    def guess(q: dict[str, Any]) -> str:
        counted = by_words.get(norm(q["question"])) or by_type[q["content_type"]]
        return counted.most_common(1)[0][0]

    return guess


def is_refused(question: str) -> bool:
    try:
        answering.refuse(question)
    except QuestionRefused:
        return True
    return False


def rate(k: int, n: int) -> str:
    if not n:
        return "0 of 0"
    interval = metrics.wilson(k, n)
    assert interval is not None
    return f"{k} of {n} ({k / n:.3f} [{interval.low:.3f}, {interval.high:.3f}])"


def norm(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip().lower().rstrip(".?"))


if __name__ == "__main__":
    sys.exit(main())
