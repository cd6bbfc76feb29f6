"""What leaves the house: a reading rejoined with its Study, written to a new folder, all or nothing."""

from __future__ import annotations

import errno
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DiskFull, ExportRefused
from ..records import Image, Reading, Review, Study
from .nifti import nifti
from .page import page
from .public import public
from .source import quiet


def may_leave(reading: Reading) -> None:
    """Raises ExportRefused where the source's licence allows no more than looking."""
    if reading.case.use == "view":
        raise ExportRefused(
            "a reading of data without a stated licence",
            "data of your own patients, or data whose licence allows copies",
            "look at it with `attending show`; it is not exported",
        )


def export(
    reading: Reading,
    study: Study,
    images: Mapping[str, Image],
    arrays: Mapping[str, NDArray[Any]],
    review: Review | None,
    to: Path,
    *,
    organization: str | None = None,
) -> tuple[list[Path], tuple[str, ...]]:
    """Write every form of one reading into a new or empty folder; gives the paths and what could not be written, why.

    study   decoded: its stacks carry the headers, its files the bytes, which go out exactly as received.
    images  the images as analysed (image id -> Image), arrays the label maps and heat maps (z, y, x) by array_key.
    review  the signature of a final reading, None for a draft: then every form says draft.

    A DICOM study gives source/*.dcm, seg.dcm (where there is a mask that is not empty), sr.dcm, fhir.json, report.json,
    page.html and volume.nii.gz. Pictures and NIfTI have no DICOM source: they give the rest, and masks as NIfTI.
    Raises ExportRefused where the folder holds files, cannot be written, the licence forbids it, or a final reading
    comes without its signature; DiskFull.
    """
    may_leave(reading)
    if reading.status == "final" and review is None:
        raise ExportRefused(
            "a final reading without a signature that holds for it",
            "drafts, and final readings as they were signed",
            "run `attending audit verify`, and show this to the privacy officer",
        )
    to = Path(to)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ExportRefused(
            "a target that already exists and is not an empty folder", "a new or empty folder", "choose another --to"
        )
    partial = to.parent / f".{to.name}.partial-{secrets.token_hex(4)}"
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode=0o700)  # identified: readable by nobody else until its owner says otherwise
        with quiet():
            names, notes = _write(partial, reading, study, images, arrays, review, organization)
        partial.replace(to)
    except OSError as refused:
        if refused.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                "no space left for the export", "free space for a copy of the study", "free space first"
            ) from None
        raise ExportRefused(
            f"a target that cannot be written ({errno.errorcode.get(refused.errno or 0, 'OSError')})",
            "a folder that you may write to",
            "choose another --to",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [to / name for name in names], tuple(dict.fromkeys(notes))


def _write(
    folder: Path,
    reading: Reading,
    study: Study,
    images: Mapping[str, Image],
    arrays: Mapping[str, NDArray[Any]],
    review: Review | None,
    organization: str | None,
) -> tuple[list[str], list[str]]:
    """The names written, in order, and the notes."""
    names: list[str] = []
    notes: list[str] = []
    files: dict[str, str] = {}

    def put(name: str, kind: str | None, content: bytes | Callable[[Path], None]) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content(path)
        names.append(name)
        if kind:
            files[kind] = name

    in_segments: set[str] = set()
    dicom = None
    if study.kind == "dicom":
        dicom, in_segments = _write_dicom(put, notes, reading, study, arrays, review, organization)
    else:
        what = {"nifti": "a NIfTI", "picture": "a picture"}.get(study.kind, study.kind)
        notes.append(f"the source is {what}, not DICOM: no source/*.dcm, seg.dcm or sr.dcm")
    _write_nifti(put, notes, reading, images, arrays, in_segments)

    from .fhir import bundle

    put("fhir.json", "fhir", bundle(reading, study.kind, dicom, review, organization))
    pages = page(reading, images, arrays, review)
    put("page.html", "page", pages["page.html"])
    files["report"] = "report.json"
    document = public(reading, files, review) | {"export_notes": notes}
    put("report.json", None, json.dumps(document, indent=1, ensure_ascii=False).encode())
    return names, notes


def _write_dicom(
    put: Callable[..., None],
    notes: list[str],
    reading: Reading,
    study: Study,
    arrays: Mapping[str, NDArray[Any]],
    review: Review | None,
    organization: str | None,
) -> tuple[Any, set[str]]:
    """Source, segmentations and report; the Source and the refs of the label maps that a segmentation holds."""
    from .seg import segmentations
    from .source import source_of
    from .sr import report

    width = max(4, len(str(len(study.files))))
    for n, file in enumerate(study.files, start=1):
        put(f"source/{n:0{width}}.dcm", None, file.data)
    notes += study.given
    source = source_of(study)
    notes += source.notes
    written, said = segmentations(reading, study, source, arrays)
    notes += said
    if not written and not said:
        notes.append("no seg.dcm: this reading has no mask")
    for n, seg in enumerate(written, start=1):
        name = "seg.dcm" if n == 1 else f"seg-{n}.dcm"
        put(name, name.removesuffix(".dcm"), _saver(seg.dataset))
    document = report(reading, study, source, written, arrays, review, organization)
    put("sr.dcm", "sr", _saver(document))
    return source, {ref for w in written for ref in w.refs}


def _saver(dataset: Any) -> Callable[[Path], None]:
    return lambda path: dataset.save_as(path, enforce_file_format=True)


def _write_nifti(
    put: Callable[..., None],
    notes: list[str],
    reading: Reading,
    images: Mapping[str, Image],
    arrays: Mapping[str, NDArray[Any]],
    in_segments: set[str],
) -> None:
    said = "as analysed" if reading.status == "final" else "as analysed; draft reading"
    for n, image in enumerate(images.values(), start=1):
        suffix = "" if n == 1 else f"-{image.id}"
        put(f"volume{suffix}.nii.gz", f"volume{suffix}", nifti(image.voxels, image.facts, said))
        if image.facts.affine is None:
            notes.append(f"image {image.id} has no position in the patient: its NIfTI says so (codes 0)")
    facts = {i.id: i for i in reading.case.images}
    masks = dict.fromkeys(
        (f.region.image, f.region.ref)
        for f in reading.findings
        if f.region and f.region.kind == "mask" and f.region.ref
    )
    left = [(on, ref) for on, ref in masks if ref not in in_segments and ref in arrays and on in facts]
    left = [(on, ref) for on, ref in left if arrays[ref].any() and arrays[ref].shape == tuple(facts[on].shape[:3])]
    for n, (on, ref) in enumerate(left, start=1):
        labels = arrays[ref]
        suffix = "" if n == 1 else f"-{n}"
        small = labels.astype(np.uint8 if int(labels.max()) < 256 else np.uint16)
        put(f"labels{suffix}.nii.gz", f"labels{suffix}", nifti(small, facts[on], "label map; " + said))
