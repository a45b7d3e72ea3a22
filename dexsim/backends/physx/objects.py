"""The table and the free objects of one scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dexsim.backends.masses import mass_properties, principal_moments
from dexsim.backends.physx.engine import X_TO_Z, enter, make_material, matrix_to_quat, pose, sapien, settle
from dexsim.robots.collisions import ENVIRONMENT, collision_bits
from dexsim.scene import ObjectSpec, Scene, Table

GROUPS = [*collision_bits(ENVIRONMENT, ""), 0, 0]
ONE = (1.0, 0.0, 0.0, 0.0)


def add_table(scene: Any, table: Table, friction: float) -> Any:
    """Add the table; return its body."""
    physx = sapien().physx
    material = make_material(friction)
    body = physx.PhysxRigidStaticComponent()
    shape = physx.PhysxCollisionShapeBox((np.array(table.size) / 2).tolist(), material)
    shape.set_collision_groups(GROUPS)
    body.attach(shape)
    x, y, top = table.position
    enter(scene, body, "table").set_pose(pose((x, y, top - table.size[2] / 2), ONE))
    return body


def add_objects(scene: Any, described: Scene, values: Mapping[str, np.ndarray], friction: Sequence[float]) -> list[Any]:
    """Add the objects, as the parameters of an environment say; return their bodies.

    Args:
        scene: the engine's.
        described: whose objects.
        values: `object_choice` (K,), `object_mass` (K,) and `object_size` (K * 3,).
        friction: coefficient of each.
    """
    bodies = []
    for number, item in enumerate(described.objects):
        chosen = item.choices[int(values["object_choice"][number])]
        size = values["object_size"].reshape(-1, 3)[number]
        body = _object(chosen, size, float(values["object_mass"][number]), friction[number])
        enter(scene, body, item.name)
        bodies.append(body)
    return bodies


def _object(item: ObjectSpec, size: np.ndarray, mass: float, friction: float) -> Any:
    physx = sapien().physx
    material = make_material(friction)
    body = physx.PhysxRigidDynamicComponent()
    for shape in _shapes(item, size, material):
        shape.set_collision_groups(GROUPS)
        body.attach(shape)
    if item.parts:
        own = mass_properties(item)
        moments, centre, quat = mass * np.array(own.moments), own.centre, matrix_to_quat(own.axes)
    else:
        moments, centre, quat = principal_moments(item.shape, np.array(mass), size), (0.0, 0.0, 0.0), ONE
    body.set_mass(mass)
    body.set_inertia(moments.tolist())
    body.set_cmass_local_pose(pose(centre, quat))
    settle(body)
    return body


def _shapes(item: ObjectSpec, size: np.ndarray, material: Any) -> list[Any]:
    physx, half = sapien().physx, size / 2
    if item.shape == "box":
        return [physx.PhysxCollisionShapeBox(half.tolist(), material)]
    if item.shape == "sphere":
        return [physx.PhysxCollisionShapeSphere(float(half[0]), material)]
    if item.shape == "cylinder":
        shape = physx.PhysxCollisionShapeCylinder(float(half[0]), float(half[2]), material)
        shape.set_local_pose(pose((0.0, 0.0, 0.0), X_TO_Z))
        return [shape]
    scale = np.ones(3, dtype=np.float32)
    parts = [np.array(part, dtype=np.float32) for part in item.parts]
    return [physx.PhysxCollisionShapeConvexMesh(part, scale, material) for part in parts]
