"""The objects that hands learn with: what is trained on, its groups, and what is held out.

Primitives in sizes that a GR1 hand can hold (arXiv 2502.20396, sections A and C: policies trained on primitives carry
over to unseen objects). The groups are those of divide and conquer: one object, three groups alike in shape, three
mixed, all. A mesh file serves too: each of its connected components becomes a convex part.

`python -m tasks.objects` writes the meshes of `assets/objects`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dexsim import settings
from dexsim.errors import UserError, one_line, require, unknown
from dexsim.files import atomic_path
from dexsim.parameters import PARAMETERS
from dexsim.paths import assets_dir
from dexsim.scene import ObjectSpec

MASS = 0.065  # kg, the middle of Table 4's range
Color = tuple[float, float, float, float]
SUFFIXES = (".stl", ".obj", ".ply", ".glb")
FLAT, LIMITS = 1e-4, (0.005, 0.5)  # thinner than this is no part; what an object may measure; m
ORANGE: Color = (0.85, 0.55, 0.25, 1.0)


def _catalogue(rows: Sequence[tuple[str, str, tuple[float, float, float]]]) -> dict[str, ObjectSpec]:
    return {name: ObjectSpec(name, shape, size, MASS, rgba=ORANGE) for name, shape, size in rows}


# Name -> object, standing upright; full extents in m.
TRAINING: dict[str, ObjectSpec] = _catalogue(
    [
        ("can", "cylinder", (0.060, 0.060, 0.120)),
        ("tin", "cylinder", (0.070, 0.070, 0.120)),
        ("tube", "cylinder", (0.046, 0.046, 0.150)),
        ("mug", "cylinder", (0.065, 0.065, 0.100)),
        ("spool", "cylinder", (0.055, 0.055, 0.100)),
        ("carton", "box", (0.055, 0.055, 0.130)),
        ("stick", "box", (0.045, 0.045, 0.120)),
        ("packet", "box", (0.045, 0.060, 0.120)),
        ("brick", "box", (0.060, 0.045, 0.100)),
        ("ball", "sphere", (0.075, 0.075, 0.075)),
    ]
)
# Never trained on.
HELD_OUT: dict[str, ObjectSpec] = _catalogue(
    [
        ("flask", "cylinder", (0.056, 0.056, 0.140)),
        ("jar", "cylinder", (0.068, 0.068, 0.110)),
        ("pipe", "cylinder", (0.050, 0.050, 0.110)),
        ("cup", "cylinder", (0.062, 0.062, 0.090)),
        ("pillar", "box", (0.050, 0.050, 0.150)),
        ("block", "box", (0.052, 0.062, 0.110)),
        ("pack", "box", (0.042, 0.055, 0.130)),
        ("peach", "sphere", (0.080, 0.080, 0.080)),
    ]
)
# For handing over: tall enough for two hands, one above the other.
BLOCKS: dict[str, ObjectSpec] = _catalogue(
    [
        ("rod", "cylinder", (0.056, 0.056, 0.300)),
        ("staff", "cylinder", (0.050, 0.050, 0.300)),
        ("beam", "box", (0.041, 0.041, 0.300)),
    ]
)
OBJECTS = {**TRAINING, **HELD_OUT, **BLOCKS}
# Held out too, and no primitives: files in `assets/objects`.
MESHES = ("bottle", "hexagon", "cone", "spindle", "cross", "jug")

# Name of a group -> its objects.
GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(TRAINING),
    "held_out": (*HELD_OUT, *MESHES),
    "held_out_meshes": MESHES,
    "blocks": tuple(BLOCKS),
    "shape_cylinders": ("can", "tin", "tube", "mug", "spool"),
    "shape_boxes": ("carton", "stick", "packet", "brick"),
    "shape_spheres": ("ball",),
    "mix_a": ("can", "stick", "brick", "ball"),
    "mix_b": ("tube", "packet", "spool"),
    "mix_c": ("tin", "mug", "carton"),
}


def expand(names: Sequence[str | Mapping[str, Any]], key: str = "task.objects") -> list[ObjectSpec]:
    """The objects of some names, each once.

    Args:
        names: of which each may be an object's, a group's or a mesh file (`.stl`, `.obj`, `.ply`, `.glb`); or, in place
            of a name, the content of an object: a mapping with the fields of `ObjectSpec`.
        key: where they stand in the config, for messages.

    Raises:
        UserError: for a name that no object, group or file has, a file that is no mesh, content that is no object, or
            no name at all.
    """
    found: list[ObjectSpec] = []
    for name in names:
        if not isinstance(name, str):
            found.append(_from_content(name, key))
            continue
        if not _is_file(name) and name not in OBJECTS and name not in GROUPS and name not in MESHES:
            raise unknown(f"{key}: no object or group named {name!r}", name, [*GROUPS, *OBJECTS, *MESHES])
        members = GROUPS.get(name, (name,))
        found += [OBJECTS[member] if member in OBJECTS else _from_file(member, key) for member in members]
    if not found:
        raise UserError(f"{key} = []: must name at least one of {', '.join([*GROUPS, *OBJECTS, *MESHES])}")
    return list(dict.fromkeys(found))


def with_content(names: Sequence[str | Mapping[str, Any]], key: str = "task.objects") -> list[str | dict[str, Any]]:
    """The same objects with the content of the files in place of their names: what a checkpoint keeps of them.

    Shipped objects and groups keep their names.
    """
    given = [name if isinstance(name, str) else dict(name) for name in names]
    return [settings.to_dict(_from_file(n, key)) if isinstance(n, str) and _is_file(n) else n for n in given]


def _is_file(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _from_content(content: Mapping[str, Any], key: str) -> ObjectSpec:
    """The object of a mapping as `settings.to_dict` makes it of one."""
    item = settings.build(ObjectSpec, content, key)
    if item.alternatives:
        raise UserError(f"{key}: {item.name!r} has alternatives; each object must stand for itself")
    for name, value in (("object_mass", item.mass), ("object_friction", item.friction)):
        low, high = PARAMETERS[name].bounds
        require(low <= value <= high, f"{key}: {name} of {item.name!r}", value, f"{low:g} to {high:g}")
    _check_limits(item.size, f"{key}: {item.name!r}")
    return item


def _from_file(name: str, key: str) -> ObjectSpec:
    """The object of a mesh file, or of a name in `assets/objects`."""
    import trimesh

    path = Path(name) if _is_file(name) else assets_dir() / "objects" / f"{name}.stl"
    if not path.is_file():
        raise UserError(f"{key} = {name!r}: no file {path}")
    try:
        mesh = trimesh.load_mesh(path)
        mesh.merge_vertices()
        # Stray triangles, of which scans and CAD files have some, enclose nothing.
        hulls = [part.convex_hull for part in mesh.split(only_watertight=False) if part.extents.min() > FLAT]
        corners = np.concatenate([hull.vertices for hull in hulls])
        middle, size = (corners.min(axis=0) + corners.max(axis=0)) / 2, np.ptp(corners, axis=0)
    except Exception as error:  # trimesh's readers raise whatever their formats call for
        raise UserError(f"{key} = {name!r}: {path} is not a mesh ({one_line(error)})") from None
    _check_limits(size.tolist(), f"{key} = {name!r}")
    parts = tuple(tuple(map(tuple, (hull.vertices - middle).tolist())) for hull in hulls)
    return ObjectSpec(path.stem, "mesh", tuple(size.tolist()), MASS, rgba=ORANGE, parts=parts)


def _check_limits(size: Sequence[float], what: str) -> None:
    if not LIMITS[0] <= min(size) <= max(size) <= LIMITS[1]:
        extents = ", ".join(f"{extent:g}" for extent in size)
        allowed = f"{LIMITS[0]:g} to {LIMITS[1]:g} m; is the file in metres?"
        raise UserError(f"{what}: extents of {extents}; must be {allowed}")


def _frustum(low: float, high: float, height: float, base: float, sides: int = 16) -> Any:
    """An upright frustum's hull: radii below and above, height and where its base is, m."""
    import trimesh

    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = [np.column_stack([ring * r, np.full(sides, z)]) for r, z in ((low, base), (high, base + height))]
    return trimesh.Trimesh(vertices=np.concatenate(rings)).convex_hull


