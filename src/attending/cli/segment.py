"""segment: what is pointed at or named, as a mask on the image's own grid."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import Home, Json, emit, note, progress, say

if TYPE_CHECKING:
    from ..images import OpenedImage
    from ..records import Masked, Prompts
    from ..tasks.segmenting import Session


def add_to(app: typer.Typer) -> None:
    app.command()(segment)


def segment(
    image: Annotated[str, typer.Argument(help="A file, or the folder of one DICOM series.")],
    out: Annotated[Path, typer.Option("--out", help="The mask: .nii.gz, .nii, .dcm (DICOM SEG), .png (one plane).")],
    point: Annotated[
        list[str] | None, typer.Option("--point", help="x,y[,z]; with :- at the end it does not belong. Repeatable.")
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option("--box", help="x0,y0[,z0],x1,y1[,z1], inclusive. More than one: their union.")
    ] = None,
    scribble: Annotated[
        list[Path] | None, typer.Option("--scribble", help="A file of strokes: lines x,y[,z][:-], or JSON.")
    ] = None,
    lasso: Annotated[
        list[Path] | None, typer.Option("--lasso", help="A file of outlines: lines x,y[,z][:-], or JSON.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help='What to outline: "left hippocampus".')] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", help="An earlier mask to refine: NIfTI or PNG on the same grid.")
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="No prompt: the foreground of the image.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="An engine's id.", show_default="as measured")] = None,
    mm: Annotated[bool, typer.Option("--mm", help="Numbers are patient coordinates, LPS millimetres.")] = False,
    one_plane: Annotated[bool, typer.Option("--one-plane", help="Keep to the prompted planes of a volume.")] = False,
    modality: Annotated[str | None, typer.Option(help="For pictures and NIfTI: CT, MR, CR, DX, US ...")] = None,
    view: Annotated[str | None, typer.Option(help="For pictures and NIfTI: PA, AP, AXIAL ...")] = None,
    body_part: Annotated[str | None, typer.Option(help="For pictures and NIfTI: HEAD, CHEST ...")] = None,
    image_number: Annotated[
        int | None, typer.Option("--image-number", help="Which image of a study that holds several, from 0.")
    ] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="An overlay of the mask as PNG.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Outline what you point at or name; the mask lies on the image's own grid.

    Numbers are voxel indices of the file from 0 along x, y, z (of NIfTI: i, j, k), z = 0 on one plane. Exit 0: the mask
    is written, empty where what was named is absent or no model knows it; 1: refused.
    """
    from ..api import Hospital
    from ..exporting.masks import mask_file, refuse_target, write_file
    from ..images import open_image
    from ..records import Producer
    from ..tasks.segmenting import Asked, Session, Tools, read_prompts

    started = time.perf_counter()
    asked = Asked(point or [], box or [], scribble or [], lasso or [], text, mask, mm)
    with Hospital(home) as hospital, progress("segmenting") as bar:
        declared = {"modality": modality, "view": view, "body_part": body_part}
        opened = open_image(image, hospital.site, declared=_said(declared), number=image_number)
        suffix = refuse_target(out, opened.study, opened.image, force)
        if picture is not None:
            _refuse_picture(picture, out, opened, force)
        groups = read_prompts(asked, opened.image, everything)
        session = Session(
            opened.image,
            Tools(hospital.site, hospital.cache),
            model=model,
            one_plane=one_plane,
            progress=lambda fraction, words: bar(words, fraction),
        )
        got = _run(session, groups, everything)
        engine, mode = session.engine, _mode(groups, everything)
        session.close()
        code, side = _named(text)
        producer = Producer(engine, _version(engine, hospital), mode)
        data = mask_file(got.mask, suffix, opened.study, opened.case, opened.image, producer, code, side)
    notes = list(got.notes)
    if data is None:
        notes.append("an empty mask cannot be a DICOM Segmentation: no file was written")
    else:
        write_file(out, data)
    if picture is not None:
        write_file(picture, _overlay(opened, got.mask))
    fields = _fields(opened, got, engine, mode)
    fields |= {"seconds": round(time.perf_counter() - started, 2), "notes": notes}
    fields |= {"out": str(out) if data is not None else None, "picture": str(picture) if picture else None}
    if as_json:
        emit(**fields)
    else:
        _tell(fields)


