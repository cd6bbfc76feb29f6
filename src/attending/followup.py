"""The story of a comparison: a study and its prior, read or not, laid over each other and measured.

For the door ``compare``. Nothing is kept in the hospital's folder; readings of both are used where it holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import comparing, deidentify, intake
from .errors import AttendingError, GeometryRefused, NotAlike, NotFound, RegistrationFailed, UnknownReading
from .records import Case, CaseFacts, Image, ImageFacts, Reading
from .records.mask import Mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .comparing.readings import Presences
    from .imaging.register import Registered
    from .imaging.register_search import Kind
    from .site import Site
    from .store import Store

__all__ = ["Compared", "Side", "compare", "mask_of", "side_of"]


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two studies: its facts, its images, and its reading where the home holds one."""

    facts: CaseFacts
    images: tuple[Image, ...]
    reading: Reading | None


@dataclass(frozen=True, eq=False)
class Compared:
    """What a comparison found.

    registered   the transform study -> prior, or None; why_not says why there is none.
    difference   figures of study minus registered prior; laid: the registered prior (z, y, x) and where it is known.
    lesions      from two masks. measurements, presences: from two readings.
    criterion    what the lesions' diameters say of RECIST 1.1's size criteria, in words; None without lesions.
    """

    study: Side
    prior: Side
    pair: comparing.Pair
    image: Image | None
    prior_image: Image | None
    registered: Registered | None
    why_not: AttendingError | None
    difference: Mapping[str, float] | None
    laid: tuple[NDArray[np.float32], NDArray[np.bool_]] | None
    lesions: tuple[comparing.Matched, ...] = ()
    measurements: tuple[comparing.Pairing, ...] = ()
    presences: tuple[Presences, ...] = ()
    criterion: str | None = None
    sums: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def side_of(what: str, store: Store, site: Site, declared: Mapping[str, str]) -> Side:
    """A study by the id of its reading, or by its path. Raises UnknownReading, InputRefused and GeometryRefused."""
    path = Path(what)
    if not path.exists():
        try:
            reading = store.reading(what)
        except UnknownReading:
            raise NotFound(
                f"neither a file nor a reading's id (of {len(what)} letters)",
                "a file, the folder of one study, or an id that `attending list` shows",
                "check the path or the id",
            ) from None
        return Side(reading.case, tuple(store.images(reading).values()), reading)
    given = {key: value for key, value in declared.items() if value}
    deidentify.check_declared(given)
    opened = intake.open([what], declared={"modality": "OT", **given}, limits=site.limits)
    if not opened.studies:
        raise (
            opened.refused[0].error
            if opened.refused
            else NotFound("no study lies there", "one study", "check the path")
        )
    if len(opened.studies) > 1:
        raise GeometryRefused(f"{len(opened.studies)} studies lie there", "one study", "name the folder of one study")
    case: Case = deidentify.to_case(opened.studies[0], store.secret("deidentify"))
    try:
        known = store.reading(case.id)
    except UnknownReading:
        known = None
    return Side(case.facts, case.images, known)


def mask_of(path: str | Path, site: Site, image: Image | None = None) -> Mask:
    """A mask; without a geometry of its own, that of the image it lies on. Raises InputRefused and GeometryRefused."""
    from .intake.masks import masks

    mask = masks(path, site.limits)
    if image is not None and mask.facts.affine is not None:
        _refuse_elsewhere(mask, image)
    if image is None or mask.facts.affine is not None:
        return mask
    if tuple(mask.facts.shape[:3]) != tuple(image.facts.shape[:3]):
        raise GeometryRefused(
            f"a mask of {_xyz(mask.facts)} voxels and an image of {_xyz(image.facts)}",
            "one grid, or a known place in the patient for both",
            "give the image that the mask was drawn on",
        )
    if image.facts.affine is None and image.facts.spacing is None:
        return mask
    facts = replace(image.facts, shape=mask.facts.shape)
    return replace(mask, facts=facts, notes=(*mask.notes, "the mask has no geometry of its own: taken from the image"))


def _refuse_elsewhere(mask: Mask, image: Image) -> None:
    """Raises GeometryRefused for a mask of which nothing lies on the image."""
    import numpy as np

    if image.affine is None:
        return
    step = np.linalg.inv(image.affine) @ np.array(mask.facts.affine)
    size = np.array(image.voxels.shape[2::-1])
    for segment in mask.segments:
        at = (np.argwhere(segment.mask)[:, ::-1] + np.array(segment.start)) @ step[:3, :3].T + step[:3, 3]
        if ((at > -1) & (at < size)).all(axis=1).any():
            return
    raise GeometryRefused(
        "a mask that lies outside the image", "a mask on the image", "give the mask that was drawn on this image"
    )


