"""The text rows of ``prompts.py``: words against AAL on ch2, through whatever outlines them. No command of its own."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import prompt_cases as pc

from attending import site
from attending.records import Image
from attending.tasks.segmenting import Session, Tools

WORDS = {
    "left hippocampus": ("Hippocampus_L",),
    "right hippocampus": ("Hippocampus_R",),
    "left thalamus": ("Thalamus_L",),
    "right thalamus": ("Thalamus_R",),
    "left caudate nucleus": ("Caudate_L",),
    "right caudate nucleus": ("Caudate_R",),
    "left putamen": ("Putamen_L",),
    "right putamen": ("Putamen_R",),
    "left amygdala": ("Amygdala_L",),
    "right amygdala": ("Amygdala_R",),
}


def text_rows(found: dict[str, tuple[Image, Any, dict[int, str]]]) -> list[dict[str, Any]]:
    """One row for each word on ch2; words that no installed model outlines are told and left out."""
    if "ch2-aal" not in found:
        print("text: left out, ch2/AAL is not here")
        return []
    image, labels, names = found["ch2-aal"]
    head = Image(replace(image.facts, body_part="HEAD", sequence="T1", view="AXIAL"), image.voxels)
    session = Session(head, Tools(site.load(site.default_home()), site.cache_dir()))
    rows = []
    for word, structures in WORDS.items():
        truth = np.isin(labels, [value for value, name in names.items() if name in structures])
        started = time.perf_counter()
        got = session.text(word)
        if not got.mask.any():
            print(f"text: {word!r} empty: {got.notes[0][:160]}")
            continue
        assert image.facts.spacing is not None
        rows.append(
            {
                "case": "ch2-aal",
                "structure": word,
                "dims": 3,
                "engine": f"{session.engine}",
                "mode": "text",
                "dice": pc.dice(got.mask, truth),
                "nsd": pc.nsd(got.mask, truth, image.facts.spacing),
                "seconds": time.perf_counter() - started,
            }
        )
    return rows
