"""measure, mesh, compare: what a mask holds, its surface, and what changed since a prior."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import Home, Json, emit, note, progress, say

if TYPE_CHECKING:
    from ..followup import Compared
    from ..imaging.measure_mask import Measures
    from ..records.mask import Mask, Segment
    from ..records.measured import Measured

MOST_PAIRS = 45
"""Pairs of structures whose distance is measured without being asked for: those of ten structures."""


def add_to(app: typer.Typer) -> None:
    app.command()(measure)
    app.command()(mesh)
    app.command()(compare)


def measure(
    mask: Annotated[str, typer.Argument(help="A NIfTI label map, a DICOM segmentation, or a picture of a mask.")],
    image: Annotated[
        str | None, typer.Option("--image", help="The image it lies on: densities, and a geometry where it has none.")
    ] = None,
    label: Annotated[list[int] | None, typer.Option("--label", help="Only this label. Repeatable.")] = None,
    heart: Annotated[
        int | None, typer.Option("--heart", help="Label of the heart, for the ratio to the thorax.")
    ] = None,
    lungs: Annotated[str | None, typer.Option("--lungs", help="Labels of the lungs: N or N,M.")] = None,
    modality: Annotated[str | None, typer.Option(help="For pictures and NIfTI: CT, MR, CR, DX, US ...")] = None,
    view: Annotated[str | None, typer.Option(help="For pictures and NIfTI: PA, AP, AXIAL ...")] = None,
    image_number: Annotated[
        int | None, typer.Option("--image-number", help="Which image of a study that holds several, from 0.")
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Measure a mask: volume, diameters (RECIST, WHO), surface, densities, distances, each with its uncertainty.

    Millimetres come from the file's own geometry, oblique and anisotropic grids included; without one, voxels are
    counted and nothing is given in millimetres.
    """
    from ..api import Hospital
    from ..followup import mask_of
    from ..images import open_image
    from ..imaging.measure_mask import measure as measured
    from ..imaging.measure_space import space_of

    with Hospital(home) as hospital, progress("measuring") as bar:
        opened = None
        if image is not None:
            declared = {k: v for k, v in (("modality", modality), ("view", view)) if v}
            opened = open_image(image, hospital.site, declared=declared, number=image_number).image
        drawn = mask_of(mask, hospital.site, opened)
        chosen = _chosen(drawn, label)
        space = space_of(drawn.facts)
        ratios = _ratios(drawn, opened, heart, lungs)
        segments = []
        for number, segment in enumerate(chosen):
            bar(segment.name, number / len(chosen))
            segments.append(_segment_fields(measured(segment, space), _densities(segment, drawn, opened)))
        fields = {
            "shape": list(drawn.facts.shape[2::-1]),
            "spacing": None if space is None else [round(s, 6) for s in space.spacing],
            "placed": bool(space and space.placed),
            "segments": segments,
            "between": _between(chosen, space),
            "ratios": ratios,
            "notes": list(drawn.notes),
        }
    if as_json:
        emit(**fields)
    else:
        _tell_measures(fields)