def _block(size: tuple[float, float, float], centre: tuple[float, float, float]) -> Any:
    import trimesh

    block = trimesh.creation.box(size)
    block.apply_translation(centre)
    return block


def write_meshes() -> None:
    """Write the held-out meshes that ship."""
    import trimesh

    made = {
        # A hair between parts that lie on each other, so that they are components of their own.
        "bottle": [
            _frustum(0.030, 0.030, 0.0898, 0.0),
            _frustum(0.030, 0.012, 0.0298, 0.09),
            _frustum(0.012, 0.012, 0.03, 0.12),
        ],
        "hexagon": [_frustum(0.032, 0.032, 0.12, 0.0, sides=6)],
        "cone": [_frustum(0.036, 0.022, 0.12, 0.0)],
        "spindle": [_frustum(0.034, 0.022, 0.0648, 0.0), _frustum(0.022, 0.034, 0.065, 0.065)],
        "cross": [_block((0.064, 0.024, 0.12), (0, 0, 0.06)), _block((0.024, 0.064, 0.12), (0, 0, 0.06))],
        "jug": [
            _frustum(0.030, 0.030, 0.11, 0.0),
            _block((0.020, 0.010, 0.010), (-0.038, 0, 0.025)),
            _block((0.020, 0.010, 0.010), (-0.038, 0, 0.085)),
            _block((0.010, 0.010, 0.070), (-0.050, 0, 0.055)),
        ],
    }  # fmt: skip
    for name, parts in made.items():
        path = assets_dir() / "objects" / f"{name}.stl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            trimesh.util.concatenate(parts).export(temporary, file_type="stl")


if __name__ == "__main__":
    write_meshes()
