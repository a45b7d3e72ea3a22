"""Train box lift for a few minutes, evaluate it, and write a video and a short report.

No randomization and the small networks for CPUs; what it shows is that everything works here, not a policy for a robot.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dexsim import cli, settings
from dexsim.errors import require
from dexsim.launch.overrides import assign
from dexsim.runs import RunFolder
from tasks.verbs.report import write_report

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """Config of `dexsim demo`; its values are in `cfg/demo.yaml`.

    Attributes:
        minutes: Of training.
        episodes: Of evaluation.
        seed: Of training.
    """

    minutes: float
    episodes: int
    seed: int

    def __post_init__(self) -> None:
        require(self.minutes > 0, "minutes", self.minutes, "positive")
        require(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")


def main(config: Mapping[str, Any], run: RunFolder) -> None:
    """Train, evaluate, report."""
    options = settings.build(DemoSettings, config)
    common = ["name=demo", assign("runs_dir", run.path)]
    limits = [f"minutes={options.minutes}", "frames=null", f"seed={options.seed}"]
    training = cli.run("train", ["task=box_lift", "rl=cpu", "randomization=none", "wandb=disabled", *limits, *common])
    evaluation = cli.run(
        "evaluate", [assign("checkpoint", training), f"episodes={options.episodes}", "video=true", *common]
    )
    for name in ("video.mp4", "result.json"):
        shutil.copy(evaluation / name, run.path / name)
    write_report(run.path / "report.html", "Box lift", training, evaluation)
    logger.info("checkpoint: %s", training / "checkpoints" / "last.pt")
    logger.info("video:      %s", run.path / "video.mp4")
    logger.info("report:     %s", run.path / "report.html")


def check(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse settings that cannot be."""
    settings.build(DemoSettings, config)
