"""Banks of initial hand-object states (arXiv 2502.20396, section C: task-aware initialization): their file format.

A bank is an `.npz` with a JSON header: the version of the format, the task, and the joint table of the robot it was
made with. It is refused against another robot.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import numpy as np
import torch
from torch import Tensor

from dexsim.backends import InitialState
from dexsim.errors import UserError, require
from dexsim.paths import assets_dir
from dexsim.randomization import RandomizationSettings
from dexsim.rng import EpisodeDraws
from dexsim.robots import RobotSpec
from dexsim.rotations import quat_from_yaw, quat_multiply
from dexsim.runs import atomic_path
from dexsim.symmetry import QUATERNION, VECTOR, Mirror, mirror_commands

BANK_VERSION = 2
INITS = ("bank", "default")
# Joints that are not at zero while an arm waits, rad.
REST = {
    "left_shoulder_roll_joint": 0.5,
    "left_elbow_pitch_joint": -1.4,
    "right_shoulder_roll_joint": -0.5,
    "right_elbow_pitch_joint": -1.4,
}
FIELDS = ("joint_position", "joint_target", "object_pose", "stage")


@dataclass(frozen=True)
class Bank:
    """Hand-object states to start episodes from; M states, J moving joints, K objects.

    Attributes:
        joint_position: (M, J) rad, all moving joints in tree order, coupled ones included.
        joint_target: (M, 26) rad.
        object_pose: (M, K, 7) position in m and quaternion w x y z.
        stage: (M,) int64, which stage of the task a state belongs to; 0 is the first.
    """

    joint_position: Tensor
    joint_target: Tensor
    object_pose: Tensor
    stage: Tensor

    def __len__(self) -> int:
        return len(self.joint_target)


def from_targets(robot: RobotSpec, targets: np.ndarray, object_pose: np.ndarray) -> Bank:
    """A bank of states that hold nothing: joints where their targets (M, 26) in rad are, objects at (M, K, 7)."""
    stored = targets.astype(np.float32).astype(np.float64)
    joints, stage = robot.expand_coupled(stored), torch.zeros(len(stored), dtype=torch.long)
    return Bank(torch.from_numpy(joints), torch.from_numpy(stored), torch.from_numpy(object_pose), stage)


def save_bank(path: Path, robot: RobotSpec, bank: Bank, task: str) -> None:
    """Write a bank made for a task, with the robot's joint table."""
    header = json.dumps({"version": BANK_VERSION, "task": task, "robot": robot.table()})
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: Dict[str, Any] = {name: getattr(bank, name).numpy() for name in FIELDS}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, header=np.array(header), **arrays)


def load_bank(name: str, robot: RobotSpec, task: str) -> Bank:
    """Read a bank: a file, or a name in `assets/banks` (the robot's own one).

    Raises:
        UserError: no such bank, not a bank, of another version, or made for another task or robot.
    """
    path = Path(name) if name.endswith(".npz") else assets_dir() / "banks" / f"{name}_{robot.name}.npz"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (assets_dir() / "banks").glob("*.npz")))
        raise UserError(f"task.bank = {name!r}: no file {path}; shipped banks: {known}")
    try:
        with np.load(path) as data:
            header = json.loads(str(data["header"]))
            version, made_for, table = header["version"], header.get("task"), header["robot"]
            arrays = {field: torch.from_numpy(data[field]) for field in FIELDS if version == BANK_VERSION}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"task.bank = {name!r}: {path} is not a bank of initial states ({error})") from None
    if version != BANK_VERSION:
        raise UserError(f"task.bank = {name!r}: {path.name} has version {version}; allowed: {BANK_VERSION}")
    if made_for != task:
        raise UserError(f"task.bank = {name!r}: {path.name} was made for task {made_for!r}, not {task!r}")
    robot.check_table(table, f"bank {path.name}")
    return Bank(**arrays)


