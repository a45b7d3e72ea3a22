"""SAPIEN's modules, imported where they are used, and what differs from MuJoCo in every scene.

Known differences, which no setting removes:

- Friction of a contact is the mean of both sides' coefficients here and the larger one in MuJoCo; `materials` chooses
  coefficients whose means are the larger ones. Where there are several objects, that holds for the first; the others
  are right with the table, not with hands or each other. Two hands have their own coefficient with each other. A patch
  of contact has friction in its plane, none about its normal.
- Contacts are hard: bodies neither sink into each other nor are held apart by a spring. MuJoCo's give way a little.
- Coupled joints are driven to where their source says, with the counter-torque on the source (`drives`): by 1 mrad for
  each 0.05 N m on them.
- Cylinders are convex polyhedra.
- Numbers are single precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexsim.errors import UserError

# Physics steps are at most this long, s: grasps slip in longer ones. A longer step of the scene is divided.
MAX_STEP = 0.0005
# Overlapping bodies are pushed apart no faster than this, m/s; unlimited, a squeezed object is shot away.
DEPENETRATION_SPEED = 0.5
# Contacts are found from this distance on, m. At 0.5 ms nothing comes this far in a step.
CONTACT_OFFSET = 0.002
# Turns x into z: capsules and cylinders lie along x here.
X_TO_Z = np.array([np.sqrt(0.5), 0.0, -np.sqrt(0.5), 0.0])
# Of the articulation and of objects. With the default solver (TGS) a joint that is held still has a velocity.
POSITION_ITERATIONS, VELOCITY_ITERATIONS = 16, 1


def sapien() -> Any:
    """The package.

    Raises:
        UserError: It is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of graphics drivers, which a scene without cameras has no use for
            import sapien
    except ImportError:
        raise UserError("backend = 'physx' needs SAPIEN: pip install 'dexsim[physx]'") from None
    return sapien


def make_scene(timestep: float) -> Any:
    """An empty scene, with the settings that all of ours have."""
    physx = sapien().physx
    config = physx.PhysxSceneConfig()
    config.gravity = np.array([0.0, 0.0, -9.81], dtype=np.float32)
    config.enable_tgs = False
    config.enable_pcm = True
    config.enable_enhanced_determinism = True
    config.bounce_threshold = 100.0  # m/s: nothing bounces
    physx.set_scene_config(config)
    body = physx.PhysxBodyConfig()
    body.solver_position_iterations, body.solver_velocity_iterations = POSITION_ITERATIONS, VELOCITY_ITERATIONS
    body.sleep_threshold = 0.0
    physx.set_body_config(body)
    shape = physx.PhysxShapeConfig()
    shape.contact_offset, shape.rest_offset = CONTACT_OFFSET, 0.0
    physx.set_shape_config(shape)
    system = physx.PhysxCpuSystem()
    system.set_timestep(timestep)
    return sapien().Scene([system])


def settle(body: Any) -> None:
    """Take from a body what the engine adds by itself: damping, speed limits, fast pushing apart."""
    body.set_linear_damping(0.0)
    body.set_angular_damping(0.0)
    body.set_max_linear_velocity(1e6)
    body.set_max_angular_velocity(1e6)
    body.set_max_depenetration_velocity(DEPENETRATION_SPEED)


def enter(scene: Any, body: Any, name: str) -> Any:
    """Put a body into a scene under a name; return its entity."""
    entity = sapien().Entity()
    entity.add_component(body)
    body.name = name
    scene.add_entity(entity)
    return entity


def make_material(friction: float) -> Any:
    """A surface of some sliding friction, from which nothing bounces."""
    return sapien().physx.PhysxMaterial(friction, friction, 0.0)


@dataclass(frozen=True)
class Friction:
    """Coefficients of sliding friction that bodies are given here."""

    hand: float
    robot: float
    table: float
    items: tuple[float, ...]


def materials(hand: float, items: Sequence[float], table: float, robot: float) -> Friction:
    """Coefficients whose means are the larger of each two, which is what counts in MuJoCo.

    Exact for hand, table and the first object with each other, and for the rest of the robot and that object.

    Args:
        hand: what the hands are to have.
        items: the objects.
        table: the table.
        robot: the rest of the robot.
    """
    item = items[0] if len(items) else robot
    hand_item, table_item, hand_table = max(hand, item), max(table, item), max(hand, table)
    of_item, of_table = hand_item + table_item - hand_table, table_item + hand_table - hand_item
    others = (max(2 * max(table, other) - of_table, 0.0) for other in items[1:])
    return Friction(
        hand=hand_item + hand_table - table_item,
        robot=max(2 * max(robot, item) - of_item, 0.0),
        table=of_table,
        items=(of_item, *others)[: len(items)],
    )


def pose(position: Any, quat: Any) -> Any:
    """The engine's pose of a position in m and a quaternion w x y z."""
    return sapien().Pose(np.asarray(position, dtype=np.float32), np.asarray(quat, dtype=np.float32))


def matrix_to_quat(matrix: np.ndarray) -> np.ndarray:
    """Quaternion w x y z of a rotation matrix."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrix).as_quat(scalar_first=True)