def mesh(
    mask: Annotated[str, typer.Argument(help="A NIfTI label map or a DICOM segmentation.")],
    out: Annotated[Path, typer.Option("--out", help="The mesh: .stl, .ply, .glb, or .dcm (DICOM Encapsulated STL).")],
    label: Annotated[
        list[int] | None, typer.Option("--label", help="Only this label. Repeatable.", show_default="all of them")
    ] = None,
    smooth: Annotated[int, typer.Option("--smooth", min=0, max=100, help="Passes of Taubin's filter.")] = 8,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Make a closed, smooth surface of a mask, in patient LPS millimetres, at the mask's own volume."""
    from ..api import Hospital
    from ..errors import ExportRefused
    from ..exporting.masks import refuse_place, write_file
    from ..followup import mask_of
    from ..imaging.measure_space import space_of
    from ..imaging.mesh import FORMATS, write
    from ..imaging.mesh import mesh as meshed

    suffix = out.suffix.lower()
    if suffix not in (*FORMATS, ".dcm"):
        raise ExportRefused(
            f"a mesh as {suffix or 'a file without an ending'}", ".stl, .ply, .glb or .dcm", "rename --out"
        )
    if out.exists() and not force:
        raise ExportRefused("a file of that name exists", "a new file", "choose another --out, or add --force")
    if out.is_dir() or (out.exists() and Path(mask).exists() and out.samefile(mask)):
        raise ExportRefused("a folder of that name, or the mask itself", "a new file", "choose another --out")
    refuse_place(out, "mesh")
    with Hospital(home) as hospital, progress("meshing") as bar:
        drawn = mask_of(mask, hospital.site)
        space = space_of(drawn.facts)
        chosen = _chosen(drawn, label)
        made = []
        for number, segment in enumerate(chosen):
            bar(segment.name, number / len(chosen))
            made.append((f"{segment.label} {segment.name}", meshed(segment, space, smooth)))
        data = _encapsulated(write(made, ".stl"), mask, chosen) if suffix == ".dcm" else write(made, suffix)
        write_file(out, data, "mesh")
    meshes = [
        {
            "label": segment.label,
            "name": segment.name,
            "vertices": len(one.vertices),
            "faces": len(one.faces),
            "watertight": bool(one.is_watertight),
            "volume_ml": float(one.volume) / 1000,
            "area_mm2": float(one.area),
            "bounds": [[float(v) for v in row] for row in one.bounds],
        }
        for segment, (_, one) in zip(chosen, made, strict=True)
    ]
    if as_json:
        emit(out=str(out), unit="mm", space="LPS", meshes=meshes)
        return
    for one in meshes:
        closed = "closed" if one["watertight"] else "NOT closed"
        say(f"{one['label']:>4}  {one['name']}: {one['volume_ml']:.2f} ml, {one['faces']} faces, {closed}")
    say(str(out))


def compare(
    study: Annotated[str, typer.Argument(help="A reading's id, a file, or the folder of one study.")],
    prior: Annotated[str | None, typer.Argument(help="The earlier one, named the same ways.")] = None,
    second: Annotated[
        str | None, typer.Option("--second", help="Instead of a prior, two models side by side: ID,ID.")
    ] = None,
    mask: Annotated[str | None, typer.Option("--mask", help="The study's lesions.")] = None,
    prior_mask: Annotated[str | None, typer.Option("--prior-mask", help="The prior's lesions.")] = None,
    affine: Annotated[bool, typer.Option("--affine", help="Let the registration scale and shear too.")] = False,
    register: Annotated[bool, typer.Option(help="Lay the two images over each other.")] = True,
    days: Annotated[int | None, typer.Option("--days", help="Days from the prior to the study.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A new folder for the registered prior and the difference, NIfTI.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="For pictures and NIfTI: CT, MR, CR, DX, US ...")] = None,
    view: Annotated[str | None, typer.Option(help="For pictures and NIfTI: PA, AP, AXIAL ...")] = None,
    body_part: Annotated[str | None, typer.Option(help="For pictures and NIfTI: HEAD, CHEST ...")] = None,
    image_number: Annotated[
        int | None, typer.Option("--image-number", help="With --second: which image of the study, from 0.")
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Compare a study with a prior of the same patient: registration, lesions, measurements, each change with its
    uncertainty. Or, with --second, what two models say of one study.

    Studies of two patients are refused. Named in the wrong order, they are taken in the order of their dates.
    """
    from ..api import Hospital
    from ..exporting.masks import refuse_folder
    from ..followup import compare as compared
    from ..followup import mask_of, side_of
    from .measure_fields import compared_fields, tell_compared
    from .measure_second import second_opinion

    if (mask is None) != (prior_mask is None):
        raise typer.BadParameter("--mask and --prior-mask go together: one lesion at two times")
    if (prior is None) == (second is None):
        raise typer.BadParameter("name a PRIOR, or two models with --second: the one or the other")
    if out is not None:
        refuse_folder(out)
    declared = {"modality": modality or "", "view": view or "", "body_part": body_part or ""}
    if second is not None:
        if mask is not None:
            raise typer.BadParameter("--mask belongs to a prior, not to --second")
        second_opinion(study, second, declared=declared, number=image_number, out=out, as_json=as_json, home=home)
        return
    assert prior is not None
    with Hospital(home) as hospital, progress("comparing") as bar:
        bar("opening", 0.0)
        sides = [side_of(what, hospital.store, hospital.site, declared) for what in (study, prior)]
        drawn = [
            None if path is None else mask_of(path, hospital.site, side.images[0] if len(side.images) == 1 else None)
            for path, side in zip((mask, prior_mask), sides, strict=True)
        ]
        bar("laying over each other", 0.2)
        found = compared(
            sides[0],
            sides[1],
            mask=drawn[0],
            prior_mask=drawn[1],
            kind="affine" if affine else "rigid",
            register=register,
            days=days,
        )
        files = _write_compared(found, out) if out is not None else []
    fields = {**compared_fields(found), "files": files}
    if as_json:
        emit(**fields)
    else:
        tell_compared(fields)


def _chosen(drawn: Mask, label: list[int] | None) -> list[Segment]:
    from ..errors import PromptRefused

    known = [segment.label for segment in drawn.segments]
    missing = [n for n in label or () if n not in known]
    if missing:
        shown = ", ".join(map(str, known[:20])) + (" ..." if len(known) > 20 else "")
        raise PromptRefused(f"no label {missing[0]} in the mask", f"one of {shown}", "choose one of them")
    return [segment for segment in drawn.segments if not label or segment.label in label]


def _densities(segment: Segment, drawn: Mask, opened: Any) -> tuple[tuple[Measured, ...], str]:
    from ..imaging.measure_mask import densities, values_inside

    if opened is None:
        return (), ""
    values, note_ = values_inside(segment, drawn.facts, opened)
    return densities(values, opened.facts), note_


def _segment_fields(found: Measures, dense: tuple[tuple[Measured, ...], str]) -> dict[str, Any]:
    from ..imaging import measure_codes as c
    from .measure_fields import code_fields, measured_fields

    measured = [*found.measured, *dense[0]]
    longest, surface, round_ = (found.get(code) for code in (c.LONGEST_3D, c.SURFACE_AREA, c.SPHERICITY))
    mean = next((m for m in dense[0] if m.derivation == c.MEAN), None)
    area = found.get(c.AREA)
    return {
        "label": found.label,
        "name": found.name,
        "code": code_fields(found.code) if found.code else None,
        "voxels": found.voxels,
        "volume_ml": found.volume_ml,
        "area_mm2": area.value if area else None,
        "long_axis_mm": found.long_mm,
        "short_axis_mm": found.short_mm,
        "longest_3d_mm": longest.value if longest else None,
        "surface_mm2": surface.value if surface else None,
        "sphericity": round_.value if round_ else None,
        "mean": mean.value if mean else None,
        "centre": list(found.centre) if found.centre else None,
        "box": list(found.box),
        "components": found.parts_in_all,
        "parts": [
            {
                "voxels": part.voxels,
                "volume_ml": part.volume_ml,
                "long_axis_mm": part.long_mm,
                "centre": list(part.centre) if part.centre else None,
                "box": list(part.box),
            }
            for part in found.parts
        ],
        "measurements": [measured_fields(m) for m in measured],
        "notes": [*found.notes, *([dense[1]] if dense[1] else [])],
    }


def _between(chosen: list[Segment], space: Any) -> list[dict[str, Any]]:
    from itertools import combinations

    from ..imaging.measure_between import distance
    from .measure_fields import measured_fields

    pairs = list(combinations(chosen, 2))
    if space is None or len(pairs) > MOST_PAIRS:
        return []
    return [
        {"labels": [a.label, b.label], "measurements": [measured_fields(m) for m in distance(a, b, space)]}
        for a, b in pairs
    ]


HEART = ("80891009",)
LUNGS = ("39607008", "44029006", "3341006")


def _ratios(drawn: Mask, opened: Any, heart: int | None, lungs: str | None) -> list[dict[str, Any]]:
    """The cardiothoracic ratio, where heart and lungs are named or known by their codes."""
    from ..errors import GeometryRefused, PromptRefused
    from ..imaging.measure_between import cardiothoracic
    from .measure_fields import measured_fields

    asked = heart is not None or lungs is not None
    hearts = [s for s in drawn.segments if (s.label == heart if heart is not None else _is(s, HEART))]
    try:
        numbers = [int(n) for n in lungs.split(",")] if lungs else []
    except ValueError:
        raise PromptRefused(f"--lungs {lungs!r}", "labels: N or N,M", "for example --lungs 2,3") from None
    sides = [s for s in drawn.segments if (s.label in numbers if numbers else _is(s, LUNGS))]
    if not hearts or not sides:
        if asked:
            raise PromptRefused("no such label of heart or lungs in the mask", "labels of the mask", "check the labels")
        return []
    facts = drawn.facts if opened is None or drawn.facts.view else _with_view(drawn, opened)
    try:
        found = cardiothoracic(drawn.whole(hearts[0]), [drawn.whole(s) for s in sides], facts)
    except GeometryRefused:
        if asked:
            raise
        return []
    return [{**measured_fields(found.ratio), "heart_pixels": found.heart, "thorax_pixels": found.thorax}]


def _with_view(drawn: Mask, opened: Any) -> Any:
    from dataclasses import replace

    return replace(drawn.facts, view=opened.facts.view)


def _is(segment: Segment, values: tuple[str, ...]) -> bool:
    return segment.code is not None and segment.code.scheme == "SCT" and segment.code.value in values


def _encapsulated(stl: bytes, mask: str, chosen: list[Segment]) -> bytes:
    """The STL in its segmentation's study; of a NIfTI, in a study of its own."""
    from ..exporting.stl import encapsulated
    from ..intake.masks import header_of
    from .measure_fields import code_fields

    one = chosen[0].code if len(chosen) == 1 else None
    title = chosen[0].name if len(chosen) == 1 else f"{len(chosen)} structures"
    return encapsulated(stl, title, header_of(mask), code_fields(one) if one else None)


def _write_compared(found: Compared, out: Path) -> list[str]:
    from ..exporting.masks import make_folder, write_file
    from ..exporting.nifti import nifti

    if found.laid is None or found.image is None:
        note("nothing was registered: no files were written")
        return []
    values, known = found.laid
    difference = (found.image.voxels - values) * known
    make_folder(out)
    written = []
    for name, array in (("prior-registered", values * known), ("difference", difference)):
        path = out / f"{name}.nii.gz"
        write_file(path, nifti(array.astype("float32"), found.image.facts, name))
        written.append(str(path))
    return written


def _tell_measures(fields: dict[str, Any]) -> None:
    from .measure_fields import sentence

    for segment in fields["segments"]:
        say(f"{segment['label']:>4}  {segment['name']} ({segment['components']} connected)")
        for one in segment["measurements"]:
            say(f"        {sentence(one)}")
        for text in segment["notes"]:
            note(f"{segment['label']}: {text}")
    for pair in fields["between"]:
        say(f"{pair['labels'][0]} to {pair['labels'][1]}: {sentence(pair['measurements'][0])}")
    for ratio in fields["ratios"]:
        say(sentence(ratio))
    for text in fields["notes"]:
        note(text)
