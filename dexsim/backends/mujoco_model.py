"""A `Scene` as a compiled MuJoCo model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np

from dexsim.robots.mjcf import ENVIRONMENT, add_robot
from dexsim.scene import ContactPair, ObjectSpec, Scene, Table

GEOM_TYPES = {"box": "mjGEOM_BOX", "cylinder": "mjGEOM_CYLINDER", "sphere": "mjGEOM_SPHERE"}
# Torsional and rolling friction of every contact, m; condim 3 ignores them, 4 uses the first.
SPIN_AND_ROLL = (0.005, 0.0001)


def build_spec(scene: Scene, meshes: Optional[Path] = None) -> Any:
    """The scene as an editable `mujoco.MjSpec`; `meshes` as in `add_robot`."""
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = f"dexsim {scene.robot.name}"
    spec.compiler.degree = False
    spec.option.timestep = scene.timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    spec.option.iterations, spec.option.ls_iterations = 10, 20
    # A diverged environment is reported and reset by us, never silently by the engine.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
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

    body = spec.worldbody.add_body(name=item.name, pos=item.position)
    body.add_freejoint(name=f"{item.name}_free")
    body.add_geom(
        name=item.name,
        type=geom_type(item.shape),
        size=geom_size(item.shape, np.array(item.size)),
        mass=item.mass,
        friction=(item.friction, *SPIN_AND_ROLL),
        contype=ENVIRONMENT,
        conaffinity=ENVIRONMENT,
        condim=3,
        rgba=item.rgba,
        group=0,
    )


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


def bounding_radius(shape: str, size: np.ndarray) -> np.ndarray:
    """Radius (...,) of the sphere around an object's full extents (..., 3)."""
    if shape == "box":
        return np.linalg.norm(size, axis=-1) / 2
    if shape == "cylinder":
        return np.hypot(size[..., 0], size[..., 2]) / 2
    return size[..., 0] / 2


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
