"""explain: which parts of an image a model's score rests on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import Home, Json, emit, note, progress, say

if TYPE_CHECKING:
    from ..api import Hospital
    from ..images import OpenedImage
    from ..tasks.explaining import Explained

SUFFIXES = (".png", ".nii.gz", ".nii", ".dcm")


def add_to(app: typer.Typer) -> None:
    app.command()(explain)


def explain(
    image: Annotated[str, typer.Argument(help="A file, or the folder of one DICOM series.")],
    model: Annotated[str, typer.Option("--model", help="A detector, an approved head, or an image-text encoder.")],
    out: Annotated[
        Path, typer.Option("--out", help=".png (overlay), .nii.gz or .nii (map), .dcm (DICOM Parametric Map).")
    ],
    label: Annotated[
        str | None,
        typer.Option("--label", help="Which of its labels; any phrase for an encoder.", show_default="the highest"),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="occlusion, integrated_gradients, grad_cam or rollout.")
    ] = "occlusion",
    fill: Annotated[str, typer.Option("--fill", help="What hides: blur or mean.")] = "blur",
    modality: Annotated[str | None, typer.Option(help="For pictures and NIfTI: CT, MR, CR, DX, US ...")] = None,
    view: Annotated[str | None, typer.Option(help="For pictures and NIfTI: PA, AP, AXIAL ...")] = None,
    body_part: Annotated[
        str | None, typer.Option("--body-part", help="For pictures and NIfTI: HEAD, CHEST ...")
    ] = None,
    image_number: Annotated[
        int | None, typer.Option("--image-number", help="Which image of a study that holds several, from 0.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show which parts of an image a model's score rests on, and how far it falls when they are hidden.

    Occlusion works for every model with a score; the other methods need torch. The map lies on the image's own grid.
    Exit 0: written; 1: refused, for example where the model's card does not admit the image.
    """
    from ..api import Hospital
    from ..exporting.masks import write_file
    from ..images import open_image
    from ..models.inward import METHODS
    from ..tasks.explaining import FILLS
    from ..tasks.explaining import explain as explained

    if method not in METHODS or fill not in FILLS:
        raise typer.BadParameter(f"--method is one of {', '.join(METHODS)}; --fill one of {', '.join(FILLS)}")
    started = time.perf_counter()
    with Hospital(home) as hospital, progress("explaining") as bar:
        declared = {"modality": modality, "view": view, "body_part": body_part}
        opened = open_image(
            image, hospital.site, declared={k: v for k, v in declared.items() if v}, number=image_number
        )
        suffix = _target(out, opened, force)
        plugin = _loaded(model, hospital)
        got = explained(
            opened.image,
            plugin,
            label,
            method,
            fill=fill,  # type: ignore[arg-type]
            source=_source(opened, hospital),
            progress=lambda fraction, words: bar(words, fraction),
        )
        data = _file(suffix, opened, got, plugin.card)
        close = getattr(plugin, "close", None)
        if close is not None:
            close()
    write_file(out, data)
    fields = _fields(got, plugin.card) | {"seconds": round(time.perf_counter() - started, 2), "out": str(out)}
    if as_json:
        emit(**fields)
    else:
        _tell(fields)


def _target(path: Path, opened: OpenedImage, force: bool) -> str:
    """The suffix, judged before any work is done."""
    from ..errors import ExportRefused

    name = path.name.lower()
    suffix = next((s for s in SUFFIXES if name.endswith(s) and len(name) > len(s)), None)
    if suffix is None:
        raise ExportRefused(
            f"a map to be written as {path.suffix or 'a file without an ending'}",
            f"a name that ends in {', '.join(SUFFIXES)}",
            "choose another --out",
        )
    if path.is_dir() or (path.exists() and not force):
        raise ExportRefused(
            "a folder of that name" if path.is_dir() else "a file of that name exists",
            "a new file",
            "choose another --out" + ("" if path.is_dir() else ", or say --force to replace it"),
        )
    if not path.absolute().parent.is_dir():
        raise ExportRefused("no folder to write the map into", "a folder that exists", "make it, or choose another")
    if suffix == ".dcm" and (opened.study.kind != "dicom" or opened.image.facts.affine is None):
        raise ExportRefused(
            "a DICOM Parametric Map of an image that is not DICOM or has no position in the patient",
            "a Parametric Map of a DICOM image with a position; NIfTI or PNG of any image",
            "end --out in .nii.gz or .png",
        )
    return suffix


