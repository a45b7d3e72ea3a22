"""What a picture shows besides the simulation: where cameras stand, furniture, goals and markers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dexsim.backends.mujoco.model import build_spec, compile_spec
from dexsim.cameras.pinhole import Vec3, View
from dexsim.drawing.marks import Rgba, Segment, Sphere
from dexsim.errors import require, unknown
from dexsim.robots.meshes import find_meshes, require_meshes
from dexsim.rotations import quat_rotate
from dexsim.scene import Scene

if TYPE_CHECKING:
    from mujoco import MjModel, MjSpec

VIEWS: dict[str, View] = {
    "third_person": View((1.40, 0.85, 0.78), (0.24, 0.0, 0.20), 38.0),
    "front": View((1.85, 0.0, 0.62), (0.25, 0.0, 0.22), 34.0),
    "side": View((0.45, 1.75, 0.45), (0.35, 0.0, 0.12), 34.0),
    "top": View((0.46, 0.0, 1.75), (0.45, 0.0, 0.0), 36.0),
}
FLOOR = -0.88  # height of the floor, below the robot's base; m
MARKER_RADIUS = 0.011
MARKER_COLOR, GOAL_COLOR = (0.95, 0.10, 0.45, 1.0), (0.10, 0.75, 0.30, 0.55)
TABLE_COLOR, BONE_COLOR, STAND_COLOR = (0.76, 0.68, 0.58, 1), (0.62, 0.64, 0.68, 1), (0.28, 0.30, 0.33, 1)


@dataclass(frozen=True)
class Frame:
    """What is drawn: positions as in MuJoCo's qpos (nq,), objects' extents (K, 3) in m and choice (K,), the marks."""

    qpos: np.ndarray
    sizes: np.ndarray
    choices: np.ndarray
    spheres: tuple[Sphere, ...] = ()
    segments: tuple[Segment, ...] = ()


def interpolate(before: Frame, after: Frame, share: float) -> Frame:
    """A frame between two: positions mixed, quaternions too and made unit again (a policy step turns little)."""
    qpos = (1 - share) * before.qpos + share * after.qpos
    objects = len(before.sizes)
    free = slice(len(qpos) - 7 * objects, None)
    turns = (q[free].reshape(objects, 7)[:, 3:] for q in (qpos, before.qpos, after.qpos))
    for mixed, old, new in zip(*turns, strict=True):
        mixed[:] = (1 - share) * old + share * (new if old @ new > 0 else -new)
        mixed /= np.linalg.norm(mixed)
    pairs = zip(before.spheres, after.spheres, strict=True)
    spheres = tuple(replace(a, position=_mix(a.position, b.position, share)) for a, b in pairs)
    return replace(before, qpos=qpos, spheres=spheres)


def _mix(a: Vec3, b: Vec3, share: float) -> Vec3:
    x, y, z = ((1 - share) * old + share * new for old, new in zip(a, b, strict=True))
    return x, y, z


def find_view(view: str | View) -> View:
    """A camera, or that of a name; raises UserError where there is none."""
    if isinstance(view, View):
        return view
    if view not in VIEWS:
        raise unknown(f"no view named {view!r}", view, VIEWS)
    return VIEWS[view]


def find_folder(meshes: bool | str) -> Path | None:
    """Folder of the vendor's meshes, None for primitives: see `dexsim.drawing.renderer.RayRenderer`."""
    require(meshes in (True, False, "auto"), "meshes", meshes, 'true, false or "auto"')
    if meshes == "auto":
        return find_meshes()
    return require_meshes() if meshes else None


def drawable_model(scene: Scene, meshes: Path | None) -> MjModel:
    """The scene with what it stands on: a pedestal for the robot and legs for the table."""
    import mujoco

    spec = build_spec(scene, meshes)
    box, cylinder = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
    spec.worldbody.add_geom(type=cylinder, size=(0.05, -FLOOR / 2, 0), pos=(0, 0, FLOOR / 2), rgba=STAND_COLOR)
    spec.worldbody.add_geom(type=cylinder, size=(0.22, 0.015, 0), pos=(0, 0, FLOOR + 0.015), rgba=STAND_COLOR)
    table = scene.table
    under = table.position[2] - table.size[2]
    for x in (-1, 1):
        for y in (-1, 1):
            place = np.array(table.position) + np.array(table.size) * [x, y, 0] * 0.5 - [0.03 * x, 0.03 * y, 0]
            leg = (0.02, 0.02, (under - FLOOR) / 2)
            spec.worldbody.add_geom(type=box, size=leg, pos=(place[0], place[1], (under + FLOOR) / 2), rgba=STAND_COLOR)
    spec.geom("table").rgba[:] = TABLE_COLOR
    if meshes is None:
        _draw_bones(spec)
    return compile_spec(spec, scene)


def _draw_bones(spec: MjSpec) -> None:
    """Rods and balls for those links that have no collision shape, so that the robot hangs together."""
    import mujoco

    capsule, ball = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_SPHERE
    for body in [b for b in spec.bodies if b.name != "world" and not list(b.geoms)]:
        children = list(body.bodies)
        for child in (c for c in children if np.linalg.norm(c.pos) > 0.02 and body.mass > 0.02):
            body.add_geom(type=capsule, size=(0.035, 0, 0), fromto=[0, 0, 0, *child.pos], rgba=BONE_COLOR, mass=0)
        if not children and body.mass > 0.3:
            body.add_geom(type=ball, size=(0.075, 0, 0), pos=body.ipos, rgba=BONE_COLOR, mass=0)


def outline(center: np.ndarray, quat: np.ndarray, size: np.ndarray, rgba: Rgba = GOAL_COLOR) -> tuple[Segment, ...]:
    """The twelve edges of a box: centre (3,), orientation (4,), full extents (3,)."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    corners = center + quat_rotate(np.tile(quat, (8, 1)), signs * size / 2)
    pairs = [(i, i + step) for axis, step in enumerate((4, 2, 1)) for i in range(8) if signs[i, axis] < 0]
    return tuple(Segment(tuple(corners[a]), tuple(corners[b]), 2.0, rgba) for a, b in pairs)