def initial_bank(init: str, name: str, robot: RobotSpec, task: str) -> Bank:
    """The bank that episodes start from: as recorded, or, for comparison, only its objects (Table 2).

    Args:
        init: one of `INITS`; "default": hands at rest at the robot's sides, objects as in the bank's first stage.
        name: of the bank.
        robot: the robot.
        task: name of the task.
    """
    require(init in INITS, "task.init", init, f"one of {', '.join(INITS)}")
    bank = load_bank(name, robot, task)
    if init == "bank":
        return bank
    pose = bank.object_pose[bank.stage == 0]
    return from_targets(robot, np.tile(rest_position(robot), (len(pose), 1)), pose.numpy())


def place_object(
    bank: Bank, chosen: Tensor, rest: Tensor, draws: EpisodeDraws, jitter: RandomizationSettings
) -> Tensor:
    """Where the first object of some episodes starts, (n, 7): as in the bank, resting, shifted and turned.

    An object that a hand holds already, in a state of a later stage, starts where it was recorded.

    Args:
        bank: the bank.
        chosen: (n,) its states.
        rest: (n,) height of the object's centre when it rests, m.
        draws: of the episodes.
        jitter: by how much poses vary.
    """
    recorded = bank.object_pose[chosen, 0]
    shift = draws.uniform("initial_position", 2, -jitter.initial_position, jitter.initial_position)
    turn = quat_from_yaw(draws.uniform("initial_yaw", 1, -jitter.initial_yaw, jitter.initial_yaw)[:, 0])
    turned = quat_multiply(turn, recorded[:, 3:])
    pose = torch.cat([recorded[:, :2] + shift, rest[:, None], turned], dim=1)
    return torch.where((bank.stage[chosen] == 0)[:, None], pose, recorded)


def rest_position(robot: RobotSpec) -> np.ndarray:
    """Commanded joint positions (26,) in rad of a robot that waits: elbows bent, open hands beside its work."""
    joints = np.array(robot.open_position) * robot.is_hand
    for name, angle in REST.items():
        joints[robot.commands.index(name)] = angle
    return joints


class TwoSidedBank:
    """A bank and its mirror image, for a task that either hand may play (`Task.two_sided`).

    Args:
        bank: as the right hand plays it.
        robot: whose joints they are.
    """

    def __init__(self, bank: Bank, robot: RobotSpec) -> None:
        self._right, image = bank, mirror_bank(bank, robot)
        self._position = torch.stack([bank.joint_position, image.joint_position])
        self._target = torch.stack([bank.joint_target, image.joint_target])

    def state(
        self, chosen: Tensor, mirrored: Tensor, rest: Tensor, draws: EpisodeDraws, jitter: RandomizationSettings
    ) -> InitialState:
        """How some episodes start: states `chosen` (n,) of the bank, in the mirror where `mirrored` (n,) says so.

        The other arguments are those of `place_object`.
        """
        pose = place_object(self._right, chosen, rest, draws, jitter)
        image = pose * torch.tensor([*VECTOR, *QUATERNION], dtype=torch.float64)
        pose = torch.where(mirrored[:, None], image, pose)
        side = mirrored.long()
        return InitialState(self._position[side, chosen], self._target[side, chosen], pose[:, None])


def mirrored_goals(goals: Tensor, mirrored: Tensor) -> Tensor:
    """Goals (n, P, 3), in the mirror where `mirrored` (n,) says so."""
    return torch.where(mirrored[:, None, None], goals * torch.tensor(VECTOR, dtype=torch.float64), goals)


def mirror_bank(bank: Bank, robot: RobotSpec) -> Bank:
    """The same states in the mirror: left hand for right, left for right."""
    image = Mirror(mirror_commands(robot))
    target = image(bank.joint_target)
    joints = robot.expand_coupled(image(bank.joint_position[:, robot.command_index]).numpy())
    pose = bank.object_pose * torch.tensor([*VECTOR, *QUATERNION], dtype=torch.float64)
    return Bank(torch.from_numpy(joints), target, pose, bank.stage)
