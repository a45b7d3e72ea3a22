"""Train a policy for a task with PPO.

The checkpoints of a run lie in `<run folder>/checkpoints`: `last.pt`, `previous.pt` and `best.pt` (highest success rate
in training). Ctrl-C ends a run with a checkpoint; `resume=<run folder>` goes on as if it had never stopped.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import dexsim
from dexsim import settings
from dexsim.errors import UserError, require
from dexsim.launch.overrides import assign, command, given
from dexsim.rl import checkpoint as checkpoints
from dexsim.rl.ppo import PpoSettings
from dexsim.runs import RunFolder, shortened, wilson
from tasks.registry import EnvSettings

if TYPE_CHECKING:
    from dexsim.rl.agent import PpoAgent

logger = logging.getLogger(__name__)

# What wandb's own variable WANDB_MODE may say beside our words.
TRACKING = {"dryrun": "offline", "run": "online", "": "offline"}
ON_RESUME = ("resume", "frames", "minutes", "save_minutes", "wandb")  # what may be given beside a checkpoint


@dataclass(frozen=True, kw_only=True)
class TrainSettings(EnvSettings):
    """Config of `dexsim train`; its values are in `cfg/train.yaml`.

    Attributes:
        rl: PPO.
        num_envs: Environments that are stepped together.
        seed: Of everything random.
        frames: Environment steps to train for, all environments together; None for no limit.
        minutes: Wall-clock to train for, summed over resumed runs; None for no limit.
        resume: Checkpoint or run folder to go on from.
        save_minutes: Wall-clock between two checkpoints.
        wandb: Tracking mode.
    """

    rl: PpoSettings
    num_envs: int
    seed: int
    frames: int | None
    minutes: float | None
    resume: str | None
    save_minutes: float
    wandb: Literal["offline", "online", "disabled"]

    def __post_init__(self) -> None:
        require(self.num_envs >= 1, "num_envs", self.num_envs, "at least 1")
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        require(self.frames is None or self.frames >= 1, "frames", self.frames, "at least 1, or null")
        require(self.minutes is None or self.minutes > 0, "minutes", self.minutes, "positive, or null")
        require((self.frames, self.minutes) != (None, None), "frames", None, "given when minutes is not")
        require(self.save_minutes >= 0, "save_minutes", self.save_minutes, "0 or more")


def main(config: Mapping[str, Any], run: RunFolder) -> None:
    """Train, and print where the checkpoint is."""
    options, resumed = _read(config, run.overrides)
    if resumed is not None:
        run.write_config({**settings.to_dict(options), "name": run.name})
    train(options, run, resumed)


def check(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse what cannot be trained, as far as that shows before it starts."""
    options, resumed = _read(config, overrides)
    with checkpoints.blamed(resumed, "gone on with") if resumed is not None else nullcontext():
        options.with_content().check(training=True)


def _read(config: Mapping[str, Any], overrides: Sequence[str]) -> tuple[TrainSettings, checkpoints.Checkpoint | None]:
    """Return what to train, and the checkpoint to go on from."""
    values = settings.plain(config)
    values["wandb"] = TRACKING.get(values["wandb"], values["wandb"])
    if values.get("resume") is None:
        return settings.build(TrainSettings, values), None
    resumed = checkpoints.load(str(values["resume"]))
    values = resumed_config(values, given(overrides), resumed)
    with checkpoints.blamed(resumed, "gone on with"):
        return settings.build(TrainSettings, values), resumed


def resumed_name(path: str) -> str | None:
    """Return the name of the run that wrote a checkpoint, which a resumed one keeps."""
    return checkpoints.load(path).name


def train(options: TrainSettings, run: RunFolder, resumed: checkpoints.Checkpoint | None = None) -> None:
    """Train a policy into a run folder.

    Args:
        options: What to train.
        run: Takes the checkpoints, `curve.csv`, summaries and results.
        resumed: Checkpoint to go on from, with the config that `options` were built from.

    Raises:
        KeyboardInterrupt: Training was interrupted; its checkpoint is written.
        UserError: The options name something that is not there, or the checkpoint cannot be gone on with; or the disk
            was full when the last checkpoint was due.
    """
    from dexsim.rl.agent import Budget, PpoAgent
    from dexsim.rl.observer import TrainingObserver, wandb_run

    options = options.with_content()
    config = settings.to_dict(options)
    with checkpoints.blamed(resumed, "gone on with") if resumed is not None else nullcontext():
        env = options.make(options.num_envs, options.seed, dump_dir=run.path, training=True)
        identity = {
            "config": config, "spec_table": env.spec_table(), "version": dexsim.__version__, "name": run.name,
        }  # fmt: skip
        if resumed is not None:
            checkpoints.check_matches(resumed, identity["spec_table"])
    budget = Budget(options.frames, options.minutes)
    with wandb_run(options.wandb, run.path, shortened(config)) as tracked:
        observer = TrainingObserver(run.path, window=max(500, options.num_envs), wandb_run=tracked)
        agent = PpoAgent(env, options.rl, budget, observer, run.path, identity, options.seed, 60 * options.save_minutes)
        if resumed is not None:
            agent.resume(resumed)
            require(agent.progress < 1, "resume", options.resume, "of a run with frames or minutes left; give more")
        try:
            interrupted = agent.learn()
        finally:
            observer.close()
            env.close()
    _report(agent, run)
    if interrupted:
        logger.info("interrupted; go on with: %s", command("train", assign("resume", run.path)))
        raise KeyboardInterrupt


def resumed_config(
    values: Mapping[str, Any], given: Collection[str], checkpoint: checkpoints.Checkpoint
) -> dict[str, Any]:
    """Return the config to go on with: that of the checkpoint, and what was asked for beside it.

    Args:
        values: The config as composed.
        given: Which of its keys the user gave.
        checkpoint: Where to go on from.

    Raises:
        UserError: Something was asked for that an exact resume cannot change.
    """
    asked = {key: value for key, value in values.items() if key in given}
    if "WANDB_MODE" in os.environ:  # wandb's own variable is of this run, not of the one before
        asked["wandb"] = values["wandb"]
    fixed = [key for key, value in asked.items() if key not in ON_RESUME and value != checkpoint.config.get(key)]
    # Groups that change other sections, like init, are no keys themselves.
    fixed += sorted(key for key in given if key not in values)
    if fixed:
        raise UserError(
            f"{', '.join(fixed)} cannot be given with resume={values['resume']}, which goes on with the config of its "
            f"checkpoint; allowed: {', '.join(ON_RESUME[1:])}"
        )
    return {**checkpoint.config, **asked}


def _report(agent: PpoAgent, run: RunFolder) -> None:
    rate = agent.frame / max(agent.seconds, 1e-9)
    run.result("frames", agent.frame, "1")
    run.result("wall_time", agent.seconds, "s")
    run.result("steps_per_second", rate, "1/s")
    run.result("nonfinite_environments", agent.vec_env.env.nonfinite_count, "1")
    for name, seconds in agent.spent.items():  # collecting is simulating and choosing actions
        run.result(f"{name}_time", seconds, "s")
    successes = agent.algo_observer.episodes("success")
    if successes:
        interval = wilson(int(sum(successes)), len(successes))
        run.result("training_success", sum(successes) / len(successes), "1", len(successes), interval)
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in agent.spent.items())
    logger.info("%d steps in %.1f min, %.0f steps/s (%s)", agent.frame, agent.seconds / 60, rate, spent)
    logger.info("checkpoint: %s", agent.last_checkpoint)
