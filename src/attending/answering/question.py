"""A question, understood by rules: what is asked, of which finding or part of the body, on which side."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..records import Side
from ..terms import lexicon
from ..terms.tokens import tokenize

Kind = str

# In order: the first that matches is what is asked.
KINDS: tuple[tuple[Kind, str], ...] = (
    ("advice", r"\b(?:treat|treatment|therapy|cure|prevent|prognosis|surviv|should (?:we|i|he|she|they|the patient)|"
               r"recommend|next step|follow.?up|biopsy|medication|drug|symptoms?|what (?:is|are) the (?:main )?causes?|"
               r"why (?:does|did|is|has))"),
    ("radiation", r"\b(?:radiation|ionising|ionizing|damage .*(?:body|image)|harmful|dose)\b"),
    ("looks", r"\b(?:colou?rs?|shape|bright|dark|black|white|grey|gray|hyperintense|hypointense|hyperdense|hypodense|"
              r"enhanc\w+|texture|contour|margins?|density of the abnormality|signal)\b(?! matter)"),
    ("function", r"\b(?:function|role|effect|purpose|used for|(?:belongs? to|part of) the \w+ system|organ system)\b"),
    ("unread", r"\b(?:not assessed|not looked at|not examined|could (?:not|n't) (?:be )?(?:see|seen|assess\w*)|"
               r"not read|missing from)\b"),
    ("how_found", r"\b(?:which model|what model|who (?:found|measured|says|read|reported)|how (?:was|were|is|did) .*"
                  r"(?:found|measured|detected|determined|segmented))\b"),
    ("certainty", r"\b(?:how (?:sure|certain|confident|likely|reliable)|certain(?:ty)?|confidence|probability|"
                  r"likelihood|chance)\b"),
    ("change", r"\b(?:chang\w*|grow\w*|grew|shrunk|shrink\w*|since|compared?|comparison|prior|previous|interval|"
               r"progress\w*|regress\w*|stable|larger than before|smaller than before|worse|better|resolved|new)\b"),
    ("weighting", r"\b(?:weight(?:ed|ing)|sequence|t1|t2|flair)\b|\btype of mri?\b"),
    ("plane", r"\b(?:planes?|axial|coronal|sagittal|transverse|projection|view|section|orientation)\b"),
    ("modality", r"\b(?:modality|modalities|(?:via|using|with) (?:a |an )?(?:x.?ray|ct|mri?|ultrasound|pet)|"
                 r"is (?:this|it) (?:a|an) (?:x.?ray|ct|mri?|ultrasound|radiograph)|"
                 r"type of (?:\w+ )?"
                 r"(?:image|imaging|scan)|kind of (?:\w+ )?(?:image|imaging|scan)|"
                 r"how was (?:this|the) (?:image|scan|study) (?:taken|made)|"
                 r"imaging (?:technique|method))\b|^is (?:this|it) (?:a |an )?(?:ct|mri?|x.?ray|ultrasound)\b"),
    ("body_part", r"\b(?:body part|(?:which|what) (?:part|region|area) of the (?:human )?body|what (?:is|was) "
                  r"(?:imaged|scanned|examined)|is this a study of|which region)\b"),
    ("patient", r"\b(?:how old|age of|patient'?s age|patient'?s sex|sex of|gender|male or female|"
                r"man or (?:a )?woman)\b"),
    ("matrix", r"\b(?:slice thickness|how many (?:slices|planes|images|frames|pixels|voxels)|matrix|resolution|"
               r"pixel spacing|voxel size|pixel size)\b"),
    ("quality", r"\b(?:quality|artefacts?|artifacts?|motion|noise|noisy|inverted|diagnostic quality)\b"),
    ("normal", r"\b(?:normal|abnormal|healthy|unhealthy|enlarged|dilated|atroph\w+|within (?:the )?(?:normal )?"
               r"(?:range|limits)|too (?:large|big|small)|reference range|widened)\b"),
    ("bigger", r"\b(?:bigger|biggest|larger|largest|smaller|smallest)\b"),
    ("count", r"\b(?:how many|number of|count)\b"),
    ("size", r"\b(?:how (?:large|big|long|wide|thick|tall|small|heavy|dense)|size|volume|diameters?|thickness|length|"
             r"width|measure\w*|share|percent\w*|proportion|density|hounsfield|hu|ml|mm|cm)\b"),
    ("where", r"\b(?:where|locat\w+|which side|what side|which lobe|which part|what part|left or right|position)\b"),
    ("which", r"\b(?:(?:what|which|any|list|all|name) (?:\w+ ){0,3}(?:abnormalit\w+|findings?|diseases?|patholog\w+|"
              r"lesions?|problems?|tumou?rs?|types?)|what (?:is|are|was|were|can be|do you) (?:\w+ )?(?:see\w*|found|"
              r"shown|wrong|present|visible|the findings)|what does (?:it|this|the (?:image|scan|study)) show|"
              r"summar\w+|impression|diagnos\w+|describe|are there abnormalit\w+)\b"),
)  # fmt: skip
_KINDS = tuple((kind, re.compile(pattern, re.I)) for kind, pattern in KINDS)
CHANGE_ALONE = frozenset({"new", "better", "worse", "stable"})
SIDES: dict[str, Side] = {"left": "left", "right": "right", "both": "bilateral", "bilateral": "bilateral"}
# Words of general findings that a question may use for any of them.
GENERAL = frozenset({"abnormality", "lesion", "disease", "finding"})


@dataclass(frozen=True)
class Question:
    """kind: one of KINDS, or "presence" for a question that only names a finding or part of the body, or "unknown".

    findings, organs   preferred names of the lexicon, lower case, in the order asked.
    side               "left", "right", "bilateral", or None where none or both are named as a choice.
    words              the stems of the question.
    """

    text: str
    kind: Kind
    findings: tuple[str, ...] = ()
    organs: tuple[str, ...] = ()
    side: Side | None = None
    words: frozenset[str] = frozenset()


def understand(text: str) -> Question:
    """Rules alone: the first kind of KINDS whose words are there, and the terms of the lexicon in the question."""
    book = lexicon()
    tokens = [t.stem for t in tokenize(text)]
    findings: list[str] = []
    organs: list[str] = []
    at = 0
    while at < len(tokens):
        length, entries, _ = book.find(tokens, at)
        for entry in entries:
            named = findings if entry.kind == "finding" else organs if entry.kind == "organ" else None
            if named is not None and entry.name not in named:
                named.append(entry.name)
        at += max(1, length)
    named_sides = {SIDES[t] for t in tokens if t in SIDES}
    side = named_sides.pop() if len(named_sides) == 1 else None
    return Question(text, _kind(text, findings, organs), tuple(findings), tuple(organs), side, frozenset(tokens))


def _kind(text: str, findings: list[str], organs: list[str]) -> Kind:
    for kind, pattern in _KINDS:
        found = pattern.search(text)
        if found and not (kind == "change" and found.group().lower() in CHANGE_ALONE and not (findings or organs)):
            return kind
    return "presence" if findings or organs else "unknown"
