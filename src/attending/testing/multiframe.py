"""Multi-frame DICOM with a known answer: enhanced MR with functional groups, NM slices, and a Siemens mosaic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .dicom import SOP_CLASSES, image, uid


def enhanced(
    voxels: NDArray[Any],
    affine: ArrayLike,
    *,
    order: Sequence[int] | None = None,
    times: Sequence[int] | None = None,
    rescale: Sequence[tuple[float, float]] | None = None,
    header: Mapping[str, Any] | None = None,
    seed: str = "attending",
) -> Any:
    """An enhanced MR: frames are the planes of (z, y, x) uint16 in the given order, each with its own place.

    times    temporal position index of each frame; frames of one time share the places of their rank within it.
    rescale  (slope, intercept) of each frame.
    """
    from pydicom import Dataset
    from pydicom.sequence import Sequence as Items

    matrix = np.asarray(affine, dtype=np.float64)
    size = np.linalg.norm(matrix[:3, :3], axis=0)
    axes = matrix[:3, :3] / size
    ds = image(voxels, modality="MR", frames=True, header=header, seed=seed)
    ds.SOPClassUID = SOP_CLASSES["enhanced MR"]
    ds.FrameOfReferenceUID = uid(seed, "frame")
    for keyword in ("EchoTime", "InversionTime"):
        delattr(ds, keyword)
    count = len(voxels)
    order = list(order) if order is not None else list(range(count))
    ds.PixelData = np.ascontiguousarray(voxels[order]).astype("<u2").tobytes()

    def one(**attributes: Any) -> Any:
        item = Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        return Items([item])

    shared = Dataset()
    shared.PlaneOrientationSequence = one(ImageOrientationPatient=[*axes[:, 0], *axes[:, 1]])
    shared.PixelMeasuresSequence = one(PixelSpacing=[size[1], size[0]], SliceThickness=size[2])
    ds.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    ranks: dict[Any, int] = {}
    for k in order:
        time = times[k] if times is not None else 1
        rank = ranks.setdefault((time, k), k if times is None else sum(1 for j in range(k) if times[j] == time))
        item = Dataset()
        place = matrix[:3, 3] + rank * matrix[:3, 2]
        item.PlanePositionSequence = one(ImagePositionPatient=[float(v) for v in place])
        item.FrameContentSequence = one(StackID="1", InStackPositionNumber=rank + 1, TemporalPositionIndex=time)
        if rescale is not None:
            slope, intercept = rescale[k]
            item.PixelValueTransformationSequence = one(
                RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US"
            )
        frames.append(item)
    ds.PerFrameFunctionalGroupsSequence = Items(frames)
    return ds


def nm_slices(voxels: NDArray[Any], spacing: tuple[float, float, float], origin: Sequence[float]) -> Any:
    """A reconstructed NM: axial frames at even distances, placed by the detector information only."""
    from pydicom import Dataset
    from pydicom.sequence import Sequence as Items

    ds = image(voxels, modality="NM", frames=True)
    ds.SOPClassUID = SOP_CLASSES["NM"]
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    ds.PixelSpacing = [spacing[1], spacing[0]]
    ds.SliceThickness = ds.SpacingBetweenSlices = spacing[2]
    item = Dataset()
    item.ImagePositionPatient, item.ImageOrientationPatient = list(origin), [1, 0, 0, 0, 1, 0]
    ds.DetectorInformationSequence = Items([item])
    return ds


def mosaic(
    voxels: NDArray[Any], affine: ArrayLike, *, seed: str = "attending", header: Mapping[str, Any] | None = None
) -> Any:
    """A Siemens mosaic of (z, y, x) uint16: tiles of one image, whose place is that of the whole sheet."""
    matrix = np.asarray(affine, dtype=np.float64)
    size = np.linalg.norm(matrix[:3, :3], axis=0)
    axes = matrix[:3, :3] / size
    count, rows, columns = voxels.shape
    side = int(np.ceil(np.sqrt(count)))
    sheet = np.zeros((side * rows, side * columns), np.uint16)
    for k, plane in enumerate(voxels):
        top, left = (k // side) * rows, (k % side) * columns
        sheet[top : top + rows, left : left + columns] = plane
    ds = image(sheet, modality="MR", seed=seed, header=header)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    ds.Manufacturer = "SIEMENS"
    ds.PixelSpacing = [size[1], size[0]]
    ds.SliceThickness = ds.SpacingBetweenSlices = size[2]
    ds.ImageOrientationPatient = [*axes[:, 0], *axes[:, 1]]
    half = np.array([(side - 1) * columns / 2 * size[0], (side - 1) * rows / 2 * size[1]])
    ds.ImagePositionPatient = list(matrix[:3, 3] - axes[:, 0] * half[0] - axes[:, 1] * half[1])
    ds.FrameOfReferenceUID = uid(seed, "frame")
    block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0A, "US", count)
    return ds
