"""The objects that ship, and their groups."""

from __future__ import annotations

from collections.abc import Sequence

from dexsim.scene import ObjectSpec

MASS = 0.065  # kg, the middle of Table 4's range
Color = tuple[float, float, float, float]
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
