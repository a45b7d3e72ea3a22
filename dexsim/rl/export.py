"""ONNX export: what a robot has measured in, joint targets out, with a manifest that says what all of it means."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dexsim.control.actions import ControlSettings
from dexsim.control.controller import INPUTS, OUTPUTS, Controller
from dexsim.control.exported import FORMAT
from dexsim.errors import UserError
from dexsim.files import atomic_path, atomic_write
from dexsim.rl.checkpoint import Checkpoint
from dexsim.robots import RobotSpec, constants, labels
from dexsim.settings import to_dict

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
FRAME = "base of the robot: x forward, y left, z up"
# What a robot's drives are assumed to do, of its constants.
DRIVE = (
    "joint_stiffness", "joint_damping", "joint_effort", "joint_friction", "joint_delay", "joint_lag", "joint_bias",
    "link_gravity_compensation",
)  # fmt: skip


def export(controller: Controller, path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write `path` (ONNX, any batch size) and, beside it, its manifest with the suffix `.json`.

    Args:
        controller: What to export.
        path: The ONNX file.
        about: The rest of the manifest: see `describe`.

    Returns:
        The manifest, and in it `max_error`: how far onnxruntime is from torch (null if it is not installed).

    Raises:
        UserError: The packages for the export are missing.
        RuntimeError: onnxruntime and torch disagree by more than 1e-5; no file is written.
    """
    controller = controller.eval()
    with atomic_path(path) as temporary:
        _write_onnx(controller, temporary)
        error = _max_error(controller, temporary)
        if error is not None and not error <= TOLERANCE:
            raise RuntimeError(f"onnxruntime differs from torch by {error:g}, more than {TOLERANCE:g}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = {"format": FORMAT, "model": path.name, "model_sha256": digest, **about, "max_error": error}
    atomic_write(path.with_suffix(".json"), json.dumps(manifest, indent=2) + "\n")
    return manifest


def describe(
    checkpoint: Checkpoint,
    controller: Controller,
    robot: RobotSpec,
    control: ControlSettings,
    task: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the manifest says of a policy: all that a runner on a robot needs besides the network.

    Args:
        checkpoint: Whose policy it is.
        controller: As it is exported.
        robot: The robot that it was trained on.
        control: Rates and the meaning of its actions.
        task: `dexsim.env.task.Task.describe()`.
    """
    config = json.dumps(checkpoint.config, sort_keys=True)
    table = {key: value for key, value in checkpoint.spec_table.items() if key not in ("state", "task")}
    action_map = controller.action_map
    span = action_map.span.abs()
    return {
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "frame": checkpoint.frame,
        **table,
        "task": {"name": checkpoint.spec_table["task"], **task},
        "robot": robot.table(),
        "assumes": _assumed(robot, checkpoint.config["robot"]),
        "control": {
            **to_dict(control),
            "largest_step_rad": _rounded(action_map.reach * span) if action_map.relative else None,
            "lead_rad": _rounded(action_map.lead * span) if action_map.relative else None,
        },
        "inputs": _inputs(controller, task),
        "outputs": _outputs(controller, control),
        "mirror": _mirror(controller),
    }


def _assumed(robot: RobotSpec, section: Mapping[str, Any]) -> dict[str, Any]:
    """Which robot the policy assumes: nominal, or tuned to which log; what its drives do, joint by joint."""
    tuned, values = section.get("tuned"), constants(robot)
    drives = {name: dict(zip(labels(robot, name), values[name].tolist(), strict=True)) for name in DRIVE}
    facts = {key: value for key, value in (tuned or {}).items() if key != "constants"}
    return {"tuned": facts or None, "drives": drives}


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


def _inputs(controller: Controller, task: Mapping[str, Any]) -> dict[str, Any]:
    joints, number, point = ["batch", controller.num_joints], ["batch"], ["batch", 3]
    start, goals = task.get("start", {}), task.get("goals", [])
    # What a description says of the right hand's episodes becomes the left hand's so.
    image = "; where mirrored its mirror image (y negated, mirror.commands)" if controller.two_sided else ""
    return {
        "joint_position": {"shape": joints, "unit": "rad", "text": "what the encoders read, order of robot.commands"},
        "joint_target": {
            "shape": joints,
            "unit": "rad",
            "text": "the targets sent last; before the first step task.start.joint_target" + image,
        },
        "object_position": {
            "shape": point,
            "unit": "m",
            "frame": FRAME,
            "text": "centre of the object; its range is without task.randomization" + image,
            "range_at_start": start.get("object_range"),
        },
        "object_age": {"shape": number, "unit": "s", "text": "age of that estimate"},
        "object_valid": {"shape": number, "unit": "bool", "text": "whether there is an estimate"},
        "goal": {
            "shape": point,
            "unit": "m",
            "frame": FRAME,
            "text": "where the object's centre should go now" + image,
            "ranges": goals,
            "used": "goal" in controller.group.layout,
        },
        "time": {"shape": number, "unit": "s", "text": "since the episode's start"},
        "mirrored": {"shape": number, "unit": "bool", "text": "whether the left hand acts or begins: see mirror"},
    }


def _outputs(controller: Controller, control: ControlSettings) -> dict[str, Any]:
    meaning = {
        "relative": "a rate, not a target: how fast each of action_joints moves, as a share of control.arm_speed or "
        "control.hand_speed; in the mirror where mirrored",
        "absolute": "a target for each of action_joints: -1 lower limit or open hand, 1 upper limit or closed hand; "
        "in the mirror where mirrored",
    }[control.action_mode]
    count = controller.action_map.place.shape[0]
    return {
        "action": {"shape": ["batch", count], "unit": "1", "range": [-1.0, 1.0], "text": meaning},
        "next_joint_target": {
            "shape": ["batch", controller.num_joints],
            "unit": "rad",
            "text": "what to send to the drives, order of robot.commands; rate, lead and limits are applied",
        },
    }


def _mirror(controller: Controller) -> dict[str, Any] | None:
    """How left-handed episodes are played: which entry is which in the mirror, with which sign. It is in the graph."""
    if not controller.two_sided:
        return None
    parts = {
        "observation": controller.mirror_obs,
        "commands": controller.mirror_commands,
        "actions": controller.mirror_actions,
    }
    entries = {name: {"index": m.index.tolist(), "sign": m.sign.tolist()} for name, m in parts.items()}
    rule = {"input": "object_position", "entry": 1, "greater_than_m": 0.0, "decided": "at the episode's start"}
    return {"mirrored_where": rule, **entries}


def _write_onnx(controller: Controller, path: Path) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise UserError(f"export needs the package {error.name}: pip install 'dexsim[export]'") from error
    batch = torch.export.Dim("batch")
    with _silence():
        program = torch.onnx.export(
            controller,
            controller.example(2),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=tuple({0: batch} for _ in INPUTS),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    onnx.save(program.model_proto, str(path))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter from reporting each of its steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _max_error(controller: Controller, path: Path) -> float | None:
    """Return the largest difference between onnxruntime and torch, or None where onnxruntime is not installed."""
    try:
        import onnxruntime
    except ImportError:
        logger.warning("onnxruntime is not installed: the export is not checked")
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    errors: list[float] = []
    for batch in (1, 64):
        example = _spread(controller, batch)
        feeds = {name: value.numpy() for name, value in zip(INPUTS, example, strict=True)}
        outputs = session.run(list(OUTPUTS), feeds)
        with torch.no_grad():
            expected = controller(*example)
        errors += [float((torch.from_numpy(a) - b).abs().max()) for a, b in zip(outputs, expected, strict=True)]
    return max(errors)


def _spread(controller: Controller, batch: int) -> tuple[Tensor, ...]:
    """Inputs all over the range of joints and places, some of them in the mirror."""
    random = torch.Generator().manual_seed(0)
    return tuple(
        torch.rand(value.shape, generator=random) < 0.5
        if value.dtype == torch.bool
        else torch.randn(value.shape, generator=random)
        for value in controller.example(batch)
    )
