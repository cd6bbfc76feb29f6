"""NIfTI: an image as it was analysed, and its masks where no DICOM segmentation can hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import ImageFacts

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def nifti(voxels: NDArray[Any], facts: ImageFacts, description: str) -> bytes:
    """(z, y, x[, 3]) in LPS millimetres -> a gzipped NIfTI-1 file (x, y, z) in RAS+ millimetres; voxel values kept.

    Without an affine the space is marked unknown (codes 0) and only the spacing, where known, is written.
    """
    import gzip

    import nibabel

    data = np.ascontiguousarray(voxels.transpose(2, 1, 0, *range(3, voxels.ndim)))
    if data.ndim == 4:
        data = data.astype(np.uint8).view(np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])).reshape(data.shape[:3])
    elif data.dtype == np.bool_:
        data = data.astype(np.uint8)
    known = facts.affine is not None
    if facts.affine is not None:
        affine = LPS_TO_RAS @ np.array(facts.affine, dtype=np.float64)
    else:
        size = [s if s > 0 else 1.0 for s in facts.spacing or (1.0, 1.0, 1.0)]
        affine = LPS_TO_RAS @ np.diag([*size, 1.0])
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm" if known or facts.spacing else "unknown")
    image.set_sform(affine, code=1 if known else 0)
    image.set_qform(affine, code=1 if known else 0)
    image.header["descrip"] = description.encode()[:79]
    return gzip.compress(image.to_bytes(), compresslevel=5, mtime=0)
