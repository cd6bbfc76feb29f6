"""compare --second: two models side by side, as JSON (docs/measuring.md), in words, and as files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .common import emit, note, progress, say
from .measure_fields import code_fields, rounded

if TYPE_CHECKING:
    from ..records import Image
    from ..second_opinion import Opinions

COLOURS = {1: (70, 160, 255), 2: (255, 150, 40), 3: (220, 70, 220)}
"""Only the first, only the second, named differently."""


def second_opinion(
    study: str,
    second: str,
    *,
    declared: dict[str, str],
    number: int | None,
    out: Path | None,
    as_json: bool,
    home: Path | None,
) -> None:
    from ..api import Hospital
    from ..images import open_image
    from ..records import DRAFT_MARK
    from ..second_opinion import opinions, two_models

    ids = [part.strip() for part in second.split(",")]
    if len(ids) != 2 or not all(ids):
        raise typer.BadParameter("--second takes two models: --second ID,ID")
    started = time.perf_counter()
    with Hospital(home) as hospital, progress("asking two models") as bar:
        pair = two_models((ids[0], ids[1]), hospital.site, hospital.cache)
        image = open_image(study, hospital.site, declared=declared, number=number).image
        found = opinions(image, pair, lambda fraction, words: bar(words, fraction))
        files = _written(found, image, out) if out is not None else []
    fields: dict[str, Any] = {
        "mark": DRAFT_MARK,
        "kind": {"Segmenter": "outlines", "Detector": "scores"}[found.kind],
        "models": [{"model": id, "version": version} for id, version in found.models],
        "opinions": [
            {
                "code": code_fields(row.code),
                "side": row.side,
                "first": row.first,
                "second": row.second,
                "unit": row.unit,
                "dice": row.dice,
                "disagree": row.disagree,
            }
            for row in found.rows
        ],
        "disagreements": sum(row.disagree for row in found.rows),
        "only_first": list(found.alone[0]),
        "only_second": list(found.alone[1]),
        "notes": list(found.notes),
        "seconds": round(time.perf_counter() - started, 2),
        "files": files,
    }
    if as_json:
        emit(**fields)
    else:
        _tell(fields)


def _tell(fields: dict[str, Any]) -> None:
    first, second = (one["model"] for one in fields["models"])
    say(f"{first} and {second}: they disagree on {fields['disagreements']} of {len(fields['opinions'])}")
    for row in fields["opinions"]:
        what = f"{row['side']} {row['code']['meaning']}" if row["side"] else row["code"]["meaning"]
        unit = "" if row["unit"] == "1" else " " + row["unit"].strip("{}")
        dice = "" if row["dice"] is None else f", Dice {row['dice']:.2f}"
        told = "DISAGREE" if row["disagree"] else "agree"
        say(f"  {what}: {rounded(row['first'])} and {rounded(row['second'])}{unit}{dice}: {told}")
    for model, names in ((first, fields["only_first"]), (second, fields["only_second"])):
        if names:
            note(f"only {model} knows: {', '.join(names)}")
    for text in fields["notes"]:
        note(text)
    for path in fields["files"]:
        say(f"  {path}")
    say(fields["mark"])


def _written(found: Opinions, image: Image, out: Path) -> list[str]:
    """Where two outlines differ, as NIfTI on the image's grid and as a picture of the plane with most of it."""
    import numpy as np

    from ..exporting.masks import make_folder, write_file
    from ..exporting.nifti import nifti
    from ..imaging import label_layer, overlay, plane, to_png

    if found.differ is None:
        note("two scores have no place: no files were written")
        return []
    make_folder(out)
    z = int(np.count_nonzero(found.differ, axis=(1, 2)).argmax())
    grow = max(1, 384 // max(found.differ.shape[1:]))
    base, layer = (np.repeat(np.repeat(a, grow, 0), grow, 1) for a in (plane(image, z), found.differ[z]))
    picture = to_png(overlay(base, label_layer(layer, COLOURS, 0.5)))
    files = []
    for name, data in (
        ("disagreement.nii.gz", nifti(found.differ, image.facts, "1 first, 2 second, 3 named differently")),
        ("disagreement.png", picture),
    ):
        write_file(out / name, data, "disagreement")
        files.append(str(out / name))
    return files
