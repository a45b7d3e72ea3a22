"""Banks of initial hand-object states (arXiv 2502.20396, section C: task-aware initialization): their file format.

A bank is an `.npz` with a JSON header: the version of the format, the task, and the joint table of the robot it was
made with. It is refused against another robot; to one that has been calibrated since, its states are fitted.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dexsim.control.symmetry import QUATERNION, VECTOR, Mirror, mirror_commands
from dexsim.errors import UserError, one_line, parsing, require
from dexsim.files import atomic_path
from dexsim.paths import assets_dir
from dexsim.robots import RobotSpec

BANK_VERSION = 3
SUFFIX = ".npz"
BankName = str | Mapping[str, Any]  # a name, a file, or the content of one
INITS = ("bank", "default")
# The posture of a robot that waits, hands beside its work, and the role of the joints that bend its elbows.
REST, ELBOW = "rest", "elbow_pitch"
FIELDS = ("joint_position", "joint_target", "object_pose", "object_size", "stage")


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

    def to(self, device: torch.device | str | None) -> Bank:
        """The same states on a device."""
        return Bank(**{name: getattr(self, name).to(device=device) for name in FIELDS})


def from_targets(robot: RobotSpec, targets: np.ndarray, object_pose: np.ndarray, object_size: Sequence[float]) -> Bank:
    """A bank of states that hold nothing: joints where their targets (M, 26) in rad are, objects at (M, K, 7).

    Their size is that of every object, (3,) in m.
    """
    stored = targets.astype(np.float32).astype(np.float64)
    joints, stage = robot.expand_coupled(stored), torch.zeros(len(stored), dtype=torch.long, device="cpu")
    size = torch.tensor(object_size, dtype=torch.float64, device="cpu").expand(*object_pose.shape[:2], 3).clone()
    return Bank(torch.from_numpy(joints), torch.from_numpy(stored), torch.from_numpy(object_pose), size, stage)


def save_bank(path: Path, robot: RobotSpec, bank: Bank, task: str) -> None:
    """Write a bank made for a task, with the robot's joint table."""
    header = json.dumps({"version": BANK_VERSION, "task": task, "robot": robot.table()})
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: getattr(bank, name).numpy() for name in FIELDS}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, header=np.array(header), **arrays)


def is_own(bank: BankName) -> bool:
    """Whether a bank is one of the user's: a file, or the content of one."""
    return not isinstance(bank, str) or bank.lower().endswith(SUFFIX)


def with_content(bank: BankName) -> BankName:
    """A bank of the user's as a checkpoint keeps it, whatever becomes of the file; the name of a shipped one as it is.

    The content says where the file was, and has its SHA-256 and its bytes in base64.

    Raises:
        UserError: no such file.
    """
    if not isinstance(bank, str) or not is_own(bank):
        return bank
    path, data = Path(bank).expanduser(), _read(bank)
    packed = base64.b64encode(data).decode("ascii")
    return {"file": str(path.absolute()), "sha256": hashlib.sha256(data).hexdigest(), "npz": packed}


def load_bank(bank: BankName, robot: RobotSpec, task: str) -> Bank:
    """Read a bank: a file, a name in `assets/banks` (the robot's own one), or what `with_content` has made of it.

    Raises:
        UserError: no such bank, not a bank, of another version, or made for another task or robot.
    """
    name, data = _unpacked(bank) if isinstance(bank, Mapping) else (bank, _read(bank, robot.name))
    what = f"task.bank = {name!r}: {Path(name).name}"
    with parsing(f"task.bank = {name!r}", "a bank of initial states"):
        if not zipfile.is_zipfile(io.BytesIO(data)):
            raise ValueError("no zip archive")  # of which numpy would say that it is a pickle
        with np.load(io.BytesIO(data)) as stored:
            header = json.loads(str(stored["header"]))
            version, made_for, table = header["version"], header.get("task"), header["robot"]
            arrays = {field: _tensor(field, stored[field]) for field in FIELDS if version == BANK_VERSION}
    if version != BANK_VERSION:
        raise UserError(f"{what} has version {version}; allowed: {BANK_VERSION}")
    if made_for != task:
        raise UserError(f"{what} was made for task {made_for!r}, not {task!r}")
    robot.check_table(table, f"bank {Path(name).name}")
    read = Bank(**arrays)
    _check(read, robot, what)
    return read if table == robot.table() else _fitted(read, robot, table)


def _tensor(field: str, values: np.ndarray) -> Tensor:
    """Numbers of a field with at least one axis, as a bank has them."""
    if values.ndim == 0 or values.dtype.kind not in "fiu":
        raise UserError(f"task.bank: {field} is an array of {values.dtype} with {values.ndim} axes: must be numbers")
    return torch.from_numpy(values.astype(np.int64 if field == "stage" else np.float64))


