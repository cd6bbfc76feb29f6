"""One mask as a file beside its image: NIfTI or PNG on the file's own grid, or DICOM Segmentation of a DICOM source."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DiskFull, ExportRefused
from ..records import (
    Case,
    Code,
    Draft,
    Finding,
    Image,
    Producer,
    Reading,
    Region,
    Stack,
    Study,
    Verdict,
    array_key,
)
from .nifti import nifti
from .source import quiet

TISSUE = Code("SCT", "85756007", "Tissue")
"""What is outlined where nobody named it."""
SUFFIXES = (".nii.gz", ".nii", ".dcm", ".png")
Mask = NDArray[np.bool_]


def suffix_of(path: Path) -> str:
    """The kind of file a mask is written as. Raises ExportRefused for another ending."""
    name = path.name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix):
            return suffix
    raise ExportRefused(
        f"a mask to be written as {path.suffix or 'a file without an ending'}",
        "a name that ends in .nii.gz, .nii, .dcm or .png",
        "choose another --out",
    )


def refuse_target(path: Path, study: Study, image: Image, force: bool) -> str:
    """The suffix, judged before any work is done. Raises ExportRefused for a target that could not be written."""
    suffix = suffix_of(path)
    if path.is_dir() or (path.exists() and not force):
        raise ExportRefused(
            "a folder of that name" if path.is_dir() else "a file of that name exists",
            "a new file",
            "choose another --out" + ("" if path.is_dir() else ", or say --force to replace it"),
        )
    refuse_place(path)
    if path.exists() and any(path.stat().st_size == len(f.data) and path.read_bytes() == f.data for f in study.files):
        raise ExportRefused(
            "a target that is the image itself", "a mask beside its image", "choose another --out: images are kept"
        )
    if suffix == ".dcm" and study.kind != "dicom":
        raise ExportRefused(
            "a DICOM Segmentation of an image that is not DICOM",
            "DICOM Segmentation for DICOM; NIfTI for any image",
            "end --out in .nii.gz",
        )
    if suffix == ".dcm" and not image.facts.source:
        raise ExportRefused("an image without a DICOM source", "an image of DICOM instances", "end --out in .nii.gz")
    if suffix == ".dcm" and image.facts.affine is None and image.facts.shape[0] > 1:
        raise ExportRefused(
            "frames without a position in the patient", "a volume in space, or one plane", "end --out in .nii.gz"
        )
    if suffix == ".png" and image.facts.shape[0] != 1:
        raise ExportRefused(
            f"a PNG of a mask with {image.facts.shape[0]} planes", "one plane", "end --out in .nii.gz, or use --picture"
        )
    return suffix


def refuse_place(path: Path, what: str = "mask", option: str = "--out") -> None:
    """Raises ExportRefused where no file can be made at path: judged before work, which may take minutes."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ExportRefused(
            f"no folder to write the {what} into", "a folder that exists", f"make it, or choose another {option}"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportRefused(
            f"a folder that you may not write the {what} into", "one that you may", f"choose another {option}"
        )


def refuse_folder(path: Path) -> None:
    """Raises ExportRefused where path is no new or empty folder that results can be written into. Makes nothing."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ExportRefused("a target that exists and is not empty", "a new folder", "choose another --out")
    above = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise _no_folder()


def make_folder(path: Path) -> None:
    """Raises ExportRefused where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        raise _no_folder() from None


def _no_folder() -> ExportRefused:
    return ExportRefused("a folder that cannot be made there", "a place that you may write to", "choose another --out")


def mask_file(
    mask: Mask,
    suffix: str,
    study: Study,
    case: Case,
    image: Image,
    producer: Producer,
    code: Code = TISSUE,
    side: str | None = None,
) -> bytes | None:
    """The file's bytes; None for an empty mask as DICOM Segmentation, which the standard does not know.

    mask (z, y, x) on the image's grid. A NIfTI source keeps its own affine, codes and number of axes.
    """
    if suffix == ".png":
        from ..imaging import to_png

        return to_png(np.where(mask[0], 255, 0).astype(np.uint8))
    if suffix == ".dcm":
        return _segmentation(mask, study, case, image, producer, code, side) if mask.any() else None
    made = like_source(mask, study) if study.kind == "nifti" else nifti(mask, image.facts, "mask")
    if suffix == ".nii":
        import gzip

        return gzip.decompress(made)
    return made


