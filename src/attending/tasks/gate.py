"""The gate: judges modality, view and body part from header and pixels before any model sees an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..records import Image, ImageFacts
from .head import HEAD_WORDS, TRUNK_MM, Outline, is_blurred, looks_like_head_slice, outline
from .looks import Look, busiest, coloured, grey, look
from .trunk import part_of

PROJECTIONS = ("CR", "DX", "MG", "RF", "XA", "PX", "IO", "RG")
# Plates and flat detectors. Fluoroscopy (RF, XA) shows a round field on black and is not judged by outline.
FILMS = ("CR", "DX", "MG", "PX", "IO", "RG")
# Tomosynthesis (MG) and rotational XA do place their planes.
FLAT = ("CR", "DX", "PX", "IO", "RG")
SECTIONS = ("CT", "MR")
GREY_ONLY = (*PROJECTIONS, *SECTIONS)
# Cameras' own modalities: colour and natural-image statistics are what they are.
CAMERAS = ("ES", "XC", "OP", "GM", "SM", "DMS", "OPM", "OPR", "OPT")
# Signed MR (phase, real part) spreads over its range: at most a tenth of it can lie in a band of 200 in 2000.
AIR_SHARE = 0.15
# What was captured or converted is not known from these.
UNTOLD = ("SC", "OT", "DOC", "SR", "KO", "PR", "REG", "SEG", "RTSTRUCT", "RTPLAN", "RTDOSE")

# More of a picture in colour than this is no JPEG noise and no faint tint, but a colour image.
ANY_COLOUR = 0.002
# Doppler boxes and colour bars cover less of an ultrasound than this; a photograph covers more.
MOSTLY_COLOUR = 0.6
# A crop this small can lie within the Doppler box.
DOPPLER_SIDE = 96
# Neighbouring pixels of the noisiest real image measured correlate by 0.77; of white noise by 0.0.
NOISE = 0.35
# In icons of 16 pixels neighbours are different organs.
NOISE_SIDE = 24
# Most detail that a radiograph of at least so many pixels a side may have. Measured: films of 200 pixels and more reach
# 0.31, of 96 pixels 0.44, of 64 pixels 0.62; photographs and pages start at 0.41, 0.60 and 0.65. Thumbnails below 48
# pixels (films reach 0.87) cannot be told from photographs and are let through.
FILM_SIDE = 200
FILM_DETAIL = ((FILM_SIDE, 0.38), (96, 0.55), (48, 0.8))
THUMB_SIDE = 48
# Scanners and films give hundreds of grey levels; masks, drawings and test patterns a handful.
FEW_LEVELS = 16
# Sections lie in air: a frame that is this little dark, with this much detail, is a photograph or a page.
OPEN_FRAME, PHOTO_DETAIL, PHOTO_SIDE = 0.3, 0.41, 96
# Photographs are not symmetric; a section with known geometry needs this as well before it is called one.
PHOTO_SYMMETRY = 0.3
# Correlation with the drawn scheme of a frontal chest film: real ones reach 0.27 to 0.74, sections at most 0.20.
CHEST_FILM, CHEST_TOLD = 0.42, 0.25
# Soft, frame-filling and one plane: a radiograph of any part. MR measured from 0.26 up, films up to 0.26.
SOFT_DETAIL, SOFT_FRAME = 0.22, 0.6
# The smoothest MR section measured, an average of many people, has 0.24: a picture far below that shows no tissue.
SMOOTH_DETAIL = 0.15


@dataclass(frozen=True)
class Sight:
    """What the gate saw of one image.

    image     the image that models may see: grey where its colours were none, with facts judged from the pixels.
    refusal   why it is kept from every model, or None.
    text      what was seen, in words.
    look      figures of its busiest plane.
    outline   of a volume, where it was taken.
    """

    image: Image
    refusal: str | None
    text: str
    look: Look | None = None
    outline: Outline | None = None

    @property
    def is_head(self) -> bool:
        return self.image.facts.body_part in HEAD_WORDS


def see(image: Image) -> Sight:
    """Judge one image. Never raises for what the pixels hold."""
    facts = image.facts
    said = declared(facts)
    if facts.modality in UNTOLD:
        return Sight(
            image,
            "what was captured is not stated",
            f"{said} The header does not say what was captured. Kept from every model.",
        )
    if not image.voxels.size or float(image.voxels.min()) == float(image.voxels.max()):
        return Sight(image, "the image is blank", f"{said} Every pixel has the same value. Kept from every model.")
    image, notes, refusal = _without_colour(image)
    if refusal:
        return Sight(image, refusal, f"{said} {_sentence(refusal)}")
    seen = look(busiest(image))
    for rule in RULES:
        reason = rule(image, seen)
        if reason:
            return Sight(image, reason, f"{said} {_sentence(reason)}", seen)
    shape = outline(image) if facts.modality == "MR" else None
    image, judged, refusal = _judged(image, seen, shape)
    text = " ".join([said, *notes, *judged])
    if refusal:
        return Sight(image, refusal, f"{text} {_sentence(refusal)}", seen, shape)
    if facts.modality in CAMERAS:
        return Sight(image, None, f"{text} A camera's picture.", seen, shape)
    return Sight(image, None, f"{text} The pixels agree with the declared modality.", seen, shape)


def may_see(image: Image) -> bool:
    """Whether the gate lets any model look at an image."""
    return see(image).refusal is None


def declared(facts: ImageFacts) -> str:
    """What the header or the user declared, as a sentence."""
    planes, rows, columns = facts.shape[:3]
    words = [f"Declared {facts.modality}"]
    words += [f"view {facts.view}"] if facts.view else []
    words += [f"body part {facts.body_part}"] if facts.body_part else []
    words += [f"sequence {facts.sequence}"] if facts.sequence else []
    count = "one plane" if planes == 1 else f"{planes} planes"
    return f"{', '.join(words)}; {count} of {columns} x {rows} pixels{' in colour' if facts.colour else ''}."


def blank(image: Image, seen: Look) -> str | None:
    """Nearly every pixel of the busiest plane has one value."""
    plane = busiest(image)
    values, counts = np.unique(plane, return_counts=True)
    if len(values) < 2 or counts.max() > 0.9995 * plane.size:
        return "the image is blank: nearly every pixel has the same value"
    return None


def noise(image: Image, seen: Look) -> str | None:
    """Neighbours do not resemble each other. Counts of nuclear medicine are sparse by nature and are let through."""
    if image.facts.modality in ("NM", "PT") or seen.neighbours >= NOISE or seen.side < NOISE_SIDE:
        return None
    return "the pixels are noise: neighbouring pixels do not resemble each other"


def stack_of_films(image: Image, seen: Look) -> str | None:
    """A radiograph is one plane, or frames in time."""
    facts = image.facts
    if facts.modality in ("CR", "DX", "MG") and facts.shape[0] > 1 and facts.axis == "space" and facts.affine:
        return f"{facts.shape[0]} parallel planes in space are a cross-sectional study, not a radiograph"
    return None


def placed_film(image: Image, seen: Look) -> str | None:
    """A header that places one plane in the patient, as no projection can be (PS3.3: no Image Plane Module)."""
    facts = image.facts
    if facts.modality in FLAT and facts.shape[0] == 1 and facts.affine is not None and facts.source:
        return "its header places it in the patient as a section, which no radiograph is"
    return None


def ct_as_mr(image: Image, seen: Look) -> str | None:
    """Much of the image at the value of air in Hounsfield units."""
    if image.facts.modality != "MR" or image.facts.colour:
        return None
    voxels = image.voxels
    if float(((voxels > -1100) & (voxels < -900)).mean()) > AIR_SHARE:
        return "much of it has the Hounsfield value of air: a CT, not an MR image"
    return None


def section_as_film(image: Image, seen: Look) -> str | None:
    """An oval body in the middle of empty surroundings with four empty corners: a CT or MR section, not a projection.

    A radiograph's object runs off the plate (neck, limb, trunk) or fills a collimated rectangle (ellipse 1.27).
    """
    facts = image.facts
    if facts.modality not in FILMS:
        return None
    if facts.unit == "[hnsf'U]" or float((image.voxels < -200).mean()) > 0.05:
        return "the pixel values are Hounsfield units: a CT section, not a radiograph"
    alone = seen.corners_dark == 4 and seen.touches == "" and seen.frame_dark >= 0.85
    if (
        alone
        and seen.side >= THUMB_SIDE
        and 0.62 <= seen.ellipse <= 1.15
        and seen.solidity >= 0.75
        and seen.area >= 0.1
    ):
        return "an oval body surrounded by empty background looks like a CT or MR section, not a radiograph"
    return None


def drawing(image: Image, seen: Look) -> str | None:
    """A handful of grey levels: a mask, a drawing or a test pattern."""
    facts = image.facts
    if facts.modality not in GREY_ONLY or _hounsfield(image) or seen.side < THUMB_SIDE:
        return None
    levels = len(np.unique(busiest(image)))
    if levels > FEW_LEVELS:
        return None
    return f"only {levels} grey levels: a mask, a drawing or a test pattern, not {_a(facts.modality)} image"


def photo_as_film(image: Image, seen: Look) -> str | None:
    """Radiographs are soft; photographs, pages and drawings are not."""
    if image.facts.modality not in FILMS:
        return None
    bound = next((most for side, most in FILM_DETAIL if seen.side >= side), None)
    if bound is None or seen.detail <= bound:
        return None
    if _page(seen):
        return "the pixels look like a text page or document, not a radiograph"
    return "the pixels look like a photograph or a drawing, not a radiograph: far more fine detail than films have"


def photo_as_section(image: Image, seen: Look) -> str | None:
    """Sections lie in air; photographs and pages fill their frame with detail to the edges."""
    facts = image.facts
    if facts.modality not in SECTIONS or _hounsfield(image) or seen.side < PHOTO_SIDE:
        return None
    if seen.dark > 0.6 and seen.area < 0.02 and seen.detail > 0.8:
        return (
            f"only small bright marks on dark, no body outline: a text screen or a sky, not {_a(facts.modality)} image"
        )
    full = seen.frame_dark < OPEN_FRAME and seen.corners_dark <= 1 and seen.detail > PHOTO_DETAIL
    if not full:
        return None
    if _page(seen):
        return f"the pixels look like a text page or document, not {_a(facts.modality)} image"
    if facts.affine is None or (facts.shape[0] == 1 and seen.symmetry < PHOTO_SYMMETRY):
        return f"the pixels look like a photograph, not {_a(facts.modality)} image: detail fills the frame to its edges"
    return None


def film_as_section(image: Image, seen: Look) -> str | None:
    """One soft plane that fills its frame, or the scheme of a chest film, declared CT or MR."""
    facts = image.facts
    if facts.modality not in SECTIONS or facts.shape[0] > 1 or _hounsfield(image):
        return None
    open_frame = seen.frame_dark < SOFT_FRAME and "L" in seen.touches and "R" in seen.touches
    if open_frame and seen.chest >= CHEST_FILM:
        return f"two dark lungs beside a bright middle: a chest radiograph, not {_a(facts.modality)} image"
    if facts.affine is None and seen.detail < SMOOTH_DETAIL and seen.side >= FILM_SIDE and not open_frame:
        return f"the picture is smoother than any {facts.modality} section: no tissue is seen"
    soft = seen.detail < SOFT_DETAIL and seen.side >= FILM_SIDE
    if open_frame and facts.affine is None and soft:
        return f"a soft picture that runs off the plate looks like a radiograph, not {_a(facts.modality)} image"
    return None


def page_of_any(image: Image, seen: Look) -> str | None:
    """A page of text under a modality that the other rules do not judge."""
    facts = image.facts
    if facts.modality in (*GREY_ONLY, *CAMERAS) or seen.side < PHOTO_SIDE:
        return None
    if _page(seen) and seen.frame_dark < 0.05 and seen.paper > 0.5:
        return f"the pixels look like a text page or document, not {_a(facts.modality)} image"
    return None


RULES: tuple[Callable[[Image, Look], str | None], ...] = (
    blank,
    noise,
    drawing,
    stack_of_films,
    section_as_film,
    placed_film,
    ct_as_mr,
    photo_as_film,
    photo_as_section,
    film_as_section,
    page_of_any,
)


def _hounsfield(image: Image) -> bool:
    """A CT by its numbers or its geometry. What a header calls Hounsfield units without air and without position, in
    one plane, may be anything."""
    facts = image.facts
    scanned = facts.affine is not None or facts.shape[0] > 1
    return facts.unit == "[hnsf'U]" and (scanned or float(image.voxels.min()) < -50)


def _page(seen: Look) -> bool:
    """Thin strokes on paper: much detail, a bright or even ground that reaches the edges."""
    return seen.detail > 0.8 and seen.frame_dark < 0.1 and (seen.paper > 0.5 or seen.bright > 0.25)


def _without_colour(image: Image) -> tuple[Image, list[str], str | None]:
    """Grey stored as colour becomes grey; colour is refused where the modality has none."""
    facts = image.facts
    if not facts.colour:
        return image, [], None
    share = coloured(image.voxels[image.voxels.shape[0] // 2])
    small = min(facts.shape[1:3]) < DOPPLER_SIDE and facts.modality not in GREY_ONLY
    if share > MOSTLY_COLOUR and facts.modality not in CAMERAS and not small:
        return image, [], f"a colourful picture, {share:.0%} of it in colour, looks like a photograph"
    if facts.modality not in GREY_ONLY:
        return image, [], None
    if share > ANY_COLOUR:
        return (
            image,
            [],
            f"a colour image declared {facts.modality}: {_a(facts.modality)} image has one grey value a pixel",
        )
    planes = np.stack([np.rint(grey(plane)).astype(np.int16) for plane in image.voxels])
    return Image(replace(facts, shape=planes.shape), planes), ["Grey stored as colour; read as grey."], None


def _judged(image: Image, seen: Look, shape: Outline | None) -> tuple[Image, list[str], str | None]:
    """Body part and sequence where the header leaves them out; a refusal where header and pixels contradict."""
    facts = image.facts
    said: list[str] = []
    body, sequence = facts.body_part, facts.sequence
    if facts.modality in PROJECTIONS and body is None and seen.chest >= CHEST_TOLD and "L" in seen.touches:
        body = "CHEST"
        said.append("Body part judged from the pixels: two lungs beside a middle shadow, CHEST.")
    if facts.modality in PROJECTIONS and facts.view is None:
        said.append("The view is not stated.")
    if facts.modality == "CT" and body is None:
        part = part_of(image)
        body = part[0] if part else None
        said.append(
            f"Body part judged from the pixels: {part[1]}, {part[0]}." if part else "The body part is not stated."
        )
    if facts.modality != "MR":
        return Image(replace(facts, body_part=body), image.voxels), said, None
    if body in HEAD_WORDS:
        if shape is not None and shape.width > TRUNK_MM and shape.length > TRUNK_MM * 0.6:
            return image, said, f"declared a head, but what is seen is {shape.width:.0f} mm wide: a trunk"
        flat = shape is None and facts.shape[0] == 1
        if flat and seen.touches in ("", "B") and seen.aspect > 1.3 and seen.area > 0.15:
            return image, said, "declared a head, but the outline is much wider than high, as no head's is"
        if flat and facts.affine is None and seen.corners_dark < 2:
            return image, said, "declared a head, but no outline of a head against air is seen"
        said.append(f"Body part {body} {'by the header' if facts.source else 'as declared'}.")
    elif body is None:
        if shape is not None and shape.is_head:
            body = "HEAD"
            said.append(
                f"Body part judged from the pixels: an outline of {shape.width:.0f} x {shape.length:.0f} mm "
                "that closes at the vertex, HEAD."
            )
        elif shape is None and facts.shape[0] == 1 and looks_like_head_slice(seen):
            body = "HEAD"
            said.append("Body part judged from the pixels: one closed oval outline against air, HEAD.")
        else:
            said.append("The body part is not stated, and the outline is not clearly a head's.")
    if body in HEAD_WORDS and shape is not None:
        if is_blurred(image, busiest(image).astype(np.float32)):
            return image, said, "the volume is blurred: nothing finer than half a centimetre is seen in it"
        contrast = shape.contrast
        if sequence is not None and sequence.upper().startswith("T1"):
            sequence = "T1"
        if sequence is None and contrast == "T1":
            sequence = "T1"
            said.append("Contrast judged from the pixels: white matter brighter than cortex and fluid, T1.")
        elif sequence is None and contrast == "T2":
            sequence = "T2"
            said.append("Contrast judged from the pixels: fluid brightest, not T1.")
        elif sequence is None:
            said.append("The sequence is not stated, and the contrast is not clearly T1.")
        elif sequence == "T1" and contrast == "T2":
            return image, said, "declared T1, but fluid is brighter than white matter: not T1 contrast"
    return Image(replace(facts, body_part=body, sequence=sequence), image.voxels), said, None


def _a(modality: str) -> str:
    return f"{'an' if modality[:1] in 'AEFHILMNORSX' else 'a'} {modality}"


def _sentence(reason: str) -> str:
    return f"{reason[0].upper()}{reason[1:]}. Kept from every model."
