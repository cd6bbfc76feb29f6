"""DICOM that is no image, in words; and the refusals that several modules share."""

from __future__ import annotations

from typing import Any

from ..errors import NotAnImage, TooLarge

IMAGES = "DICOM images"

# SOP class UID prefix (PS3.4, B.5) -> what it is, what to do. The longest prefix wins.
NON_IMAGES: dict[str, tuple[str, str]] = {
    "1.2.840.10008.1.3.10": ("a DICOMDIR index", "name the folder that it lists"),
    "1.2.840.10008.5.1.4.1.1.88": ("a structured report", "name the images that it reports on"),
    "1.2.840.10008.5.1.4.1.1.104.1": ("a PDF document in DICOM", "name the images of the study"),
    "1.2.840.10008.5.1.4.1.1.104.2": ("a CDA document in DICOM", "name the images of the study"),
    "1.2.840.10008.5.1.4.1.1.104.3": ("a surface model (STL) in DICOM", "name the images of the study"),
    "1.2.840.10008.5.1.4.1.1.104.4": ("a surface model (OBJ) in DICOM", "name the images of the study"),
    "1.2.840.10008.5.1.4.1.1.104.5": ("a surface model (MTL) in DICOM", "name the images of the study"),
    "1.2.840.10008.5.1.4.1.1.481.2": ("a radiotherapy dose grid", "name the planning images"),
    "1.2.840.10008.5.1.4.1.1.481.3": ("a radiotherapy structure set", "name the planning images"),
    "1.2.840.10008.5.1.4.1.1.481": ("a radiotherapy object", "name the planning images"),
    "1.2.840.10008.5.1.4.1.1.9": ("a waveform (ECG or the like)", "name the images of the study"),
    "1.2.840.10008.5.1.4.1.1.11": ("a presentation state", "name the images that it presents"),
    "1.2.840.10008.5.1.4.1.1.66.4": ("a segmentation", "name the images that it segments"),
    "1.2.840.10008.5.1.4.1.1.66.7": ("a segmentation", "name the images that it segments"),
    "1.2.840.10008.5.1.4.1.1.66": ("raw data, a registration or a surface", "name the images of the study"),
    "1.2.840.10008.5.1.4.1.1.67": ("a real world value mapping", "name the images of the study"),
    "1.2.840.10008.5.1.4.1.1.4.2": ("an MR spectroscopy", "name the images of the study"),
    "1.2.840.10008.5.1.4.38": ("a hanging protocol", "name the images of the study"),
}
RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"
DEFORMED = "1.2.840.10008.5.1.4.1.1.66.8"
BY_MODALITY = {
    "SR": "a structured report",
    "KO": "a key object selection",
    "PR": "a presentation state",
    "DOC": "a document in DICOM",
    "RTSTRUCT": "a radiotherapy structure set",
    "RTPLAN": "a radiotherapy plan",
    "RTDOSE": "a radiotherapy dose grid",
    "RTRECORD": "a radiotherapy treatment record",
    "SEG": "a segmentation",
    "REG": "a registration",
    "ECG": "a waveform (ECG or the like)",
    "EPS": "a waveform (ECG or the like)",
    "HD": "a waveform (ECG or the like)",
    "AU": "an audio recording",
    "PLAN": "a plan",
    "M3D": "a surface model",
}


def non_image(header: Any) -> NotAnImage | None:
    """The refusal for DICOM that is no image, or None for what may be one."""
    uid = str(header.get("SOPClassUID", "") or "")
    if not uid and getattr(header, "file_meta", None) is not None:
        uid = str(header.file_meta.get("MediaStorageSOPClassUID", "") or "")
    if uid in (RT_IMAGE, DEFORMED):
        return None
    for prefix in sorted(NON_IMAGES, key=len, reverse=True):
        if uid == prefix or uid.startswith(f"{prefix}."):
            what, do = NON_IMAGES[prefix]
            return NotAnImage(f"DICOM, but {what}", IMAGES, do)
    if "DirectoryRecordSequence" in header:
        return NotAnImage("DICOM, but a DICOMDIR index", IMAGES, "name the folder that it lists")
    modality = str(header.get("Modality", "") or "")
    if modality in BY_MODALITY:
        return NotAnImage(f"DICOM, but {BY_MODALITY[modality]}", IMAGES, "name the images of the study")
    return None


def too_many(voxels: int, limit: int) -> TooLarge:
    """The refusal of an image whose header claims more voxels than the site allows."""
    return TooLarge(
        f"an image that claims {voxels} voxels",
        f"up to {limit} voxels",
        "raise limits.max_voxels in site.toml if this is expected, or fetch the file again if not",
    )
