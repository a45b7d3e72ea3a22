"""How the mass of an object lies in its body: evenly over a primitive, or over convex parts."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from dexsim.scene import ObjectSpec


@dataclass(frozen=True)
class MassProperties:
    """How the mass of an object lies in its body.

    Attributes:
        moments: (3,) principal moments of inertia per kg, m^2; zero for a primitive, whose size is free.
        centre: (3,) centre of mass, m.
        axes: (3, 3) principal axes as columns.
        inside: (3,) a point well inside of it, m.
    """

    moments: tuple[float, ...] = (0.0, 0.0, 0.0)
    centre: tuple[float, ...] = (0.0, 0.0, 0.0)
    axes: np.ndarray = field(default_factory=lambda: np.eye(3))
    inside: tuple[float, ...] = (0.0, 0.0, 0.0)


@functools.cache  # of hulls, which an engine that builds scenes anew asks for in every episode
def mass_properties(spec: ObjectSpec) -> MassProperties:
    """Those of an object's convex parts, of one density."""
    import trimesh

    hulls = [trimesh.Trimesh(vertices=part).convex_hull for part in spec.parts]
    volume = np.array([hull.volume for hull in hulls])
    centres = np.array([hull.center_mass for hull in hulls])
    centre = volume @ centres / volume.sum()
    tensor = np.zeros((3, 3))
    for hull, size, place in zip(hulls, volume, centres - centre, strict=True):
        tensor += hull.moment_inertia + size * (place @ place * np.eye(3) - np.outer(place, place))
    moments, axes = np.linalg.eigh(tensor / volume.sum())
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    inside = centres[volume.argmax()]  # the common centre may lie between the parts
    return MassProperties(tuple(moments), tuple(centre), axes, tuple(inside))


def principal_moments(shape: str, mass: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Moments of inertia (..., 3) in kg m^2 of an even primitive of mass (...,) and full extents (..., 3)."""
    x2, y2, z2 = (size[..., i] ** 2 for i in range(3))
    if shape == "box":
        moments = np.stack([y2 + z2, x2 + z2, x2 + y2], axis=-1) / 12
    elif shape == "cylinder":
        side = x2 / 16 + z2 / 12
        moments = np.stack([side, side, x2 / 8], axis=-1)
    else:
        moments = np.stack([x2, x2, x2], axis=-1) / 10
    return mass[..., None] * moments
