"""A `Scene` as a compiled MuJoCo model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dexsim.backends.mujoco.robot import ENVIRONMENT, add_robot
from dexsim.scene import ContactPair, ObjectSpec, Scene, Table

GEOM_TYPES = {"box": "mjGEOM_BOX", "cylinder": "mjGEOM_CYLINDER", "sphere": "mjGEOM_SPHERE", "mesh": "mjGEOM_MESH"}
# Torsional and rolling friction of every contact, m; condim 3 ignores them, 4 uses the first.
SPIN_AND_ROLL = (0.005, 0.0001)


def build_spec(scene: Scene, meshes: Path | None = None) -> Any:
    """The scene as an editable `mujoco.MjSpec`; `meshes` as in `add_robot`."""
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = f"dexsim {scene.robot.name}"
    spec.compiler.degree = False
    spec.option.timestep = scene.timestep
    # Explicit damping where drives have friction, delay and lag (`discrete_armature`). The nominal robot has none of
    # them; implicit damping makes the same of it, and is what its policies and banks were made with.
    integrators = mujoco.mjtIntegrator
    explicit = scene.robot.has_drive_dynamics
    spec.option.integrator = integrators.mjINT_EULER if explicit else integrators.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    spec.option.iterations, spec.option.ls_iterations = 10, 20
    # A diverged environment is reported and reset by us, never silently by the engine.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    if not scene.collisions:
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    spec.memory = 2**21
    # Vendor inertias of small links break the triangle inequality by rounding.
    spec.compiler.balanceinertia = True
    spec.compiler.boundmass, spec.compiler.boundinertia = 1e-4, 1e-8
    add_robot(spec, scene.robot, meshes)
    _add_table(spec, scene.table)
    for item in scene.objects:
        _add_object(spec, item)
    for pair in scene.contacts:
        _add_contact_sensor(spec, scene, pair)
    return spec


def _add_table(spec: Any, table: Table) -> None:
    import mujoco

    x, y, top = table.position
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=np.array(table.size) / 2,
        pos=(x, y, top - table.size[2] / 2),
        friction=(table.friction, *SPIN_AND_ROLL),
        contype=ENVIRONMENT,
        conaffinity=ENVIRONMENT,
        condim=3,
        rgba=(0.55, 0.45, 0.35, 1),
    )


def _add_object(spec: Any, item: ObjectSpec) -> None:
    import mujoco

    for number, choice in enumerate(item.choices):
        for part, vertices in enumerate(choice.parts):
            spec.add_mesh(name=mesh_name(item, number, part), uservert=np.array(vertices).ravel())
    body = spec.worldbody.add_body(name=item.name, pos=item.position)
    if item.alternatives or item.parts:
        body.simple = False  # the frame of its inertia is not always the frame of the body
    body.add_freejoint(name=f"{item.name}_free")
    common = {"friction": (item.friction, *SPIN_AND_ROLL), "condim": 3, "rgba": item.rgba, "group": 0}
    for part, name in enumerate(geom_names(item)):
        if part < len(item.parts):
            shape = {"type": mujoco.mjtGeom.mjGEOM_MESH, "meshname": mesh_name(item, 0, part)}
        elif part == 0:
            shape = {"type": geom_type(item.shape), "size": geom_size(item.shape, np.array(item.size))}
        else:  # there for an alternative with more parts; the batch switches it off, but only what collides can collide
            shape = {"type": mujoco.mjtGeom.mjGEOM_SPHERE, "size": (1e-3, 0, 0)}
        mass = item.mass if part == 0 else 0.0
        body.add_geom(name=name, mass=mass, contype=ENVIRONMENT, conaffinity=ENVIRONMENT, **shape, **common)


def geom_names(item: ObjectSpec) -> list[str]:
    """Names of an object's geoms: as many as its choice with the most convex parts has."""
    parts = max(1, *(len(choice.parts) for choice in item.choices))
    return [item.name, *(f"{item.name}_part{part}" for part in range(1, parts))]


def mesh_name(item: ObjectSpec, choice: int, part: int) -> str:
    """Name of the mesh of one convex part of one of an object's choices."""
    return f"{item.name}_{choice}_{part}"


def _add_contact_sensor(spec: Any, scene: Scene, pair: ContactPair) -> None:
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


def geom_type(shape: str) -> Any:
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


def principal_inertia(shape: str, mass: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Moments of inertia (..., 3) in kg m^2 of an even body of mass (...,) and full extents (..., 3)."""
    x2, y2, z2 = (size[..., i] ** 2 for i in range(3))
    if shape == "box":
        moments = np.stack([y2 + z2, x2 + z2, x2 + y2], axis=-1) / 12
    elif shape == "cylinder":
        side = x2 / 16 + z2 / 12
        moments = np.stack([side, side, x2 / 8], axis=-1)
    else:
        moments = np.stack([x2, x2, x2], axis=-1) / 10
    return mass[..., None] * moments
