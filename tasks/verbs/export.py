"""Export a trained policy to ONNX: from observation, last joint targets and joint positions to the next targets.

The input normalizer and the action mapping are inside; the manifest beside it (`policy.json`) has the joint table,
rates, units and observation layout. Where onnxruntime is installed, the file is checked against torch to 1e-5.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dexsim import settings
from dexsim.rl import checkpoint as checkpoints
from dexsim.runs import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSettings:
    """Config of `dexsim export`.

    Attributes:
        checkpoint: Checkpoint file or run folder.
    """

    checkpoint: str


def main(config: Mapping[str, Any], run: RunFolder) -> None:
    """Write `policy.onnx` and `policy.json` into the run folder."""
    from dexsim.control.actions import ActionMap, ControlSettings
    from dexsim.rl.export import export
    from dexsim.robots import load_robot

    checkpoint = checkpoints.load(settings.build(ExportSettings, config).checkpoint)
    robot = load_robot(checkpoint.config["robot"])
    robot.check_table(checkpoint.spec_table["robot"], f"checkpoint {checkpoint.path}")
    control = settings.build(ControlSettings, checkpoint.config["control"], "control")
    manifest = export(
        checkpoint, ActionMap(robot, control, checkpoint.spec_table["action_joints"]), run.path / "policy.onnx"
    )
    if manifest["max_error"] is not None:
        run.result("max_error", manifest["max_error"], "1")
    logger.info("policy of frame %d: %s", checkpoint.frame, run.path / "policy.onnx")
