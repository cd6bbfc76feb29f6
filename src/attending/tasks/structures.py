"""Structures of the brain: a model's class name -> code, wording and side."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..records import Code, Side

BRAIN = Code("SCT", "12738006", "Brain")
VOLUME = Code("SCT", "118565006", "Volume")
SHARE = Code("99ATTENDING", "share-of-brain", "Share of brain volume")

# FreeSurfer's names, lower case without side, as brainchop's colour maps spell them. SNOMED CT as in DICOM PS3.16
# CID 7140, 7151 and 7153; what SNOMED CT has no structure for there keeps FreeSurfer's name under our own scheme.
CODES = {
    "cerebral-white-matter": Code("SCT", "68523003", "Cerebral white matter"),
    "white-matter": Code("SCT", "68523003", "Cerebral white matter"),
    "cerebral-cortex": Code("SCT", "40146001", "Cerebral cortex"),
    "grey-matter": Code("SCT", "389081007", "Gray matter"),
    "gray-matter": Code("SCT", "389081007", "Gray matter"),
    "lateral-ventricle": Code("SCT", "66720007", "Lateral ventricle"),
    "inferior-lateral-ventricle": Code("SCT", "53118009", "Inferior horn of lateral ventricle"),
    "inf-lat-vent": Code("SCT", "53118009", "Inferior horn of lateral ventricle"),
    "cerebellum-white-matter": Code("SCT", "33060004", "Cerebellar white matter"),
    "cerebellum-cortex": Code("SCT", "25991003", "Cerebellar cortex"),
    "thalamus": Code("SCT", "42695009", "Thalamus"),
    "thalamus-proper": Code("SCT", "42695009", "Thalamus"),
    "caudate": Code("SCT", "11000004", "Caudate nucleus"),
    "putamen": Code("SCT", "89278009", "Putamen"),
    "pallidum": Code("SCT", "14738005", "Globus pallidus"),
    "3rd-ventricle": Code("SCT", "49841001", "Third ventricle"),
    "4th-ventricle": Code("SCT", "35918002", "Fourth ventricle"),
    "brain-stem": Code("SCT", "119238007", "Brain stem"),
    "hippocampus": Code("SCT", "5366008", "Hippocampus"),
    "amygdala": Code("SCT", "4958002", "Amygdala"),
    "accumbens-area": Code("SCT", "427667007", "Nucleus accumbens"),
    "ventraldc": Code("99ATTENDING", "ventral-dc", "Ventral diencephalon"),
    "csf": Code("SCT", "65216001", "Cerebrospinal fluid"),
}
FLUID = {
    "66720007",
    "53118009",
    "49841001",
    "35918002",
    "65216001",
}
WHOLE_BRAIN = ("brain-mask", "brain mask", "brain")
BACKGROUND = ("unknown", "background", "")
LEFT = ("left-", "lh-", "ctx-lh-", "l-")
RIGHT = ("right-", "rh-", "ctx-rh-", "r-")


@dataclass(frozen=True)
class Structure:
    """fluid: part of no brain volume; whole: the class is the brain itself."""

    code: Code
    side: Side | None
    fluid: bool
    whole: bool


def structure(name: str) -> Structure | None:
    """The structure that a model's class name means; None for background. Unknown names keep themselves as code."""
    key = re.sub(r"[\s_]+", "-", name.strip().rstrip("*").lower())
    if key in BACKGROUND:
        return None
    side: Side | None = None
    for prefixes, which in ((LEFT, "left"), (RIGHT, "right")):
        for prefix in sorted(prefixes, key=len, reverse=True):
            if side is None and key.startswith(prefix):
                key = ("ctx-" if prefix.startswith("ctx") else "") + key[len(prefix) :]
                side = "left" if which == "left" else "right"
    if key in WHOLE_BRAIN:
        return Structure(BRAIN, side, False, True)
    code = CODES.get(key)
    if code is None:
        words = key.removeprefix("ctx-").replace("-", " ")
        code = Code("99ATTENDING", key, f"{'Cortex, ' if key.startswith('ctx-') else ''}{words}".capitalize())
    fluid = code.value in FLUID or "vent" in key.split("-") or "ventricle" in key
    return Structure(code, side, fluid, False)
