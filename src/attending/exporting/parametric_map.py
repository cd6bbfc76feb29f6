"""DICOM Parametric Map: a map of what a model's score rests on, float32, in the source's own study and geometry."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from ..errors import ExportRefused
from ..records import Case, Code, Image, Producer, Study
from ..version import __version__
from .masks import _with_ids
from .seg import CT_IMAGE, MANUFACTURER, _refer, _stand_ins, concept
from .source import quiet, source_of

SERIES_NUMBER = 9003
QUANTITY = Code("99ATTENDING", "score-attribution", "Attribution of a model's score")
"""DICOM has no code for what an explanation shows."""


def parametric_map(
    heat: NDArray[np.float32], study: Study, case: Case, image: Image, producer: Producer, explanation: str
) -> bytes:
    """heat (z, y, x) on the image's grid, finite. explanation: what a value means, at most 64 letters are kept.

    Values are read back exactly as they were. Raises ExportRefused where the image has no place in the patient: a
    Parametric Map without one is not in the standard.
    """
    if study.kind != "dicom" or not image.facts.source:
        raise ExportRefused(
            "a DICOM Parametric Map of an image that is not DICOM", "DICOM images", "end --out in .nii.gz or .png"
        )
    if image.facts.affine is None:
        raise ExportRefused(
            "an image without a position in the patient, such as a film",
            "a Parametric Map of images that have one",
            "end --out in .nii.gz or .png",
        )
    named = _with_ids(study, case)
    at = next(n for n, one in enumerate(case.images) if one.id == image.id)
    with quiet():
        return _written(heat, named.stacks[at].header, study, image, producer, explanation)


def _written(
    heat: NDArray[np.float32], header: object, study: Study, image: Image, producer: Producer, explanation: str
) -> bytes:
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    values = np.ascontiguousarray(heat, dtype=np.float32)
    planes, truth, _ = _stand_ins(image.facts, header, source_of(study))
    for plane in planes:
        plane.SOPClassUID = CT_IMAGE
    low, high = float(values.min()), float(values.max())
    window = VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1e-6))
    mapping = RealWorldValueMapping(
        lut_label="ATTRIBUTION",
        lut_explanation=explanation[:64],
        unit=codes.UCUM.NoUnits,
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=concept(QUANTITY),
    )
    made = ParametricMap(
        source_images=planes,
        pixel_array=values,
        series_instance_uid=generate_uid(prefix=None),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="attending",
        software_versions=__version__,
        device_serial_number=__version__,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label="DRAFT",
        content_description="Draft by software, not a diagnosis",
        content_creator_name="",
        series_description=f"DRAFT map of what {producer.model} rests on"[:64],
    )  # fmt: skip
    made.ImageComments = explanation[:1024]
    _refer(made, truth)
    if "Laterality" not in made:  # type 2 where the body part may be a paired one
        made.Laterality = ""
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()
