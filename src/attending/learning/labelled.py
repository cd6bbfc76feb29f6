"""Labelled sets of small pictures: one picture file and one label each, ready to be imported like any other picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import NothingToLearn
from ..records import Code

#: catalog id -> what its label 1 means.
LABELS = {"pneumoniamnist": Code("SCT", "233604007", "Pneumonia")}


@dataclass(frozen=True)
class Labelled:
    """name: "SPLIT-NNNN.png" by the set's own split and order.   png: 8-bit grey.   label: 1 present, 0 absent."""

    name: str
    png: bytes
    label: int


def labelled(npz: Path, splits: tuple[str, ...] = ("val", "test")) -> Iterator[Labelled]:
    """The pictures of a MedMNIST file: SPLIT_images (n, y, x) uint8 with SPLIT_labels (n, 1), 0 or 1.

    The set's own splits become part of the name only; what is held out is decided by ``training_set``. The bytes of
    a picture are the same every time (stored, not compressed), because a case's id is a hash of them. Raises
    NothingToLearn where the file is no such set.
    """
    from zipfile import BadZipFile

    from PIL import Image as Picture

    try:
        with np.load(npz, allow_pickle=False) as file:
            parts = [(s, file[f"{s}_images"], file[f"{s}_labels"].reshape(-1)) for s in splits]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise NothingToLearn(
            f"the labelled set cannot be read ({type(error).__name__})",
            "a MedMNIST file with images and labels of the splits " + ", ".join(splits),
            "pull the data set again",
        ) from None
    for split, images, labels in parts:
        if (
            images.ndim != 3
            or images.dtype != np.uint8
            or len(images) != len(labels)
            or not np.isin(labels, (0, 1)).all()
        ):
            raise NothingToLearn(
                f"the {split} part has images of shape {images.shape} and {len(labels)} labels",
                "grey 8-bit images (n, y, x) with one label 0 or 1 each",
                "choose a set with one yes/no finding",
            )
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            file_bytes = io.BytesIO()
            Picture.fromarray(image).save(file_bytes, format="PNG", compress_level=0)
            yield Labelled(f"{split}-{number:04d}.png", file_bytes.getvalue(), int(label))
