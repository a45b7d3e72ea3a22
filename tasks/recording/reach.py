"""Makes the banks of initial states that ship in `assets/banks`, by inverse kinematics.

`python -m tasks.recording.reach` writes them all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexsim.paths import assets_dir
from dexsim.robots import ROBOTS, RobotSpec, load
from dexsim.robots.spec import SIDES
from dexsim.rotations import quat_from_yaw
from dexsim.scene import ObjectSpec, Scene
from tasks.banks import Bank, from_targets, rest_position, save_bank
from tasks.box_lift import BOX_CENTRE, LARGEST_BOX
from tasks.grasp_and_reach import LARGEST_OBJECT
from tasks.recording.ik import Reacher, facing, posture

TOLERANCE = 5e-3  # m
ATTEMPTS = 100  # a state, on average

# The box at its largest, and how Table 4 shifts and turns it: a state of the bank touches it nowhere. m and rad.
BOX_SHIFTS = (-0.02, 0.0, 0.02)
BOX_YAWS = (-0.75, -0.4, 0.0, 0.4, 0.75)


@dataclass(frozen=True)
class Approach:
    """Where the palms are beside the box, and how they vary.

    Attributes:
        gap: of the palms from the box's centre, sideways, [low, high] in m.
        spread: of x and z, +- m.
        drop: how far below the box's centre, m.
        roll: how far the palms face up, rad.
        turn: of the palms, about each axis, +- rad.
    """

    gap: tuple[float, float] = (0.16, 0.20)
    spread: tuple[float, float] = (0.02, 0.02)
    drop: float = 0.0
    roll: float = 0.0
    turn: float = 0.15


# Name of a bank of box lift -> how the hands approach.
BOX_BANKS: dict[str, Approach] = {
    "box_lift": Approach(),
    # For markers on the bottom edges: low, palms turned up, fingertips near the table.
    "box_lift_low": Approach(gap=(0.18, 0.22), spread=(0.02, 0.01), drop=0.015, roll=0.3, turn=0.08),
}


def beside_box(robot: RobotSpec, count: int, approach: Approach, seed: int = 0) -> Bank:
    """A bank of `count` states with the palms beside the box, facing it."""
    rng, reacher, is_clear = np.random.default_rng(seed), Reacher(robot), _clearance(robot)
    states: list[np.ndarray] = []
    for _ in range(ATTEMPTS * count):
        start = posture(robot, rng)
        joints, miss = reacher.reach(start, {side: _beside(side, approach, rng) for side in SIDES})
        if miss < TOLERANCE and is_clear(joints):
            states.append(joints[robot.command_index])
        if len(states) == count:
            pose = np.array([*BOX_CENTRE, 1.0, 0.0, 0.0, 0.0])
            return from_targets(robot, np.array(states), np.tile(pose, (count, 1, 1)), LARGEST_BOX)
    raise RuntimeError(f"only {len(states)} of {count} states in {ATTEMPTS * count} tries: the box is out of reach")


def _clearance(robot: RobotSpec) -> Callable[[np.ndarray], bool]:
    """A test whether the robot at some joint positions (J,) touches neither itself, the table nor the box anywhere."""
    import mujoco

    from dexsim.backends.mujoco.model import build_spec, compile_spec

    # A little above the table, so that the box itself touches nothing.
    box = ObjectSpec("box", "box", LARGEST_BOX, 1.0, position=(*BOX_CENTRE[:2], LARGEST_BOX[2] / 2 + 0.005))
    scene = Scene(robot, objects=(box,))
    model: mujoco.MjModel = compile_spec(build_spec(scene), scene)
    data = mujoco.MjData(model)

    def is_clear(joints: np.ndarray) -> bool:
        for x, y, yaw in itertools.product(BOX_SHIFTS, BOX_SHIFTS, BOX_YAWS):
            data.qpos[: len(joints)] = joints
            data.qpos[len(joints) :] = [BOX_CENTRE[0] + x, y, box.position[2], *quat_from_yaw(np.array(yaw))]
            mujoco.mj_fwdPosition(model, data)
            if data.ncon:
                return False
        return True

    return is_clear


def _beside(side: str, approach: Approach, rng: np.random.Generator) -> Any:
    import mink

    outward, (x, z) = (1.0 if side == "left" else -1.0), approach.spread
    offset = np.array([rng.uniform(-1, 1) * x, outward * rng.uniform(*approach.gap), rng.uniform(-1, 1) * z])
    offset[2] -= approach.drop
    normal = np.array([0.0, -outward * np.cos(approach.roll), np.sin(approach.roll)])
    turn = rng.uniform(-approach.turn, approach.turn, 3)
    rotation = facing(normal, np.array([1.0, 0.0, 0.0]), turn)
    return mink.SE3.from_rotation_and_translation(rotation, np.array(BOX_CENTRE) + offset)


# -- grasp-and-reach: the right hand open beside an object; the left one waits over its half of the table --------------

GRASP_PLACE = ((0.32, 0.44), (-0.28, -0.12))  # x and y of the object's centre, m
GRASP_GAP = (0.075, 0.105)  # of the grasp frame from the object's centre, along the palm's normal, m
# How far the grasp frame stays behind the object's centre, along the fingers: Inspire's are shorter. m
GRASP_BEHIND = {"gr1t2": 0.0, "gr1t2_inspire": 0.03}
GRASP_HEIGHT = (0.055, 0.075)  # of the grasp frame over the table, m
GRASP_ROLL = -0.35  # the palm faces a little down: so the fingers close around what stands on the table, rad
GRASP_TURN = (0.15, 0.1, 0.25)  # about x, y, z, +- rad
GRASP_SHIFTS = (-0.02, 0.02)


def beside_object(
    robot: RobotSpec,
    count: int,
    place_range: tuple[tuple[float, float], tuple[float, float]] = GRASP_PLACE,
    largest: tuple[float, float, float] = LARGEST_OBJECT,
    other: Callable[[np.random.Generator], Any] | None = None,
    seed: int = 0,
) -> Bank:
    """A bank of `count` states with the right palm beside an object on the table, facing it.

    Args:
        robot: whose bank.
        count: how many states.
        place_range: x and y of the object, [low, high] each, m.
        largest: full extents of an upright cylinder that the hands stay clear of, m.
        other: where the left palm waits, as a `mink.SE3`; at rest where there is none.
        seed: of the random draws.
    """
    rng, reacher, is_clear = np.random.default_rng(seed), Reacher(robot), _object_clearance(robot, largest)
    waiting = [robot.commands.index(name) for name in robot.arm_joints("left")]
    states, poses = [], []
    for _ in range(ATTEMPTS * count):
        place = np.array([rng.uniform(*bounds) for bounds in place_range])
        start = posture(robot, rng)
        start[waiting] = rest_position(robot)[waiting]
        palms = {
            "right": _beside_object(place - [GRASP_BEHIND.get(robot.name, 0.0), 0.0], rng),
            **({"left": other(rng)} if other else {}),
        }
        joints, miss = reacher.reach(start, palms)
        if miss < TOLERANCE and is_clear(joints, place):
            states.append(joints[robot.command_index])
            poses.append([[*place, largest[2] / 2, 1.0, 0.0, 0.0, 0.0]])
        if len(states) == count:
            return from_targets(robot, np.array(states), np.array(poses), largest)
    raise RuntimeError(f"only {len(states)} of {count} states in {ATTEMPTS * count} tries: objects are out of reach")


def _beside_object(place: np.ndarray, rng: np.random.Generator) -> Any:
    import mink

    normal, fingers = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
    rotation = facing(normal, fingers, rng.uniform(-1.0, 1.0, 3) * GRASP_TURN + [GRASP_ROLL, 0.0, 0.0])
    outward = rotation.as_matrix()[:, 0] * [1.0, 1.0, 0.0]
    centre = place - rng.uniform(*GRASP_GAP) * (outward / np.linalg.norm(outward))[:2]
    return mink.SE3.from_rotation_and_translation(rotation, np.array([*centre, rng.uniform(*GRASP_HEIGHT)]))


def _object_clearance(
    robot: RobotSpec, largest: tuple[float, float, float]
) -> Callable[[np.ndarray, np.ndarray], bool]:
    """A test whether the robot touches neither itself, the table nor the object (x, y), shifted as in Table 4."""
    import mujoco

    from dexsim.backends.mujoco.model import build_spec, compile_spec

    height = largest[2] / 2 + 0.005
    item = ObjectSpec("object", "cylinder", largest, 1.0, position=(0.4, 0.0, height))
    scene = Scene(robot, objects=(item,))
    model: mujoco.MjModel = compile_spec(build_spec(scene), scene)
    data = mujoco.MjData(model)

    def is_clear(joints: np.ndarray, place: np.ndarray) -> bool:
        data.qpos[: len(joints)] = joints
        for x, y in itertools.product(GRASP_SHIFTS, GRASP_SHIFTS):
            data.qpos[len(joints) :] = [place[0] + x, place[1] + y, height, 1.0, 0.0, 0.0, 0.0]
            mujoco.mj_fwdPosition(model, data)
            if data.ncon:
                return False
        return True

    return is_clear


def main() -> None:
    """Write the shipped banks."""
    for name in ROBOTS:
        robot = load(name)
        for bank, approach in BOX_BANKS.items():
            _write(robot, bank, beside_box(robot, 200, approach), "box_lift")
        _write(robot, "grasp_and_reach", beside_object(robot, 300), "grasp_and_reach")


def _write(robot: RobotSpec, name: str, bank: Bank, task: str) -> None:
    path = assets_dir() / "banks" / f"{name}_{robot.name}.npz"
    save_bank(path, robot, bank, task)
    print(path)


if __name__ == "__main__":
    main()
