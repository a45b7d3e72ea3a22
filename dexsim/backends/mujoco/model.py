"""A `Scene` as a compiled MuJoCo model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dexsim import settings
from dexsim.backends.mujoco.robot import add_robot
from dexsim.backends.mujoco.settings import MujocoSettings
from dexsim.errors import UserError, one_line
from dexsim.robots.collisions import ENVIRONMENT, collision_bits
from dexsim.scene import ContactPair, ObjectSpec, Scene, Table

if TYPE_CHECKING:
    from mujoco import MjModel, MjSpec, mjtGeom

GEOM_TYPES = {"box": "mjGEOM_BOX", "cylinder": "mjGEOM_CYLINDER", "sphere": "mjGEOM_SPHERE", "mesh": "mjGEOM_MESH"}
# Torsional and rolling friction of every contact, m; condim 3 ignores them, 4 uses the first.
SPIN_AND_ROLL = (0.005, 0.0001)
# Half size of a geom that is not in use, m, and the name of a mesh that small: meshes cannot be scaled.
TINY, POINT = 1e-4, "point"


def build_spec(scene: Scene, meshes: Path | None = None, solver: MujocoSettings | None = None) -> MjSpec:
    """The scene as an editable specification; `meshes` as in `add_robot`, `solver` None for the one that ships."""
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = f"dexsim {scene.robot.name}"
    spec.compiler.degree = False
    spec.option.timestep = scene.timestep
    # Explicit damping where drives have friction, delay and lag (`discrete_armature`). The nominal robot has none of
    # them; implicit damping makes the same of it, and is what its policies and banks were made with.
    integrators = mujoco.mjtIntegrator
    explicit = scene.has_drive_dynamics
    spec.option.integrator = integrators.mjINT_EULER if explicit else integrators.mjINT_IMPLICITFAST
    (solver or settings.load(MujocoSettings, "backend/mujoco")).apply(spec)
    # A diverged environment is reported and reset by us, never silently by the engine.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    if not scene.collisions:
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    spec.memory = 2**21
    # Vendor inertias of small links break the triangle inequality by rounding.
    spec.compiler.balanceinertia = True
    spec.compiler.boundmass, spec.compiler.boundinertia = 1e-4, 1e-8
    add_robot(spec, scene.robot, meshes, dynamic=explicit)
    _add_table(spec, scene.table)
    for item in scene.objects:
        _add_object(spec, item)
    for pair in scene.contacts:
        _add_contact_sensor(spec, scene, pair)
    return spec


def compile_spec(spec: MjSpec, scene: Scene) -> MjModel:
    """The model of a specification of a scene.

    Raises:
        UserError: the engine cannot simulate it; what is at fault is named as the scene names it.
    """
    try:
        return spec.compile()
    except (ValueError, RuntimeError) as error:
        names = {
            mesh_name(item, number, part): f"{choice.name}, part {part + 1} of {len(choice.parts)}"
            for item in scene.objects
            for number, choice in enumerate(item.choices)
            for part in range(len(choice.parts))
        }
        text = re.sub(r"'(\w+)'", lambda found: f"'{names.get(found[1], found[1])}'", one_line(error))
        raise UserError(f"the engine cannot simulate this scene: {text.removeprefix('Error: ')}") from None


def _add_table(spec: MjSpec, table: Table) -> None:
    import mujoco

    x, y, top = table.position
    contype, conaffinity = collision_bits(ENVIRONMENT, "")
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=np.array(table.size) / 2,
        pos=(x, y, top - table.size[2] / 2),
        friction=(table.friction, *SPIN_AND_ROLL),
        contype=contype,
        conaffinity=conaffinity,
        condim=3,
        rgba=(0.55, 0.45, 0.35, 1),
    )


def _add_object(spec: MjSpec, item: ObjectSpec) -> None:
    for number, choice in enumerate(item.choices):
        for part, vertices in enumerate(choice.parts):
            spec.add_mesh(name=mesh_name(item, number, part), uservert=np.array(vertices).ravel().tolist())
    shapes, own = geom_shapes(item), max(1, len(item.parts))
    if len({len(choice.parts) for choice in item.choices}) > 1 and not spec.mesh(POINT):
        corners = TINY * np.concatenate([np.eye(3), -np.eye(3)])
        spec.add_mesh(name=POINT, uservert=corners.ravel().tolist())
    body = spec.worldbody.add_body(name=item.name, pos=item.position)
    if item.alternatives or item.parts:
        body.simple = False  # the frame of its inertia is not always the frame of the body
    body.add_freejoint(name=f"{item.name}_free")
    contype, conaffinity = collision_bits(ENVIRONMENT, "")
    common: dict[str, Any] = {"contype": contype, "conaffinity": conaffinity, "condim": 3, "group": 0}
    common |= {"friction": (item.friction, *SPIN_AND_ROLL), "rgba": item.rgba}
    for number, (name, shape) in enumerate(shapes.items()):
        if shape == "mesh":
            form = {"meshname": mesh_name(item, 0, number) if number < own else POINT}
        else:
            form = {"size": geom_size(shape, np.array(item.size)) if number < own else (TINY,) * 3}
        common["mass"] = item.mass if number == 0 else 0.0
        body.add_geom(name=name, type=geom_type(shape), **form, **common)


def geom_shapes(item: ObjectSpec) -> dict[str, str]:
    """An object's geoms, name -> shape: one of each kind among its choices, of meshes as many as the most convex parts.

    So what type a geom has and what it collides with never differs between simulations: not every engine lets it. The
    object's own geoms come first. What a choice has no use for is shrunk to `TINY` inside of it.
    """
    parts = max(len(choice.parts) for choice in item.choices)
    kinds = dict.fromkeys(choice.shape for choice in item.choices)
    shapes = [shape for kind in kinds for shape in [kind] * (parts if kind == "mesh" else 1)]
    names = [item.name, *(f"{item.name}_part{number}" for number in range(1, len(shapes)))]
    return dict(zip(names, shapes, strict=True))


def mesh_name(item: ObjectSpec, choice: int, part: int) -> str:
    """Name of the mesh of one convex part of one of an object's choices."""
    return f"{item.name}_{choice}_{part}"


