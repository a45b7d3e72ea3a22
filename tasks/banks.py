"""Banks of initial hand-object states (arXiv 2502.20396, section C: task-aware initialization): their file format.

A bank is an `.npz` with a JSON header: the version of the format, the task, and the joint table of the robot it was
made with. It is refused against another robot.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dexsim.backends import InitialState
from dexsim.control.symmetry import QUATERNION, VECTOR, Mirror, mirror_commands
from dexsim.env.draws import EpisodeDraws
from dexsim.env.randomization import RandomizationSettings
from dexsim.errors import UserError, require
from dexsim.paths import assets_dir
from dexsim.robots import RobotSpec
from dexsim.robots.spec import SIDES
from dexsim.rotations import quat_from_yaw, quat_multiply, tilt_cosine
from dexsim.runs import atomic_path

BANK_VERSION = 3
INITS = ("bank", "default")
# Joints that are not at zero while an arm waits, rad.
REST_SHOULDERS = {"left_shoulder_roll_joint": 0.5, "right_shoulder_roll_joint": -0.5}
REST_ELBOW = -1.4
# What Table 4 scales an object by at most; what hands of a shipped bank stay clear of includes it.
LARGEST_SCALE = 1.05
FIELDS = ("joint_position", "joint_target", "object_pose", "object_size", "stage")
# An object that differs by more from the recorded one, as a ratio, is not put into a hand; Table 4 scales by 5%.
SIZE_TOLERANCE = 0.06
STANDING = 0.98  # cosine of the tilt of an object that stands, at least


@dataclass(frozen=True)
class Bank:
    """Hand-object states to start episodes from; M states, J moving joints, K objects.

    Attributes:
        joint_position: (M, J) rad, all moving joints in tree order, coupled ones included.
        joint_target: (M, 26) rad.
        object_pose: (M, K, 7) position in m and quaternion w x y z.
        object_size: (M, K, 3) full extents of the objects they were recorded with, m.
        stage: (M,) int64, which stage of the task a state belongs to; 0 is the first.
    """

    joint_position: Tensor
    joint_target: Tensor
    object_pose: Tensor
    object_size: Tensor
    stage: Tensor

    def __len__(self) -> int:
        return len(self.joint_target)


def from_targets(robot: RobotSpec, targets: np.ndarray, object_pose: np.ndarray, object_size: Sequence[float]) -> Bank:
    """A bank of states that hold nothing: joints where their targets (M, 26) in rad are, objects at (M, K, 7).

    Their size is that of every object, (3,) in m.
    """
    stored = targets.astype(np.float32).astype(np.float64)
    joints, stage = robot.expand_coupled(stored), torch.zeros(len(stored), dtype=torch.long)
    size = torch.tensor(object_size, dtype=torch.float64).expand(*object_pose.shape[:2], 3).clone()
    return Bank(torch.from_numpy(joints), torch.from_numpy(stored), torch.from_numpy(object_pose), size, stage)


def save_bank(path: Path, robot: RobotSpec, bank: Bank, task: str) -> None:
    """Write a bank made for a task, with the robot's joint table."""
    header = json.dumps({"version": BANK_VERSION, "task": task, "robot": robot.table()})
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: getattr(bank, name).numpy() for name in FIELDS}
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
    bank = Bank(**arrays)
    _check(bank, robot, f"task.bank = {name!r}: {path.name}")
    return bank


def _check(bank: Bank, robot: RobotSpec, what: str) -> None:
    """Refuse states that no episode could start from."""
    count, objects = len(bank.stage), bank.object_pose.shape[1] if bank.object_pose.ndim == 3 else 0
    shapes = {
        "joint_position": (count, len(robot.joint_names)),
        "joint_target": (count, len(robot.commands)),
        "object_pose": (count, max(1, objects), 7),
        "object_size": (count, max(1, objects), 3),
        "stage": (count,),
    }
    for field, shape in shapes.items():
        values = getattr(bank, field)
        if tuple(values.shape) != shape or not bool(torch.isfinite(values).all()):
            raise UserError(f"{what}: {field} is {tuple(values.shape)}; must be {shape}, all of it finite")
    if not bool((bank.stage == 0).any()):
        raise UserError(f"{what}: none of its {count} states is of the first stage, which an evaluation starts from")