def compare(
    study: Side,
    prior: Side,
    *,
    mask: Mask | None = None,
    prior_mask: Mask | None = None,
    kind: Kind = "rigid",
    register: bool = True,
    days: int | None = None,
) -> Compared:
    """Lay two studies of one patient over each other and say what changed, each number with its uncertainty.

    Named the other way round, they are taken in the order of their dates, and the notes say so. Masks go with the study
    and the prior as named. Where the images cannot be laid over each other, measurements and masks are still compared.

    Raises CompareRefused where the two may not be compared, or where nothing can be said of them.
    """
    pair = comparing.alike(study.facts, prior.facts, days)
    if pair.swapped:
        study, prior, mask, prior_mask = prior, study, prior_mask, mask
    notes = list(pair.notes)
    chosen = _images(study, prior, notes)
    image, prior_image = chosen if chosen else (None, None)
    found, why_not = _registered(image, prior_image, kind, notes) if register else (None, None)
    difference, laid = _difference(image, prior_image, found)
    lesions: tuple[comparing.Matched, ...] = ()
    if mask is not None and prior_mask is not None:
        lesions = _lesions(mask, prior_mask, image, prior_image, found, pair.days, notes)
    measured: tuple[comparing.Pairing, ...] = ()
    judged: tuple[Presences, ...] = ()
    if study.reading is not None and prior.reading is not None:
        measured, judged = comparing.readings(study.reading, prior.reading)
    if not (lesions or measured or judged or found):
        raise why_not or NotAlike(
            "two studies with nothing measured in both",
            "masks of both, readings that measured the same, or images that can be laid over each other",
            "give --mask and --prior-mask, or read both studies first",
        )
    diameters = [
        (m.before.long_mm or 0.0 if m.before else 0.0, m.now.long_mm or 0.0 if m.now else 0.0)
        for m in lesions
        if m.status != "new"
    ]
    return Compared(
        study,
        prior,
        pair,
        image,
        prior_image,
        found,
        why_not,
        difference,
        laid,
        lesions,
        measured,
        judged,
        comparing.size_criterion(diameters) if diameters else None,
        (sum(b for b, _ in diameters), sum(a for _, a in diameters)) if diameters else None,
        tuple(notes),
    )


def _images(study: Side, prior: Side, notes: list[str]) -> tuple[Image, Image] | None:
    """The two images to lay over each other: of one sequence and view where the studies tell, the largest of those."""
    best: tuple[tuple[int, int, int], Image, Image] | None = None
    for a in study.images:
        for b in prior.images:
            same = int(a.facts.sequence == b.facts.sequence), int(a.facts.view == b.facts.view)
            if a.facts.colour or b.facts.colour or (a.voxels.shape[0] == 1) != (b.voxels.shape[0] == 1):
                continue
            rank = (*same, min(a.voxels.size, b.voxels.size))
            if best is None or rank > best[0]:
                best = (rank, a, b)
    if best is None:
        return None
    if not best[0][0]:
        notes.append(f"the sequences differ ({best[1].facts.sequence} and {best[2].facts.sequence})")
    return best[1], best[2]


def _registered(
    image: Image | None, prior: Image | None, kind: Kind, notes: list[str]
) -> tuple[Registered | None, AttendingError | None]:
    from .imaging.register import register

    if image is None or prior is None:
        return None, GeometryRefused("no two images of one kind", "two volumes or two planes", "name other studies")
    try:
        return register(image, prior, kind), None
    except (RegistrationFailed, GeometryRefused) as why:
        notes.append(f"not registered: {why.seen}")
        return None, why


def _difference(image: Image | None, prior: Image | None, found: Registered | None) -> tuple[Any, Any]:
    """Figures of image minus registered prior over the body, and the registered prior with where it is known."""
    import numpy as np

    from .imaging.register import resampled

    if image is None or prior is None or found is None:
        return None, None
    values, known = resampled(prior, image, found)
    here = np.asarray(image.voxels, dtype=np.float32)
    low, high = np.percentile(here, (1, 99))
    body = known & (here > low + 0.1 * (high - low))
    if body.sum() < 64:
        return None, (values, known)
    a, b = here[body].astype(np.float64), values[body].astype(np.float64)
    scale, shift = (1.0, 0.0) if image.facts.modality == "CT" else np.polyfit(b, a, 1)
    rest = a - (scale * b + shift)
    figures = {
        "correlation": float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0,
        "mean": float(rest.mean()),
        "mean_absolute": float(np.abs(rest).mean()),
        "sd": float(rest.std()),
        "scale": float(scale),
        "shift": float(shift),
        "body_voxels": float(body.sum()),
    }
    laid = (np.asarray(scale * values + shift, dtype=np.float32), known)
    return figures, laid


def _lesions(
    mask: Mask,
    prior_mask: Mask,
    image: Image | None,
    prior_image: Image | None,
    found: Registered | None,
    days: int | None,
    notes: list[str],
) -> tuple[comparing.Matched, ...]:
    from .imaging.measure_space import space_of

    sides = []
    for one in (mask, prior_mask):
        space = space_of(one.facts)
        if space is None:
            raise GeometryRefused(
                "a mask whose spacing is unknown",
                "a known spacing of both masks",
                "give masks with their geometry, or the images that they were drawn on",
            )
        sides.append([(segment, space) for segment in one.segments])
    back = found.inverse if found is not None and found.dims == 3 else None
    if found is not None and found.dims == 2:
        notes.append("images of one plane: their masks were matched by label, not by place")
    return comparing.lesions(sides[0], sides[1], back, found.error if found else 0.0, days)


def _xyz(facts: ImageFacts) -> str:
    return "x".join(str(n) for n in facts.shape[2::-1])