def _read(name: str, robot: str = "") -> bytes:
    """The bytes of a bank's file."""
    path = Path(name).expanduser() if is_own(name) else assets_dir() / "banks" / f"{name}_{robot}{SUFFIX}"
    try:
        return path.read_bytes()
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in (assets_dir() / "banks").glob(f"*{SUFFIX}")))
        why = f"no file {path}" if isinstance(error, FileNotFoundError) else f"{path}: {error.strerror}"
        raise UserError(f"task.bank = {name!r}: {why}; shipped banks: {known}") from None


def _unpacked(content: Mapping[str, Any]) -> tuple[str, bytes]:
    """Path and bytes of a bank's file in a `with_content`."""
    try:
        name, data = str(content["file"]), base64.b64decode(content["npz"], validate=True)
        sound = hashlib.sha256(data).hexdigest() == content["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"task.bank: not the content of a bank ({type(error).__name__}: {one_line(error)})") from None
    if not sound:
        raise UserError(f"task.bank: the content of {name} is not what its sha256 says")
    return name, data


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


def _fitted(bank: Bank, robot: RobotSpec, table: dict[str, Any]) -> Bank:
    """The states of a bank for a robot whose limits and couplings are others than in the table it was made with.

    Commanded joints stay where they are, within the new limits, and coupled joints follow by the new couplings. While
    nothing is held, that is a state as good as the recorded one. A hand that holds an object in a later stage was
    recorded as physics had left it, its coupled joints pressed off their couplings a little: they keep that distance,
    and move by no more than the couplings did. It may hold the object less well than it was recorded. Such states only
    serve training, and one that drops its object ends like any other that has lost it.
    """
    then = torch.tensor(table["limits"], dtype=torch.float64, device="cpu")
    target = _into_limits(bank.joint_target, robot, then)
    recorded = bank.joint_position[:, robot.command_index]
    followed = torch.from_numpy(robot.expand_coupled(_into_limits(recorded, robot, then).numpy()))
    k, b = (
        torch.tensor([[k, b] for _, _, k, b in table["couplings"]], dtype=torch.float64, device="cpu").reshape(-1, 2).T
    )
    source = [robot.commands.index(name) for _, name, _, _ in table["couplings"]]
    pressed = bank.joint_position[:, robot.coupled_index] - (k * recorded[:, source] + b)
    later = (bank.stage > 0)[:, None]
    followed[:, robot.coupled_index] += torch.where(later, pressed, torch.zeros_like(pressed))
    return replace(bank, joint_position=followed, joint_target=target)


def _into_limits(position: Tensor, robot: RobotSpec, then: Tensor) -> Tensor:
    """Positions (M, 26) of commanded joints within limits that are others than `then` (26, 2) they were, rad."""
    now = torch.from_numpy(robot.command_limits)
    low, high = torch.where(now == then, position.new_tensor([-torch.inf, torch.inf]), now).T
    return position.clamp(low, high)


def initial_bank(init: str, name: BankName, robot: RobotSpec, task: str, elbow: float | None = None) -> Bank:
    """The bank that episodes start from: as recorded, or, for comparison, only its objects (Table 2).

    Args:
        init: one of `INITS`; "default": hands at rest at the robot's sides, objects as in the bank's first stage.
        name: of the bank.
        robot: the robot.
        task: name of the task.
        elbow: how far elbows are bent at rest, rad: more for what stands where the hands would be; None for as far as
            the robot's posture of that name has them.
    """
    require(init in INITS, "task.init", init, f"one of {', '.join(INITS)}")
    bank = load_bank(name, robot, task)
    if init == "bank":
        return bank
    pose = bank.object_pose[bank.stage == 0]
    resting = from_targets(robot, np.tile(rest_position(robot, elbow), (len(pose), 1)), pose.numpy(), (0.0, 0.0, 0.0))
    return replace(resting, object_size=bank.object_size[bank.stage == 0])


def rest_position(robot: RobotSpec, elbow: float | None = None) -> np.ndarray:
    """Commanded joint positions (26,) in rad of a robot that waits: elbows bent, open hands beside its work."""
    joints = robot.posture(REST)
    if elbow is not None:
        joints[[robot.joint(name).role == ELBOW for name in robot.commands]] = elbow
    return np.clip(joints, *robot.command_limits.T)


def mirror_bank(bank: Bank, robot: RobotSpec) -> Bank:
    """The same states in the mirror: left hand for right, left for right; within limits, where the two sides differ."""
    image = Mirror(mirror_commands(robot), "cpu")
    limits = torch.from_numpy(robot.command_limits)
    mirrored = torch.stack([image(end) for end in limits.T], dim=1).sort(dim=1).values
    target = _into_limits(image(bank.joint_target), robot, mirrored)
    joints = _into_limits(image(bank.joint_position[:, robot.command_index]), robot, mirrored)
    joints = robot.expand_coupled(joints.numpy())
    pose = bank.object_pose * bank.object_pose.new_tensor([*VECTOR, *QUATERNION])
    return Bank(torch.from_numpy(joints), target, pose, bank.object_size, bank.stage)