def initial_bank(init: str, name: str, robot: RobotSpec, task: str, elbow: float = REST_ELBOW) -> Bank:
    """The bank that episodes start from: as recorded, or, for comparison, only its objects (Table 2).

    Args:
        init: one of `INITS`; "default": hands at rest at the robot's sides, objects as in the bank's first stage.
        name: of the bank.
        robot: the robot.
        task: name of the task.
        elbow: how far elbows are bent at rest, rad: more for what stands where the hands would be.
    """
    require(init in INITS, "task.init", init, f"one of {', '.join(INITS)}")
    bank = load_bank(name, robot, task)
    if init == "bank":
        return bank
    pose = bank.object_pose[bank.stage == 0]
    resting = from_targets(robot, np.tile(rest_position(robot, elbow), (len(pose), 1)), pose.numpy(), (0.0, 0.0, 0.0))
    return replace(resting, object_size=bank.object_size[bank.stage == 0])


class StartStates:
    """Which states of a bank episodes start from: the first stage's, and while a policy is trained some later ones.

    Args:
        bank: the bank.
        later_starts: share of episodes that start from later stages, where the state drawn fits the object: in an
            environment's first episode, and after `later_episodes`; in between it changes in proportion.
        later_episodes: how many episodes of an environment it takes to come from the first share to the second.
    """

    def __init__(self, bank: Bank, later_starts: tuple[float, float], later_episodes: int) -> None:
        self._bank, self._shares, self._episodes = bank, later_starts, later_episodes
        self._first = (bank.stage == 0).nonzero()[:, 0]
        order = torch.argsort(bank.stage, stable=True)
        self._later = order[bank.stage[order] > 0]  # stage by stage
        self._counts = torch.unique(bank.stage[self._later], return_counts=True)[1]
        self._offsets = self._counts.cumsum(0) - self._counts

    def choose(self, draws: EpisodeDraws, object_size: Tensor) -> Tensor:
        """States (n,) for some episodes, whose objects' sizes are (n, 3 K) in m."""
        chosen = self._first[draws.index("bank", len(self._first))]
        if len(self._later) == 0:
            return chosen
        early, late = self._shares
        done = (draws.episodes.double() / self._episodes).clamp(max=1.0)
        later = self._draw_later(draws)
        recorded = self._bank.object_size[later].flatten(1)
        fits = (object_size / recorded - 1).abs().amax(dim=1) < SIZE_TOLERANCE
        wanted = draws.uniform("later", 1)[:, 0] < early + (late - early) * done
        return torch.where(wanted & fits, later, chosen)

    def _draw_later(self, draws: EpisodeDraws) -> Tensor:
        """States (n,) of later stages, each stage as often as the others."""
        stage = draws.index("later_stage", len(self._counts))
        count, offset = self._counts[stage], self._offsets[stage]
        place = torch.minimum((draws.uniform("later_bank", 1)[:, 0] * count).long(), count - 1)
        return self._later[offset + place]


def check_fit(name: str, size: Sequence[float], largest: Sequence[float], init: str, bank: str | None) -> None:
    """Refuse an object that would start inside the hands of a shipped bank; a file is made for whatever it is.

    Args:
        name: of the size, in the error.
        size: (3,) full extents in m.
        largest: (3,) that the bank's hands stay clear of, Table 4's scale included, m.
        init: one of `INITS`; hands at rest are clear of everything.
        bank: as a task's settings have it.
    """
    if init == "default" or (bank and bank.endswith(".npz")):
        return
    limits = [round(extent / LARGEST_SCALE, 4) for extent in largest]
    fits = all(extent <= limit + 1e-6 for extent, limit in zip(size, limits, strict=True))
    made_for = "which the shipped bank was made for; record another from init=default, task.bank=<file>.npz"
    require(fits, name, [round(extent, 4) for extent in size], f"at most {limits}, {made_for}")


def check_starts(later_starts: tuple[float, float], later_episodes: int) -> None:
    """Refuse shares and numbers of episodes that `StartStates` cannot take."""
    inside = all(0 <= share <= 1 for share in later_starts)
    require(inside, "later_starts", list(later_starts), "two shares from 0 to 1")
    require(later_episodes >= 1, "later_episodes", later_episodes, "at least 1")


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
    # A larger one than the recorded does not start inside the table.
    standing = tilt_cosine(recorded[:, 3:]) > STANDING
    height = torch.where(standing, torch.maximum(recorded[:, 2], rest), recorded[:, 2])
    recorded = torch.cat([recorded[:, :2], height[:, None], recorded[:, 3:]], dim=1)
    return torch.where((bank.stage[chosen] == 0)[:, None], pose, recorded)


def rest_position(robot: RobotSpec, elbow: float = REST_ELBOW) -> np.ndarray:
    """Commanded joint positions (26,) in rad of a robot that waits: elbows bent, open hands beside its work."""
    joints = np.array(robot.open_position) * robot.is_hand
    elbows = {f"{side}_elbow_pitch_joint": elbow for side in SIDES}
    for name, angle in {**REST_SHOULDERS, **elbows}.items():
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
    return Bank(torch.from_numpy(joints), target, pose, bank.object_size, bank.stage)
