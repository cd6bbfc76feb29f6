"""DICOM series with a known answer: written from an array or a NIfTI, with any geometry, to check readers against.

Voxels are (z, y, x); the affine maps the index (x, y, z) to patient LPS millimetres. All names in the headers are
invented. UIDs come from ``seed``, so that the same call writes the same bytes.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "US-multiframe": "1.2.840.10008.5.1.4.1.1.3.1",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "enhanced MR": "1.2.840.10008.5.1.4.1.1.4.1",
}
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
RIGHT_ANGLE = 1e-4  # how far from perpendicular the axes may be: DICOM slices cannot be sheared


def uid(*parts: object) -> str:
    """A UID under 2.25 made from the parts."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def oblique(
    angles: Sequence[float] = (0.0, 0.0, 0.0),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> NDArray[np.float64]:
    """A 4x4 affine: axes turned by angles (degrees about x, y, z, in that order), spacing mm along (x, y, z)."""
    turn = np.eye(3)
    for axis, degrees in enumerate(angles):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        one = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        one[i, i], one[i, j], one[j, i], one[j, j] = c, -s, s, c
        turn = one @ turn
    affine = np.eye(4)
    affine[:3, :3] = turn * np.asarray(spacing, dtype=np.float64)
    affine[:3, 3] = origin
    return affine


def series(
    voxels: NDArray[Any],
    affine: ArrayLike,
    *,
    modality: str = "MR",
    rescale: tuple[float, float] | None = None,
    header: Mapping[str, Any] | None = None,
    seed: str = "attending",
) -> list[Any]:
    """One pydicom dataset for each z plane, in z order.

    voxels   (z, y, x) integers, or floats, which are scaled into 16 bits with a rescale; (z, y, x, 3) uint8 is colour.
    affine   4x4 to LPS mm with perpendicular axes; raises ValueError for a sheared one.
    rescale  (slope, intercept): voxels are then the values after it, and must come out whole.
    header   attributes to set on every dataset, by keyword; None deletes one.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    size = np.linalg.norm(matrix[:3, :3], axis=0)
    axes = matrix[:3, :3] / size
    if np.abs(axes.T @ axes - np.eye(3)).max() > RIGHT_ANGLE:
        raise ValueError("a DICOM series cannot be sheared: make the affine's axes perpendicular")
    stored, rescale = _stored(voxels, rescale)
    made = []
    for z, plane in enumerate(stored):
        ds = image(plane, modality=modality, seed=seed, number=z + 1)
        place = matrix[:3, 3] + z * matrix[:3, 2]
        ds.ImagePositionPatient = [_ds(v) for v in place]
        ds.ImageOrientationPatient = [_ds(v) for v in (*axes[:, 0], *axes[:, 1])]
        ds.PixelSpacing = [_ds(size[1]), _ds(size[0])]
        ds.SliceThickness = _ds(size[2])
        ds.FrameOfReferenceUID = uid(seed, "frame")
        ds.PositionReferenceIndicator = ""
        if rescale is not None or modality == "CT":
            slope, intercept = rescale or (1.0, 0.0)
            ds.RescaleSlope, ds.RescaleIntercept = _ds(slope), _ds(intercept)
            ds.RescaleType = "HU" if modality == "CT" else "US"
        _override(ds, header)
        made.append(ds)
    return made


def write_series(
    voxels: NDArray[Any],
    affine: ArrayLike,
    folder: str | PathLike[str],
    *,
    modality: str = "MR",
    rescale: tuple[float, float] | None = None,
    header: Mapping[str, Any] | None = None,
    seed: str = "attending",
    syntax: str = EXPLICIT,
) -> list[Path]:
    """``series``, written as IM0001.dcm ... into the folder (made if absent); gives the paths in z order."""
    made = series(voxels, affine, modality=modality, rescale=rescale, header=header, seed=seed)
    return write(made, folder, syntax=syntax)


def write_series_from_nifti(
    nifti: str | PathLike[str], folder: str | PathLike[str], *, modality: str = "MR", **options: Any
) -> list[Path]:
    """A NIfTI volume (RAS) as a DICOM series (LPS) on its own grid; options as for ``write_series``."""
    import nibabel

    volume: Any = nibabel.load(nifti)
    data = np.asanyarray(volume.dataobj)
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise ValueError(f"a NIfTI of {data.ndim} dimensions: only volumes can be written as one series")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    return write_series(np.ascontiguousarray(data.T), affine, folder, modality=modality, **options)


def write(
    datasets: Sequence[Any], folder: str | PathLike[str], *, syntax: str = EXPLICIT, stem: str = "IM"
) -> list[Path]:
    """Datasets as files; syntax is the transfer syntax UID: uncompressed, deflated, or one that pydicom encodes."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, ds in enumerate(datasets, 1):
        path = target / f"{stem}{k:04}.dcm"
        save(ds, path, syntax=syntax)
        paths.append(path)
    return paths


