"""The objects that hands learn with: what is trained on, its groups, and what is held out.

Primitives in sizes that a GR1 hand can hold (arXiv 2502.20396, sections A and C: policies trained on primitives carry
over to unseen objects). The groups are those of divide and conquer: one object, three groups alike in shape, three
mixed, all.
"""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

from dexsim.errors import UserError, unknown
from dexsim.scene import ObjectSpec

MASS = 0.065  # kg, the middle of Table 4's range
Color = Tuple[float, float, float, float]
ORANGE: Color = (0.85, 0.55, 0.25, 1.0)


def _catalogue(rows: Sequence[Tuple[str, str, Tuple[float, float, float]]]) -> Dict[str, ObjectSpec]:
    return {name: ObjectSpec(name, shape, size, MASS, rgba=ORANGE) for name, shape, size in rows}


# Name -> object, standing upright; full extents in m.
TRAINING: Dict[str, ObjectSpec] = _catalogue(
    [
        ("can", "cylinder", (0.060, 0.060, 0.120)),
        ("tin", "cylinder", (0.070, 0.070, 0.120)),
        ("tube", "cylinder", (0.046, 0.046, 0.150)),
        ("mug", "cylinder", (0.065, 0.065, 0.100)),
        ("carton", "box", (0.055, 0.055, 0.130)),
        ("stick", "box", (0.045, 0.045, 0.120)),
        ("packet", "box", (0.045, 0.060, 0.120)),
        ("brick", "box", (0.060, 0.045, 0.100)),
        ("ball", "sphere", (0.075, 0.075, 0.075)),
        ("orange", "sphere", (0.085, 0.085, 0.085)),
    ]
)
# Never trained on.
HELD_OUT: Dict[str, ObjectSpec] = _catalogue(
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
OBJECTS = {**TRAINING, **HELD_OUT}

# Name of a group -> its objects.
GROUPS: Dict[str, Tuple[str, ...]] = {
    "all": tuple(TRAINING),
    "held_out": tuple(HELD_OUT),
    "shape_cylinders": ("can", "tin", "tube", "mug"),
    "shape_boxes": ("carton", "stick", "packet", "brick"),
    "shape_spheres": ("ball", "orange"),
    "mix_a": ("can", "stick", "brick", "ball"),
    "mix_b": ("tube", "packet", "orange"),
    "mix_c": ("tin", "mug", "carton"),
}


def expand(names: Sequence[str], key: str = "task.objects") -> List[ObjectSpec]:
    """The objects of some names, of which each may be a group's.

    Raises:
        UserError: for a name that neither an object nor a group has, or none at all.
    """
    found: Dict[str, ObjectSpec] = {}
    for name in names:
        if name not in OBJECTS and name not in GROUPS:
            raise unknown(f"{key}: no object or group named {name!r}", name, [*GROUPS, *OBJECTS])
        for member in GROUPS.get(name, (name,)):
            found[member] = OBJECTS[member]
    if not found:
        raise UserError(f"{key} = []: must name at least one of {', '.join([*GROUPS, *OBJECTS])}")
    return list(found.values())
