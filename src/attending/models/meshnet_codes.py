"""Codes of the structures that the MeshNets label: DICOM CID 7140 (Brain Structures) where it has one.

What no context group of DICOM names (the gyri of the Desikan-Killiany atlas, tissue classes of our own making) gets a
code of the scheme 99ATTENDING, so that nothing wears a SNOMED code that its meaning does not have.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..records import Code, Side

_KNOWN: dict[str, tuple[str, str, str]] = {
    "cerebral-white-matter": ("SCT", "68523003", "Cerebral White Matter"),
    "cerebral-cortex": ("SCT", "40146001", "Cerebral Gray Matter"),
    "lateral-ventricle": ("SCT", "66720007", "Lateral Ventricle"),
    "inferior-lateral-ventricle": ("SCT", "53118009", "Inferior Horn of Lateral Ventricle"),
    "inf-lat-vent": ("SCT", "53118009", "Inferior Horn of Lateral Ventricle"),
    "cerebellum-white-matter": ("SCT", "33060004", "Cerebellar White Matter"),
    "cerebellum-cortex": ("SCT", "25991003", "Cerebellar Cortex"),
    "cerebellum": ("SCT", "113305005", "Cerebellum"),
    "thalamus": ("SCT", "119406000", "Thalamus"),
    "thalamus-proper": ("SCT", "119406000", "Thalamus"),
    "caudate": ("SCT", "11000004", "Caudate Nucleus"),
    "putamen": ("SCT", "89278009", "Putamen"),
    "pallidum": ("SCT", "14738005", "Globus Pallidus"),
    "3rd-ventricle": ("SCT", "49841001", "Third ventricle"),
    "4th-ventricle": ("SCT", "35918002", "Fourth Ventricle"),
    "brain-stem": ("SCT", "119238007", "Brain Stem"),
    "hippocampus": ("SCT", "5366008", "Hippocampus"),
    "amygdala": ("SCT", "4958002", "Amygdala"),
    "accumbens-area": ("SCT", "427667007", "Nucleus Accumbens"),
    "ventraldc": ("DCM", "110700", "Ventral Diencephalon"),
    "csf": ("SCT", "65216001", "Cerebrospinal Fluid"),
    "corpus callosum": ("SCT", "88442005", "Corpus callosum"),
    "white matter": ("SCT", "389080008", "White Matter"),
    "grey matter": ("SCT", "389081007", "Gray Matter"),
    "brain mask": ("SCT", "12738006", "Brain"),
    "entorhinal": ("SCT", "3937002", "Entorhinal Cortex"),
    "insula": ("SCT", "36169008", "Insula"),
}
_CORTEX = {
    "bankssts": "banks of the superior temporal sulcus",
    "caudalanteriorcingulate": "caudal anterior cingulate",
    "caudalmiddlefrontal": "caudal middle frontal",
    "inferiorparietal": "inferior parietal",
    "inferiortemporal": "inferior temporal",
    "isthmuscingulate": "isthmus of cingulate",
    "lateraloccipital": "lateral occipital",
    "lateralorbitofrontal": "lateral orbitofrontal",
    "medialorbitofrontal": "medial orbitofrontal",
    "middletemporal": "middle temporal",
    "parsopercularis": "pars opercularis",
    "parsorbitalis": "pars orbitalis",
    "parstriangularis": "pars triangularis",
    "posteriorcingulate": "posterior cingulate",
    "rostralanteriorcingulate": "rostral anterior cingulate",
    "rostralmiddlefrontal": "rostral middle frontal",
    "superiorfrontal": "superior frontal",
    "superiorparietal": "superior parietal",
    "superiortemporal": "superior temporal",
    "frontalpole": "frontal pole",
    "temporalpole": "temporal pole",
    "transversetemporal": "transverse temporal",
}
_CALLOSUM = {
    "cc_posterior": "posterior part of corpus callosum",
    "cc_mid_posterior": "middle posterior part of corpus callosum",
    "cc_central": "central part of corpus callosum",
    "cc_mid_anterior": "middle anterior part of corpus callosum",
    "cc_anterior": "anterior part of corpus callosum",
}


def split(label: str) -> tuple[str, Side | None]:
    """A FreeSurfer label -> the structure without its side, and the side: "ctx-lh-cuneus" -> ("cuneus", "left")."""
    sides: tuple[tuple[str, Side | None], ...] = (
        ("ctx-lh-", "left"),
        ("ctx-rh-", "right"),
        ("ctx-", None),
        ("Left-", "left"),
        ("Right-", "right"),
    )
    for prefix, side in sides:
        if label.startswith(prefix):
            return label.removeprefix(prefix), side
    return label, None


def code_of(label: str) -> Code:
    """The structure's code, side left out: the side is a field of its own in a finding."""
    structure, _ = split(label)
    key = structure.lower()
    if key in _KNOWN:
        return Code(*_KNOWN[key])
    if key in _CALLOSUM:
        return Code("99ATTENDING", key.replace("_", "-"), _CALLOSUM[key].capitalize())
    if label.startswith("ctx-"):
        return Code("99ATTENDING", f"cortex-{key}", f"{_CORTEX.get(key, key)} cortex".capitalize())
    return Code("99ATTENDING", key.replace(" ", "-"), structure.replace("-", " ").capitalize())


def codes(labels: Iterable[str]) -> dict[str, Code]:
    """Every label but the background (the first) -> its code."""
    return {label: code_of(label) for label in list(labels)[1:]}