def _add_contact_sensor(spec: MjSpec, scene: Scene, pair: ContactPair) -> None:
    """A sensor that counts the contacts of a pair; it is current with the positions."""
    import mujoco

    kinds, objects = mujoco.mjtObj, {item.name for item in scene.objects}
    sensor = spec.add_sensor(name=pair.name, type=mujoco.mjtSensor.mjSENS_CONTACT)
    # XBODY is a body with its whole subtree; the table is a geom of the world.
    sensor.objtype = kinds.mjOBJ_BODY if pair.first in objects else kinds.mjOBJ_XBODY
    sensor.reftype = kinds.mjOBJ_BODY if pair.second in objects else kinds.mjOBJ_GEOM
    sensor.objname, sensor.refname = pair.first, pair.second
    found_only, no_reduction, slots = 1, 0, 1
    sensor.intprm[:3] = [found_only, no_reduction, slots]


def geom_type(shape: str) -> mjtGeom:
    """MuJoCo's type of a shape's geom."""
    import mujoco

    return getattr(mujoco.mjtGeom, GEOM_TYPES[shape])


def geom_size(shape: str, size: np.ndarray) -> np.ndarray:
    """MuJoCo's half sizes (..., 3) of an object's full extents (..., 3)."""
    half = size / 2
    if shape == "box":
        return half
    if shape == "cylinder":
        return np.stack([half[..., 0], half[..., 2], np.zeros_like(half[..., 0])], axis=-1)
    return np.stack([half[..., 0], np.zeros_like(half[..., 0]), np.zeros_like(half[..., 0])], axis=-1)
