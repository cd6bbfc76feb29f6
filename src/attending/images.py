"""The image that a command is asked about: a file or folder, opened, without its patient, and as one image.

For the doors that need no reading (segment, measure, find, explain): nothing is kept in the hospital's folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import deidentify, intake
from .errors import GeometryRefused, NotFound
from .records import Case, Image, Study

if TYPE_CHECKING:
    from .site import Site

__all__ = ["OpenedImage", "open_image"]

UNDECLARED = "OT"
"""DICOM's term for other: what a picture or NIfTI is taken as where nobody declared a modality."""


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """image is de-identified and what models may see; study is identified and only for writing results beside it."""

    study: Study
    case: Case
    image: Image


def open_image(
    path: str | Path | Sequence[str | Path],
    site: Site,
    *,
    declared: Mapping[str, str] | None = None,
    number: int | None = None,
    undeclared: bool = True,
) -> OpenedImage:
    """The one image at a path (a file, or the files or folder of one series).

    declared    modality, view, body_part of pictures and NIfTI.
    number      which image of the study, from 0 in reading order; None where there is only one.
    undeclared  without a declared modality take the image as OT (other) instead of refusing it.

    Raises the InputRefused that intake says, and GeometryRefused where it is not one image and ``number`` is not given.
    """
    given = {key: value for key, value in (declared or {}).items() if value}
    deidentify.check_declared(given)
    if undeclared:
        given.setdefault("modality", UNDECLARED)
    paths = [path] if isinstance(path, str | Path) else list(path)
    opened = intake.open(paths, declared=given, limits=site.limits)
    if not opened.studies:
        if opened.refused:
            raise opened.refused[0].error
        raise NotFound("no image was found there", "a file or folder that holds one image", "check the path")
    if len(opened.studies) > 1:
        raise GeometryRefused(
            f"{len(opened.studies)} studies lie there", "one study at a time", "name the file or folder of one series"
        )
    study = opened.studies[0]
    # The surrogate ids of such a case are kept nowhere, so no secret of the hospital is needed to make them.
    case = deidentify.to_case(study, bytes(32))
    if number is None and len(case.images) > 1:
        seen = "; ".join(
            f"{i}: {'x'.join(map(str, image.facts.shape[2::-1]))}" for i, image in enumerate(case.images[:8])
        )
        raise GeometryRefused(
            f"the study holds {len(case.images)} images ({seen})", "one image", "choose one with --image-number N"
        )
    if not -1 < (number or 0) < len(case.images):
        raise GeometryRefused(
            f"image number {number}", f"0 to {len(case.images) - 1}", "choose one with --image-number N"
        )
    return OpenedImage(study, case, case.images[number or 0])
