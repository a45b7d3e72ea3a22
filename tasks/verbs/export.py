"""Export a trained policy to ONNX: from what a robot has measured to its next joint targets.

Observation, mirror, input normalizer, network and action map are inside; the manifest beside it (`policy.json`) says
what the rest of a runner must know. Where onnxruntime is installed, the file is checked against torch to 1e-5.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsim import settings
from dexsim.rl import checkpoint as checkpoints
from dexsim.runs import RunFolder

if TYPE_CHECKING:
    from dexsim.control.actions import ControlSettings
    from dexsim.control.controller import Controller
    from dexsim.robots import RobotSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Config of `dexsim export`.

    Attributes:
        checkpoint: Checkpoint file or run folder.
    """

    checkpoint: str


def main(config: Mapping[str, Any], run: RunFolder) -> None:
    """Write `policy.onnx` and `policy.json` into the run folder."""
    checkpoint = _read(config)
    manifest = export(checkpoint, run.path / "policy.onnx")
    if manifest["max_error"] is not None:
        run.result("max_error", manifest["max_error"], "1")
    logger.info("policy of frame %d: %s", checkpoint.frame, run.path / "policy.onnx")


def check(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse a checkpoint that cannot be exported."""
    _parts(_read(config))


def _read(config: Mapping[str, Any]) -> checkpoints.Checkpoint:
    return checkpoints.load(settings.build(ExportSettings, config).checkpoint)


def export(checkpoint: checkpoints.Checkpoint, path: Path) -> dict[str, Any]:
    """Export the policy of a checkpoint, and return its manifest.

    Args:
        checkpoint: Whose policy.
        path: The ONNX file.
    """
    from dexsim.rl import export as onnx_export

    controller, robot, control, description = _parts(checkpoint)
    about = onnx_export.describe(checkpoint, controller, robot, control, description)
    return onnx_export.export(controller, path, about)


def _parts(checkpoint: checkpoints.Checkpoint) -> tuple[Controller, RobotSpec, ControlSettings, dict[str, Any]]:
    """Return what of a checkpoint is exported: the controller, its robot, its rates, and what it was trained for."""
    from dexsim.control.actions import ActionMap, ControlSettings
    from dexsim.control.controller import Controller
    from dexsim.rl.player import Policy
    from dexsim.robots import load_robot
    from tasks.registry import make_task

    config, table = checkpoint.config, checkpoint.spec_table
    with checkpoints.blamed(checkpoint, "exported"):
        robot = load_robot(config["robot"])
        robot.check_table(table["robot"], f"checkpoint {checkpoint.path}")
        task = make_task(config["task"], robot)
        control = settings.load(ControlSettings, "control/relative", config["control"])
        action_map = ActionMap(robot, control, table["action_joints"])
        controller = Controller(Policy.from_checkpoint(checkpoint), task.actor, robot, action_map, task.two_sided)
        description = {**task.describe(), "randomization": config["randomization"]}
    return controller, robot, control, description
