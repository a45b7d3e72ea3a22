"""Banks of initial states (recipe, section C: task-aware initialization); box lift's is made by inverse kinematics.

`python -m tasks.initial_states` writes the banks that ship in `assets/banks`.
"""

from __future__ import annotations

import itertools
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import torch
from torch import Tensor

from dexsim.errors import UserError
from dexsim.paths import assets_dir
from dexsim.robots import ROBOTS, RobotSpec, find_palm, load
from dexsim.robots.spec import SIDES
from dexsim.rotations import quat_from_yaw
from dexsim.runs import atomic_path
from dexsim.scene import ObjectSpec, Scene

BANK_VERSION = 1


@dataclass(frozen=True)
class Bank:
    """Hand states to start episodes from.

    Attributes:
        joint_position: (M, J) rad, all moving joints in tree order, coupled ones included.
        joint_target: (M, 26) rad.
    """

    joint_position: Tensor
    joint_target: Tensor

    def __len__(self) -> int:
        return len(self.joint_target)


def save_bank(path: Path, robot: RobotSpec, targets: np.ndarray) -> None:
    """Write a bank of commanded joint positions (M, 26) in rad, with the robot's joint table."""
    header = json.dumps({"version": BANK_VERSION, "robot": robot.table()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, joint_target=targets.astype(np.float32), header=np.array(header))


def load_bank(name: str, robot: RobotSpec) -> Bank:
    """Read a bank: a file, or a name in `assets/banks` (the robot's own one).

    Raises:
        UserError: no such bank, not a bank, or another robot's.
    """
    path = Path(name) if name.endswith(".npz") else assets_dir() / "banks" / f"{name}_{robot.name}.npz"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (assets_dir() / "banks").glob("*.npz")))
        raise UserError(f"task.bank = {name!r}: no file {path}; shipped banks: {known}")
    try:
        with np.load(path) as data:
            table, targets = json.loads(str(data["header"]))["robot"], data["joint_target"].astype(np.float64)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"task.bank = {name!r}: {path} is not a bank of initial states ({error})") from None
    robot.check_table(table, f"bank {path.name}")
    return Bank(torch.from_numpy(robot.expand_coupled(targets)), torch.from_numpy(targets))


# -- making the bank of box lift ---------------------------------------------------------------------------------------

# The box at its largest, and how Table 4 shifts and turns it: a state of the bank touches it nowhere. m and rad.
BOX_CENTRE = (0.40, 0.0, 0.08)
BOX_SIZE = (0.189, 0.252, 0.168)
BOX_SHIFTS = (-0.02, 0.0, 0.02)
BOX_YAWS = (-0.75, -0.4, 0.0, 0.4, 0.75)
GAP = (0.16, 0.20)  # of the palms from the box's centre
SPREAD = (0.02, 0.02)  # of x and z
TURN = 0.15  # of the palms, about each axis, rad
ELBOW_BENT = -1.2
FINGER_CURL = (0.0, 0.15)
TOLERANCE = 5e-3  # m
ATTEMPTS = 100  # a state, on average


def beside_box(robot: RobotSpec, count: int, seed: int = 0) -> np.ndarray:
    """Joint positions (count, 26) in rad with the palms beside the box, facing it."""
    import mink

    from dexsim.backends.mujoco_model import build_spec

    rng = np.random.default_rng(seed)
    model = build_spec(Scene(robot)).compile()
    is_clear = _clearance(robot)
    states: List[np.ndarray] = []
    for _ in range(ATTEMPTS * count):
        posture = _posture(robot, rng)
        configuration = mink.Configuration(model, q=robot.expand_coupled(posture))
        tasks = [_palm_task(robot, side, rng) for side in SIDES]
        keep = mink.PostureTask(model, cost=1e-3)
        keep.set_target_from_configuration(configuration)
        _solve(configuration, [*tasks, keep], model)
        error = max(float(np.linalg.norm(task.compute_error(configuration)[:3])) for task in tasks)
        if error < TOLERANCE and is_clear(configuration.q):
            states.append(configuration.q[robot.command_index])
        if len(states) == count:
            return np.array(states)
    raise RuntimeError(f"only {len(states)} of {count} states in {ATTEMPTS * count} tries: the box is out of reach")


def _clearance(robot: RobotSpec) -> Callable[[np.ndarray], bool]:
    """A test whether the robot at some joint positions (J,) touches neither itself, the table nor the box anywhere."""
    import mujoco

    from dexsim.backends.mujoco_model import build_spec

    # A little above the table, so that the box itself touches nothing.
    box = ObjectSpec("box", "box", BOX_SIZE, 1.0, position=(*BOX_CENTRE[:2], BOX_SIZE[2] / 2 + 0.005))
    model = build_spec(Scene(robot, objects=(box,))).compile()
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


def _posture(robot: RobotSpec, rng: np.random.Generator) -> np.ndarray:
    """Elbows bent, fingers slightly curled."""
    opened, closed = np.array(robot.open_position), np.array(robot.closed_position)
    posture = np.where(robot.is_hand, opened + rng.uniform(*FINGER_CURL) * (closed - opened), 0.0)
    for i, name in enumerate(robot.commands):
        if "elbow" in name:
            posture[i] = ELBOW_BENT
    return posture


def _palm_task(robot: RobotSpec, side: str, rng: np.random.Generator) -> Any:
    import mink

    palm = find_palm(robot, side)
    outward = 1.0 if side == "left" else -1.0
    offset = np.array([rng.uniform(-1, 1) * SPREAD[0], outward * rng.uniform(*GAP), rng.uniform(-1, 1) * SPREAD[1]])
    normal, fingers = np.array([0.0, -outward, 0.0]), np.array([1.0, 0.0, 0.0])
    facing = mink.SO3.from_matrix(np.stack([normal, np.cross(fingers, normal), fingers], axis=1))
    turn = mink.SO3.exp(rng.uniform(-TURN, TURN, 3))
    target = mink.SE3.from_rotation_and_translation(turn @ facing, np.array(BOX_CENTRE) + offset)
    task = mink.FrameTask(f"palm_{palm.side}", "site", position_cost=1.0, orientation_cost=0.3)
    task.set_target(target)
    return task


def _solve(configuration: Any, tasks: List[Any], model: Any, steps: int = 60, dt: float = 0.2) -> None:
    import mink

    limits = [mink.ConfigurationLimit(model)]
    for _ in range(steps):
        velocity = mink.solve_ik(configuration, tasks, dt, "daqp", damping=1e-3, limits=limits)
        configuration.integrate_inplace(velocity, dt)


def main() -> None:
    """Write the shipped banks."""
    for name in ROBOTS:
        robot = load(name)
        path = assets_dir() / "banks" / f"box_lift_{name}.npz"
        save_bank(path, robot, beside_box(robot, count=200))
        print(path)


if __name__ == "__main__":
    main()
