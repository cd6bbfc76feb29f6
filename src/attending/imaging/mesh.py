"""Meshes: a mask's surface as STL, PLY or GLB, watertight, normals outwards, in patient LPS millimetres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ExtraMissing, GeometryRefused
from ..records.mask import Segment
from .measure_mask import parts_of
from .measure_space import Space
from .measure_surface import Surface, surface

if TYPE_CHECKING:
    from trimesh import Trimesh

FORMATS = (".stl", ".ply", ".glb")
HEADER = b"SPACE=LPS UNIT=mm attending"
"""The 80 bytes before a binary STL's triangles: 3D Slicer reads SPACE there. STL itself knows neither unit nor side."""
SMOOTHING = 8
"""Passes of Taubin's filter (SIGGRAPH 1995), which takes ripples and leaves the volume."""


def mesh(segment: Segment, space: Space | None, smoothing: int = SMOOTHING) -> Trimesh:
    """One closed mesh for each connected part of a segment, together; each part at its own counted volume.

    smoothing  passes of Taubin's filter on top of the shape-based interpolation; 0 for none. The volume stays the
               mask's within 1 %. Where the mask meets the image's border the mesh is closed there.

    Raises GeometryRefused where the mask has no depth or its spacing is unknown, and ExtraMissing without trimesh.
    """
    trimesh = _trimesh()
    if space is None or not space.depth:
        raise GeometryRefused(
            "a mask without depth or spacing",
            "a mask of a volume with known millimetres",
            "measure it instead: `attending measure MASK`",
        )
    made = []
    for part in parts_of(segment):
        surfaced = surface(part.mask, space.moved(part.start))
        if surfaced is not None:
            made.append(_smoothed(trimesh, surfaced, smoothing))
    return made[0] if len(made) == 1 else trimesh.util.concatenate(made)


def write(meshes: Mapping[str, Trimesh] | Sequence[tuple[str, Trimesh]], suffix: str) -> bytes:
    """Named meshes -> one file. STL and PLY hold them as one body; GLB as named nodes, each with a colour.

    The numbers in all of them are patient LPS millimetres. glTF speaks of metres: ``extras`` of the GLB say otherwise.
    """
    trimesh = _trimesh()
    named = list(meshes.items()) if isinstance(meshes, Mapping) else list(meshes)
    if suffix == ".glb":
        scene = trimesh.Scene(metadata={"units": "mm", "space": "LPS"})
        for number, (name, one) in enumerate(named):
            coloured = one.copy()
            coloured.visual = trimesh.visual.TextureVisuals(
                material=trimesh.visual.material.PBRMaterial(
                    name=name, baseColorFactor=[*_colour(number), 255], roughnessFactor=0.8, metallicFactor=0.0
                )
            )
            scene.add_geometry(coloured, node_name=name, geom_name=name)
        return _bytes(scene.export(file_type="glb", include_normals=True))
    whole = named[0][1] if len(named) == 1 else trimesh.util.concatenate([one for _, one in named])
    written = _bytes(whole.export(file_type=suffix[1:]))
    return HEADER.ljust(80) + written[80:] if suffix == ".stl" else written


def _bytes(exported: Any) -> bytes:
    return exported.encode() if isinstance(exported, str) else bytes(exported)


def _smoothed(trimesh: Any, made: Surface, passes: int) -> Trimesh:
    one: Trimesh = trimesh.Trimesh(made.vertices, made.faces, process=False)
    if passes and len(one.faces) > 8:
        before = one.vertices.copy()
        trimesh.smoothing.filter_taubin(one, lamb=0.5, nu=0.53, iterations=passes)
        area = float(one.area)
        # What the filter took or gave comes back evenly along the normals.
        one.vertices = one.vertices + one.vertex_normals * ((made.volume - float(one.volume)) / area if area else 0.0)
        if not np.isfinite(one.vertices).all() or abs(float(one.volume) - made.volume) > 0.01 * made.volume:
            one.vertices = before  # a body of a few voxels has no ripples to lose, only itself
    return one


def _colour(number: int) -> tuple[int, int, int]:
    from .render import label_colours

    red, green, blue = (int(v) for v in label_colours([number + 1])[number + 1])
    return red, green, blue


def _trimesh() -> Any:
    try:
        import trimesh
        import trimesh.smoothing
    except ImportError:
        raise ExtraMissing(
            "trimesh is not installed",
            "the base installation, or the extra `mesh`",
            "in the source folder: pip install -c constraints.txt '.[mesh]'",
        ) from None
    return trimesh