def _loaded(id: str, hospital: Hospital) -> Any:
    """A model by id; or the approved head of a task, by its card's id (head-TASK) or its release's."""
    from .. import models
    from ..equipment import head_of
    from ..errors import UnknownModel

    try:
        return models.load(id, hospital.site, hospital.cache)
    except UnknownModel:
        for release in hospital.store.approved():
            if id in (release.id, f"head-{release.candidate.task}"):
                return head_of(release, hospital.store, hospital.site, hospital.cache)
        raise


def _source(opened: OpenedImage, hospital: Hospital) -> str | None:
    """The data set that the file was published in, by its bytes."""
    from ..models import catalog
    from ..models.pull import hashes_of

    held = {file.sha256 for file in opened.study.files}
    sets = (e for e in catalog() if e.kind == "data")
    return next((e.id for e in sets if held <= set(hashes_of(e, hospital.cache).values())), None)


def _file(suffix: str, opened: OpenedImage, got: Explained, card: Any) -> bytes:
    from ..records import Producer

    title = f"{card.id} {card.version}, {got.label}: score {got.score:.2f}"
    if got.hidden_score is not None:
        title += f", {got.hidden_score:.2f} with the lined part hidden"
    if suffix == ".png":
        from ..exporting.heat_picture import heat_picture

        said = f"{got.method.replace('_', ' ')}: what the score rests on, no outline of a finding"
        return heat_picture(opened.image, got.heat, title, got.unit if got.unit != "1" else "", [said])
    if suffix == ".dcm":
        from ..exporting.parametric_map import parametric_map

        what = f"{got.method.replace('_', ' ')} of {got.label}" + (f" ({got.unit})" if got.unit != "1" else "")
        producer = Producer(card.id, card.version, got.method)
        return parametric_map(got.heat, opened.study, opened.case, opened.image, producer, what)
    from ..exporting.masks import like_source
    from ..exporting.nifti import nifti

    words = f"draft: what {card.id} rests on"
    nifti_source = opened.study.kind == "nifti"
    made = like_source(got.heat, opened.study, words) if nifti_source else nifti(got.heat, opened.image.facts, words)
    if suffix == ".nii":
        import gzip

        return gzip.decompress(made)
    return made


def _fields(got: Explained, card: Any) -> dict[str, Any]:
    from ..records import DRAFT_MARK

    code = (
        None if got.code is None else {"scheme": got.code.scheme, "value": got.code.value, "meaning": got.code.meaning}
    )
    return {
        "mark": DRAFT_MARK,
        "model": card.id,
        "version": card.version,
        "method": got.method,
        "label": got.label,
        "code": code,
        "unit": got.unit,
        "score": round(got.score, 4),
        "hidden_score": None if got.hidden_score is None else round(got.hidden_score, 4),
        "box": got.box,
        "deletion_area": round(got.deletion_area, 4),
        "insertion_area": round(got.insertion_area, 4),
        "asked": got.asked,
        "notes": list(got.notes),
    }


def _tell(fields: dict[str, Any]) -> None:
    after = fields["hidden_score"]
    say(f"{fields['model']} {fields['version']}, {fields['label']}: score {fields['score']:.2f}"
        + (f"; {after:.2f} with the hottest part hidden (box {','.join(map(str, fields['box']))})" if after is not None
           else "; no part of the image speaks for it"))  # fmt: skip
    say(f"deletion area {fields['deletion_area']:.2f} (small is good), insertion area {fields['insertion_area']:.2f} "
        f"(large is good): {fields['out']}")  # fmt: skip
    for text in fields["notes"]:
        note(text)
    say(fields["mark"])
