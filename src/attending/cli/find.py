"""find and embed: labels looked for on one image, and an image as a vector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import Home, Json, emit, note, say

if TYPE_CHECKING:
    from ..api import Hospital
    from ..finding import Looked
    from ..records import Image

Modality = Annotated[str | None, typer.Option(help="For pictures and NIfTI: CT, MR, CR, DX, US ...")]
View = Annotated[str | None, typer.Option(help="For pictures and NIfTI: PA, AP, AXIAL ...")]
BodyPart = Annotated[str | None, typer.Option("--body-part", help="For pictures and NIfTI: HEAD, CHEST ...")]


def add_to(app: typer.Typer) -> None:
    app.command()(find)
    app.command()(embed)


def find(
    image: Annotated[Path, typer.Argument(help="A file, or the folder of one series.")],
    labels: Annotated[str, typer.Option(help='What to look for, by commas: "pneumonia,normal".')],
    examples: Annotated[Path | None, typer.Option(help="A folder with one sub-folder of images per label.")] = None,
    model: Annotated[str | None, typer.Option(help="The encoder, or the image-text model, to use.")] = None,
    head: Annotated[str, typer.Option(help="With --examples: prototype, linear or knn.")] = "linear",
    coverage: Annotated[float, typer.Option(min=0.5, max=0.999, help="What the set of labels is to cover.")] = 0.9,
    modality: Modality = None,
    view: View = None,
    body_part: BodyPart = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Look for labels on one image: by detectors in use that know them, by examples, or by words.

    With --examples a few-shot head is fitted on the folder there and then; with a --model that encodes images and
    texts the labels are compared as words. Nothing is kept. Every line says whether its number is a probability.
    """
    from .. import finding
    from ..api import Hospital
    from ..errors import ModelRefused
    from ..images import open_image
    from ..learning.fewshot import KINDS

    wanted = [word.strip() for word in labels.split(",") if word.strip()]
    if not wanted or len(set(wanted)) < len(wanted):
        raise typer.BadParameter("--labels names nothing, or one thing twice")
    if head not in KINDS:
        raise typer.BadParameter(f"--head is one of {', '.join(KINDS)}")
    declared = {"modality": modality, "view": view, "body_part": body_part}
    with Hospital(home) as hospital:
        opened = open_image(image, hospital.site, declared={k: v for k, v in declared.items() if v})
        if examples is not None:
            encoder = finding.encoder_of(_load(hospital, model or hospital.site.models.encoder))
            looked = finding.by_examples(opened.image, wanted, examples, encoder, hospital.site, coverage, head)
        elif model is not None:
            looked = finding.by_words(opened.image, wanted, finding.image_text_model(_load(hospital, model)))
        else:
            looked = finding.by_detectors(opened.image, wanted, hospital.equipment.readers.detectors, hospital.site)
            unknown = [word for word in wanted if word not in {item.label for item in looked}]
            if not looked:
                gone = [f"{id}: {why}" for id, why in hospital.equipment.refused if id in _detectors(hospital)]
                raise ModelRefused(
                    f"no detector in use knows {', '.join(unknown)} and admits this image "
                    f"({opened.image.facts.modality}){''.join(f'; not in use: {words}' for words in gone)}",
                    "labels that a detector in use knows, examples, or an image-text model",
                    "give --examples FOLDER, --model ID, or name a detector in site.toml; see `attending models list`",
                )
            for word in unknown:
                note(f"not looked for: {word} (no detector in use knows it for this image)")
    _tell(looked, opened.image, as_json)


def embed(
    images: Annotated[list[Path], typer.Argument(help="Files, or folders of one series each.")],
    out: Annotated[Path, typer.Option(help="Where the vectors go: .npy, float32 (images, numbers).")],
    model: Annotated[str | None, typer.Option(help="The encoder; else the site's models.encoder.")] = None,
    modality: Modality = None,
    view: View = None,
    body_part: BodyPart = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Write images as vectors of an encoder; only vectors of one space may be compared."""
    import numpy as np

    from .. import finding
    from ..api import Hospital
    from ..images import open_image

    if out.suffix != ".npy":
        raise typer.BadParameter("--out ends in .npy")
    declared = {k: v for k, v in (("modality", modality), ("view", view), ("body_part", body_part)) if v}
    with Hospital(home) as hospital:
        encoder = finding.encoder_of(_load(hospital, model or hospital.site.models.encoder))
        opened = [open_image(path, hospital.site, declared=declared).image for path in images]
        vectors = finding.vectors_of(opened, encoder)
    np.save(out, vectors, allow_pickle=False)
    fields = {"out": str(out), "space": encoder.space, "model": encoder.card.id, "shape": list(vectors.shape)}
    if as_json:
        emit(**fields)
    else:
        say(f"{vectors.shape[0]} x {vectors.shape[1]} numbers of {encoder.space} in {out}")


def _detectors(hospital: Hospital) -> tuple[str, ...]:
    return (hospital.site.models.tumour, *hospital.site.models.detectors)


def _load(hospital: Hospital, id: str) -> Any:
    from .. import models

    return models.load(id, hospital.site, hospital.cache)


def _tell(looked: list[Looked], image: Image, as_json: bool) -> None:
    from ..records import DRAFT_MARK

    for item in sorted(looked, key=lambda one: -one.score):
        code = item.code
        if as_json:
            emit(
                label=item.label,
                code=None if code is None else {"scheme": code.scheme, "value": code.value, "meaning": code.meaning},
                score=round(item.score, 6),
                calibrated=item.calibrated,
                chosen=item.chosen,
                way=item.way,
                modality=image.facts.modality,
                producer={"model": item.producer.model, "version": item.producer.version},
                notes=list(item.notes),
                mark=DRAFT_MARK,
            )
        else:
            kind = "probability" if item.calibrated else "score"
            say(f"{item.label}: {kind} {item.score:.3f}{f', {item.chosen}' if item.chosen else ''} "
                f"(by {item.way}, {item.producer.model})")  # fmt: skip
    if not as_json:
        for words in dict.fromkeys(n for item in looked for n in item.notes):
            say(f"  note: {words}")
        say(DRAFT_MARK)
