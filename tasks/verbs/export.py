"""Export a trained policy to ONNX: from what a robot has measured to its next joint targets.

Observation, mirror, input normalizer, network and action map are inside; the manifest beside it (`policy.json`) says
what the rest of a runner must know. Where onnxruntime is installed, the file is checked against torch to 1e-5.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsim import settings
from dexsim.rl import checkpoint as checkpoints
from dexsim.runs import RunFolder

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
    checkpoint = checkpoints.load(settings.build(ExportSettings, config).checkpoint)
    manifest = export(checkpoint, run.path / "policy.onnx")
    if manifest["max_error"] is not None:
        run.result("max_error", manifest["max_error"], "1")
    logger.info("policy of frame %d: %s", checkpoint.frame, run.path / "policy.onnx")


def export(checkpoint: checkpoints.Checkpoint, path: Path) -> dict[str, Any]:
    """Export the policy of a checkpoint, and return its manifest.

    Args:
        checkpoint: Whose policy.
        path: The ONNX file.
    """
    from dexsim.control.actions import ActionMap, ControlSettings
    from dexsim.control.controller import Controller
    from dexsim.rl import export as onnx_export
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
    about = onnx_export.describe(checkpoint, controller, robot, control, description)
    return onnx_export.export(controller, path, about)