def write_file(path: Path, data: bytes, what: str = "mask") -> None:
    """All or nothing. Raises DiskFull or ExportRefused."""
    import errno

    partial = path.absolute().parent / f".{path.name}.partial-{secrets.token_hex(4)}"
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as refused:
        if refused.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no space left for the {what}", "free space for it", "free space first") from None
        raise ExportRefused(
            f"a target that cannot be written ({errno.errorcode.get(refused.errno or 0, 'OSError')})",
            "a folder that you may write to",
            "choose another --out",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def like_source(array: NDArray[Any], study: Study, description: str = "mask") -> bytes:
    """A mask or a float32 map as a NIfTI with the source's own affine and codes: whatever opens the one lays the other
    over it."""
    import gzip
    import io

    import nibabel

    data = study.files[0].data
    if data[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(data)) as stream:
            data = stream.read(544)
    kind = nibabel.Nifti2Header if data[4:8] == b"n+2\0" else nibabel.Nifti1Header
    source = kind(data[: kind.sizeof_hdr], check=False)
    shape = tuple(int(n) for n in source.get_data_shape())[:3]
    kept = array if array.dtype.kind == "f" else array.astype(np.uint8)
    voxels = np.ascontiguousarray(kept.transpose(2, 1, 0)).reshape(shape)
    pair = nibabel.Nifti2Image if kind is nibabel.Nifti2Header else nibabel.Nifti1Image
    made = pair(voxels, source.get_best_affine())
    header = made.header
    for field in ("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
                  "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"):  # fmt: skip
        header[field] = source[field]
    header["descrip"] = description.encode()[:79]
    header["cal_max"], header["cal_min"] = float(array.max()), min(0.0, float(array.min()))
    return gzip.compress(made.to_bytes(), compresslevel=5, mtime=0)


def _segmentation(
    mask: Mask, study: Study, case: Case, image: Image, producer: Producer, code: Code, side: str | None
) -> bytes:
    """DICOM Segmentation with one segment, SEMIAUTOMATIC: a person pointed, software drew."""
    import io

    from .seg import segmentations
    from .source import source_of

    labels = mask.astype(np.uint8)
    key, name = array_key(labels), f"{side} {code.meaning}" if side else code.meaning
    finding = Finding(
        "f1",
        code,
        "present",
        side=side,  # type: ignore[arg-type]
        region=Region("mask", image.id, key, 1),
        producer=producer,
    )
    reading = Reading(
        id=case.id,
        version=1,
        created="",
        case=case.facts,
        findings=(finding,),
        evidence=(),
        not_assessed=(),
        quality=(),
        draft=Draft((), producer),
        verdict=Verdict(()),
        label_names=((key, ((1, name),)),),
    )
    with quiet():
        written, notes = segmentations(reading, _with_ids(study, case), source_of(study), {key: labels})
        if not written:
            raise ExportRefused(
                notes[0] if notes else "no segmentation could be made",
                "a mask on a DICOM image",
                "end --out in .nii.gz",
            )
        dataset = written[0].dataset
        if producer.prompt != "text":
            dataset.SegmentSequence[0].SegmentAlgorithmType = "SEMIAUTOMATIC"
        out = io.BytesIO()
        dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _with_ids(study: Study, case: Case) -> Study:
    """The study's stacks under the image ids of its case."""
    stacks = []
    for stack, image in zip(study.stacks, case.images, strict=True):
        facts = replace(stack.image.facts, id=image.id)
        stacks.append(Stack(Image(facts, stack.image.voxels), stack.header))
    return replace(study, stacks=tuple(stacks))