def save(ds: Any, path: str | PathLike[str] | IO[bytes], *, syntax: str = EXPLICIT) -> None:
    """One dataset with preamble and file meta."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.get("SOPClassUID") or SOP_CLASSES["SC"]
    meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID") or uid("none")
    meta.ImplementationClassUID = uid("attending.testing")
    ds.file_meta = meta
    kind = UID(syntax)
    if kind.is_compressed and not kind.is_deflated and "PixelData" in ds:
        meta.TransferSyntaxUID = UID(EXPLICIT)
        if not getattr(ds["PixelData"], "is_undefined_length", False):
            ds.compress(kind, generate_instance_uid=False)
    meta.TransferSyntaxUID = kind
    ds.save_as(path, enforce_file_format=True, implicit_vr=kind == UID(IMPLICIT), little_endian=kind.is_little_endian)


def image(
    plane: NDArray[Any],
    *,
    modality: str = "SC",
    photometric: str | None = None,
    bits: int | None = None,
    frames: bool = False,
    number: int = 1,
    header: Mapping[str, Any] | None = None,
    seed: str = "attending",
) -> Any:
    """One image without geometry: (y, x) integers, (y, x, 3) uint8, or with frames=True one more axis before them.

    bits  bits stored, where fewer than the array's own.
    """
    from pydicom import Dataset

    colour = plane.ndim == (4 if frames else 3)
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY"] if modality != "MR" else ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.SOPClassUID = SOP_CLASSES.get(f"{modality}-multiframe" if frames else modality, SOP_CLASSES["SC"])
    ds.SOPInstanceUID = uid(seed, "instance", number)
    ds.StudyDate, ds.StudyTime = "20240131", "120000"
    ds.ContentDate, ds.ContentTime = "20240131", "120000"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "", modality, "Phantom Works"
    ds.ReferringPhysicianName, ds.StudyDescription = "", "PHANTOM"
    ds.PatientName, ds.PatientID = "PHANTOM^TEST", "PHANTOM-0001"
    ds.PatientBirthDate, ds.PatientSex = "19700101", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(seed, "study"), uid(seed, "series")
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 1, number
    _acquisition(ds, modality)
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = photometric or ("RGB" if colour else "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    if frames:
        ds.NumberOfFrames = plane.shape[0]
    ds.Rows, ds.Columns = plane.shape[1:3] if frames else plane.shape[:2]
    ds.BitsAllocated = plane.dtype.itemsize * 8
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(plane.dtype.kind == "i")
    data = np.ascontiguousarray(plane).astype(plane.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    _override(ds, header)
    return ds


def _acquisition(ds: Any, modality: str) -> None:
    """The attributes that the CT and MR image modules demand (PS3.3 C.8.2.1, C.8.3.1)."""
    if modality == "MR":
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = ["GR", "IR"], "MP", ""
        ds.MRAcquisitionType, ds.SequenceName = "3D", "*tfl3d1"
        ds.RepetitionTime, ds.EchoTime, ds.InversionTime = "1900", "2.5", "900"
        ds.EchoTrainLength, ds.FlipAngle, ds.MagneticFieldStrength = "1", "9", "3"
        ds.PatientPosition, ds.BodyPartExamined = "HFS", "HEAD"
    elif modality == "CT":
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.KVP, ds.AcquisitionNumber, ds.PatientPosition, ds.BodyPartExamined = "120", 1, "HFS", "ABDOMEN"
    elif modality == "SC":
        ds.ConversionType = "WSD"
    elif modality == "CR":
        ds.BodyPartExamined, ds.ViewPosition, ds.PatientOrientation = "CHEST", "PA", ["L", "F"]


def _stored(
    voxels: NDArray[Any], rescale: tuple[float, float] | None
) -> tuple[NDArray[Any], tuple[float, float] | None]:
    if voxels.ndim == 4:
        return voxels.astype(np.uint8), None
    if rescale is None and voxels.dtype.kind == "f":
        low, high = float(voxels.min()), float(voxels.max())
        if np.array_equal(voxels, np.rint(voxels)) and low >= -32768 and high <= 65535:
            rescale = None
        else:
            rescale = ((high - low) / 65535 or 1.0, low)
            rescale = (float(_ds(rescale[0])), float(_ds(rescale[1])))
    whole = voxels if rescale is None else (voxels.astype(np.float64) - rescale[1]) / rescale[0]
    whole = np.rint(whole)
    low, high = (int(whole.min()), int(whole.max())) if whole.size else (0, 0)
    if low < -32768 or high > 65535 or (low < 0 and high > 32767):
        raise ValueError("voxels do not fit into 16 bits: scale them, or give a rescale")
    return whole.astype(np.int16 if low < 0 else np.uint16), rescale


def _override(ds: Any, header: Mapping[str, Any] | None) -> None:
    for keyword, value in (header or {}).items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters, as PS3.5 demands."""
    from pydicom.valuerep import format_number_as_ds

    return str(format_number_as_ds(float(value)))