def _said(declared: dict[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in declared.items() if value}


def _run(session: Session, groups: list[Prompts], everything: bool) -> Masked:
    """One mask; of several boxes the union, each with the prompts that lie in it."""
    from ..models.prompt_rules import changed_box
    from ..records import Masked

    if everything:
        return session.everything()
    got = session.add(groups[0])
    for more in groups[1:]:
        one = got
        while session.prompts.box is not None or not session.prompts.empty:
            session.undo()
        two = session.add(more)
        union = one.mask | two.mask
        scores = [s for s in (one.score, two.score) if s is not None]
        got = Masked(union, min(scores, default=None), changed_box(None, union), (*one.notes, *two.notes))
    return got


def _mode(groups: list[Prompts], everything: bool) -> str:
    from ..models.prompt_rules import modes_of

    return "none" if everything else "+".join(dict.fromkeys(m for g in groups for m in modes_of(g)))


def _named(text: str | None) -> tuple[Any, Any]:
    from ..exporting.masks import TISSUE
    from ..tasks.segmenting.words import named

    if text is None:
        return TISSUE, None
    found = named(text)
    return found.code or TISSUE, found.side


def _version(engine: str | None, hospital: Any) -> str | None:
    return hospital.card(engine).version if engine else None


def _refuse_picture(path: Path, out: Path, opened: OpenedImage, force: bool) -> None:
    from ..errors import ExportRefused
    from ..exporting.masks import refuse_place

    if path.suffix.lower() != ".png" or path.is_dir() or (path.exists() and not force):
        raise ExportRefused(
            "a picture that exists" if path.exists() else "a picture that is no PNG",
            "a new .png file",
            "choose another --picture, or say --force",
        )
    refuse_place(path, "picture", "--picture")
    held = path.read_bytes() if path.exists() else None
    if path.resolve() == out.resolve() or any(held == file.data for file in opened.study.files):
        raise ExportRefused(
            "a picture in the place of the mask or of the image", "a file of its own", "choose another --picture"
        )


def _fields(opened: OpenedImage, got: Masked, engine: str | None, mode: str) -> dict[str, Any]:
    from ..imaging import masked_box, voxel_ml
    from ..records import DRAFT_MARK

    facts, count = opened.image.facts, int(got.mask.sum())
    spacing = facts.spacing if facts.spacing and min(facts.spacing[:2]) > 0 else None
    volume = spacing is not None and facts.shape[0] > 1 and facts.axis == "space" and spacing[2] > 0
    return {
        "mark": DRAFT_MARK,
        "model": engine,
        "mode": mode,
        "voxels": count,
        "volume_ml": round(count * voxel_ml(spacing), 4) if spacing and volume else None,
        "area_mm2": round(count * spacing[0] * spacing[1], 3) if spacing and facts.shape[0] == 1 else None,
        "box": masked_box(got.mask),
        "changed": got.changed,
        "score": got.score,
        "shape": [facts.shape[2], facts.shape[1], facts.shape[0]],
    }


def _tell(fields: dict[str, Any]) -> None:
    size = f"{fields['voxels']} voxels"
    if fields["volume_ml"] is not None:
        size += f", {fields['volume_ml']:.3g} ml"
    elif fields["area_mm2"] is not None:
        size += f", {fields['area_mm2']:.4g} mm2"
    if fields["voxels"]:
        say(f"{size} in box {','.join(map(str, fields['box']))}" + (f": {fields['out']}" if fields["out"] else ""))
    else:
        say("nothing outlined" + (f" (an empty mask was written: {fields['out']})" if fields["out"] else ""))
    for text in fields["notes"]:
        note(text)
    say(fields["mark"])


def _overlay(opened: OpenedImage, mask: Any) -> bytes:
    """The plane where the mask is largest, and in volumes the planes a quarter of it lower and higher."""
    import numpy as np

    from ..imaging import label_layer, montage, overlay, plane, to_png

    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    middle = int(mask.sum(axis=(1, 2)).argmax()) if len(planes) else mask.shape[0] // 2
    shown = [middle]
    if len(planes) > 2:
        low, high = (int(v) for v in np.quantile(planes, (0.15, 0.85), method="nearest"))
        shown = sorted({low, middle, high})
    grow = max(1, 384 // max(mask.shape[1:]))
    tiles = []
    for z in shown:
        base = np.repeat(np.repeat(plane(opened.image, z), grow, 0), grow, 1)
        layer = label_layer(np.repeat(np.repeat(mask[z].astype(np.uint8), grow, 0), grow, 1), {1: (255, 80, 60)}, 0.35)
        tiles.append(overlay(base, layer))
    return to_png(montage(tiles, columns=len(tiles)) if len(tiles) > 1 else tiles[0])
