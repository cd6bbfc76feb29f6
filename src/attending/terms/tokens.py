"""Words of a sentence with their places, and the stem by which the lexicon knows each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(r"[a-zµ][a-z0-9'’]*|\d+(?:[.,]\d+)*(?:(?:st|nd|rd|th)\b)?|[^\s\-–—]", re.IGNORECASE)

# "L 2.5 ml, R 2.9 ml"; not "L4", "L-spine", "1.2 L".
_LETTER = re.compile(r"(?<![\w.'])(?<!\d )[LR](?![\w'-])")
_BOTH = re.compile(r"(?<![\w/])(?:b/l|bilat)\b\.?", re.IGNORECASE)
_ISE = re.compile(r"^([a-z]{3,})is(e|es|ed|ing|ation|ations)$")
_NOT_ISE = frozenset(
    {"otherwise", "likewise", "exercise", "exercised", "precise", "advised", "advise", "advises", "advising",
     "supervised",
     "supervise", "surprise", "comprise", "comprised", "comprises", "comprising", "clockwise", "lengthwise", "bruised",
     "bruise", "enterprise", "promise", "promised", "compromise", "compromised", "raising", "revised", "devised",
     "anticlockwise", "appraised", "arising", "disguised", "premise",
     "bruising", "bruises", "raise", "raised", "rise", "poised", "noise"}
)  # fmt: skip
_PREFIXES = frozenset(
    {
        "hyper", "hypo", "sub", "peri", "retro", "supra", "infra", "micro", "macro", "pneumo", "hydro", "hemo",
        "cardio",
        "costo", "broncho", "athero", "pleuro", "fibro", "reticulo", "dextro", "levo", "osteo", "multi", "pseudo",
    }
)  # fmt: skip
_ENDINGS = (
    "ulations", "ulation", "ifications", "ification", "ifying", "ified", "ations", "ation", "itions",
    "ition", "atory", "ating", "ated",
    "ically", "edly", "ions", "ion", "ings", "ing", "ally", "ely", "ed", "es", "ly", "al", "ic", "ities", "ity",
    "ness", "ment",
    "us", "is", "um", "ous", "ive", "ary", "ance", "ence", "ate", "ular", "ar",
)  # fmt: skip
_ROOTS = {
    "opaque": "opacify", "opacity": "opacify", "dilatation": "dilate", "dilation": "dilate", "ectatic": "ectasia",
    "thickness": "thick", "depth": "deep", "width": "wide", "length": "long", "height": "high",
    "fibrotic": "fibrosis", "hilar": "hilum", "clot": "hematoma",
    "atelectatic": "atelectasis", "emphysematous": "emphysema", "edematous": "edema", "broken": "break",
    "stenotic": "stenosis", "sclerotic": "sclerosis", "necrotic": "necrosis", "cirrhotic": "cirrhosis",
    "thrombosed": "thrombosis", "thrombus": "thrombosis", "hemorrhagic": "hemorrhage", "bled": "bleed",
    "blood": "bleed", "embolic": "embolism", "embolus": "embolism", "ischemic": "ischemia", "metastatic": "metastasis",
    "scoliotic": "scoliosis", "pneumonic": "pneumonia", "arthritic": "arthritis", "osteoporotic": "osteoporosis",
    "hepatic": "liver", "renal": "kidney", "cardiac": "heart", "cerebral": "brain", "pulmonary": "lung",
    "cystic": "cyst", "calculus": "stone", "rupture": "tear", "ruptured": "tear", "meniscal": "meniscus",
    "ligamentous": "ligament", "bony": "bone", "osseous": "bone", "diverticular": "diverticulum",
    "gallstone": "stone", "shrunken": "shrink", "shift": "shift",
}  # fmt: skip

_IRREGULAR = {
    "pneumothoraces": "pneumothorax", "hemithoraces": "hemithorax", "vertebrae": "vertebra", "metastases": "metastasis",
    "atelectases": "atelectasis", "diverticula": "diverticulum", "calculi": "calculus", "bullae": "bulla",
    "granulomata": "granuloma", "apices": "apex", "emboli": "embolus", "thrombi": "thrombus", "sulci": "sulcus",
    "gyri": "gyrus", "hila": "hilum", "hilus": "hilum", "diagnoses": "diagnosis", "stenoses": "stenosis",
    "feet": "foot", "teeth": "tooth", "women": "woman", "men": "man", "osteophytoses": "osteophyte", "foci": "focus",
    "nuclei": "nucleus", "hippocampi": "hippocampus", "thalami": "thalamus", "menisci": "meniscus",
    "foramina": "foramen", "atria": "atrium", "bronchi": "bronchus", "fibulae": "fibula", "ova": "ovum",
    "axes": "axis", "bases": "base", "basis": "base", "septa": "septum", "lobuli": "lobule", "amygdalae": "amygdala",
    "clips": "clip", "xrays": "xray", "lens": "lens", "pus": "pus", "gas": "gas", "was": "was", "is": "is",
    "has": "has", "this": "this", "its": "its", "us": "us", "as": "as", "pancreas": "pancreas", "cor": "cor",
    "pons": "pons", "dens": "dens", "biceps": "biceps", "quadriceps": "quadriceps", "atlas": "atlas", "does": "does",
    "versus": "versus", "vs": "vs", "perhaps": "perhaps", "always": "always", "diabetes": "diabetes",
    "oesophagus": "esophagus", "calibre": "caliber", "centre": "center", "grey": "gray", "metre": "meter",
    "torn": "tear", "fibre": "fiber", "litre": "liter", "colour": "color", "vapour": "vapor", "series": "series",
}  # fmt: skip
# British spelling inside longer words: oedema, haemorrhage, anaemia, tumour, oesophageal, ischaemic, paediatric.
_BRITISH = (("oedem", "edem"), ("haem", "hem"), ("aemi", "emi"), ("oesoph", "esoph"), ("tumour", "tumor"),
            ("caec", "cec"), ("faec", "fec"), ("gynaec", "gynec"), ("paed", "ped"), ("foet", "fet"),
            ("anaesth", "anesth"),
            ("coelia", "celia"), ("dyspnoea", "dyspnea"), ("leuco", "leuko"), ("caesar", "cesar"))  # fmt: skip


@dataclass(frozen=True)
class Token:
    """A word, number or mark; start and end are character places in the sentence."""

    stem: str
    start: int
    end: int


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Lower case, singular, American spelling. Errs alike for lexicon and text, which is all that matching needs."""
    word = word.lower().replace("’", "'")
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for british, american in _BRITISH:
        word = word.replace(british, american)
    word = _ISE.sub(r"\1iz\2", word) if len(word) > 6 and word not in _NOT_ISE else word
    if word.endswith("'s"):
        word = word[:-2]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    return _IRREGULAR.get(word[:-1], word[:-1])


def tokenize(text: str) -> list[Token]:
    """Hyphens and dashes separate words and are dropped: "left-sided" is two tokens. "L" and "R" alone are sides."""
    out = [Token(stem(m.group()), m.start(), m.end()) for m in _TOKEN.finditer(text)]
    out = _joined(out, text)
    for hit in _BOTH.finditer(text):
        inside = [t for t in out if hit.start() <= t.start < hit.end()]
        at = out.index(inside[0])
        out[at : at + len(inside)] = [Token("bilateral", hit.start(), hit.end())]
    if _LETTER.search(text) is None:
        return out
    sides = {m.start(): {"L": "left", "R": "right"}[m.group()] for m in _LETTER.finditer(text)}
    return [Token(sides[t.start], t.start, t.end) if t.start in sides else t for t in out]


def _joined(tokens: list[Token], text: str) -> list[Token]:
    """ "Hyper-expanded", "sub segmental" and "air space" as the one word that they also are."""
    out: list[Token] = []
    for token in tokens:
        last = out[-1] if out else None
        near = last is not None and token.start - last.end <= 1 and token.stem.isalpha()
        joins = last is not None and (
            last.stem in _PREFIXES
            or (last.stem in {"over", "under"} and text[last.end : token.start] == "-")
            or (last.stem, token.stem) == ("air", "space")
            or (last.stem in {"plate", "band", "mass", "disc", "rope", "tree", "star"} and token.stem == "like")
        )
        if last is not None and near and joins:
            out[-1] = Token(stem(last.stem + token.stem), last.start, token.end)
        else:
            out.append(token)
    return out


@lru_cache(maxsize=20_000)
def root(word: str) -> str:
    """What the inflections and derivations of a word share: "opacified" and "opacification", "tilted" and "tilt"."""
    word = _ROOTS.get(word, word)
    for _ in range(2):
        word = next((word[: -len(e)] for e in _ENDINGS if word.endswith(e) and len(word) - len(e) >= 4), word)
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "sl":
        word = word[:-1]
    return word[:-1] if len(word) > 4 and word[-1] in "eiy" else word


def roots(text: str) -> list[str]:
    return [root(s) for s in stems(text)]


def stems(text: str) -> list[str]:
    return [token.stem for token in tokenize(text)]
