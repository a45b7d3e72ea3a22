"""Train a policy for a task with PPO.

The checkpoints of a run lie in `<run folder>/checkpoints`: `last.pt`, `previous.pt` and `best.pt` (highest success rate
in training). Ctrl-C ends a run with a checkpoint; `resume=<run folder>` goes on as if it had never stopped.
`from=<run folder>` starts a new run with the networks and the config of another, on another robot say.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import dexsim
from dexsim import settings
from dexsim.control.actions import ControlSettings
from dexsim.errors import UserError, require
from dexsim.launch.overrides import assign, command, given, put_given
from dexsim.rl import checkpoint as checkpoints
from dexsim.rl.ppo import PpoSettings
from dexsim.robots import load_robot
from dexsim.runs import RunFolder, shortened, wilson
from tasks.registry import EnvSettings

if TYPE_CHECKING:
    from dexsim.rl.agent import PpoAgent

logger = logging.getLogger(__name__)

# What wandb's own variable WANDB_MODE may say beside our words.
TRACKING = {"dryrun": "offline", "run": "online", "": "offline"}
ON_RESUME = ("resume", "frames", "minutes", "save_minutes", "wandb")  # what may be given beside a checkpoint
# Keys of `rl` that say what the networks are.
NETWORKS = ("actor.units", "critic.units", "activation", "normalize_input", "normalize_value")


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
        from_: Checkpoint or run folder whose networks and optimizer a new run starts with; its key is `from`.
        save_minutes: Wall-clock between two checkpoints.
        wandb: Tracking mode.
    """

    rl: PpoSettings
    num_envs: int
    seed: int
    frames: int | None
    minutes: float | None
    resume: str | None
    from_: str | None
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
    options, before = _read(config, run.overrides)
    if before is not None:
        run.write_config({**settings.to_dict(options), "name": run.name})
    train(options, run, before)


def check(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse what cannot be trained, as far as that shows before it starts."""
    options, before = _read(config, overrides)
    with _blamed(before):
        options.with_content().check(training=True)
        if before is not None and options.resume is None:
            _check_start(options, before)


def _read(config: Mapping[str, Any], overrides: Sequence[str]) -> tuple[TrainSettings, checkpoints.Checkpoint | None]:
    """Return what to train, and the checkpoint to go on from or to start from."""
    values = settings.plain(config)
    values["wandb"] = TRACKING.get(values["wandb"], values["wandb"])
    resume, start = values.get("resume"), values.get("from")
    if resume is None and start is None:
        return settings.build(TrainSettings, values), None
    if resume is not None and start is not None:
        raise UserError(
            f"from={start} and resume={resume} cannot be given together: resume goes on with a run as it was, from "
            "starts a new one"
        )
    before = checkpoints.load(str(start if resume is None else resume))
    if resume is None:
        values = started_config(values, overrides, before)
    else:
        values = resumed_config(values, given(overrides), before)
    with _blamed(before):
        return settings.build(TrainSettings, values), before


def _blamed(checkpoint: checkpoints.Checkpoint | None) -> AbstractContextManager[None]:
    return nullcontext() if checkpoint is None else checkpoints.blamed(checkpoint, "gone on with")


def name_from(path: str) -> str:
    """Return the name of a run that starts from a checkpoint: another than that of the run that wrote it."""
    checkpoint = checkpoints.load(path)
    return f"{checkpoint.name or checkpoint.config['task']['name']}_next"


def resumed_name(path: str) -> str | None:
    """Return the name of the run that wrote a checkpoint, which a resumed one keeps."""
    return checkpoints.load(path).name


def train(options: TrainSettings, run: RunFolder, before: checkpoints.Checkpoint | None = None) -> None:
    """Train a policy into a run folder.

    Args:
        options: What to train.
        run: Takes the checkpoints, `curve.csv`, summaries and results.
        before: Checkpoint to go on from (`options.resume`) or to start from (`options.from_`).

    Raises:
        KeyboardInterrupt: Training was interrupted; its checkpoint is written.
        UserError: The options name something that is not there, or the checkpoint cannot be gone on with; or the disk
            was full when the last checkpoint was due.
    """
    from dexsim.rl.agent import Budget, PpoAgent
    from dexsim.rl.observer import TrainingObserver, wandb_run

    options = options.with_content()
    config, starts = settings.to_dict(options), options.resume is None
    with _blamed(before):
        env = options.make(options.num_envs, options.seed, dump_dir=run.path, training=True)
        identity = {
            "config": config, "spec_table": env.spec_table(), "version": dexsim.__version__, "name": run.name,
        }  # fmt: skip
        if before is not None:
            checkpoints.check_matches(before, identity["spec_table"], critic=starts)
            if starts:
                _check_networks(options, before)
    budget = Budget(options.frames, options.minutes)
    with wandb_run(options.wandb, run.path, shortened(config)) as tracked:
        observer = TrainingObserver(run.path, window=max(500, options.num_envs), wandb_run=tracked)
        agent = PpoAgent(env, options.rl, budget, observer, run.path, identity, options.seed, 60 * options.save_minutes)
        if before is not None and starts:
            agent.start_from(before)
        elif before is not None:
            agent.resume(before)
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
    return {"from": None, **checkpoint.config, **asked}


def started_config(
    values: Mapping[str, Any], overrides: Sequence[str], checkpoint: checkpoints.Checkpoint
) -> dict[str, Any]:
    """Return the config of a new run that starts from a checkpoint: the checkpoint's, with what was given in its place.

    Args:
        values: The config as composed.
        overrides: What the user gave, `key=value` each.
        checkpoint: Where to start from.

    Raises:
        UserError: A group was given that is no section, like `init`.
    """
    elsewhere = sorted(key for key in given(overrides) if key not in values)
    if elsewhere:
        raise UserError(
            f"{', '.join(elsewhere)} cannot be given with from={values['from']}: no key of its config; what it sets in "
            f"others can, as in task.init=default"
        )
    chosen = put_given(checkpoint.config, values, overrides)
    name, known = chosen["task"]["name"], checkpoint.config["task"]["name"]
    require(name == known, "task.name", name, f"{known}, the task of the checkpoint that it starts from")
    if "WANDB_MODE" in os.environ:  # wandb's own variable is of this run, not of the one before
        chosen["wandb"] = values["wandb"]
    return {**chosen, "from": values["from"], "resume": None}


def _check_start(options: TrainSettings, before: checkpoints.Checkpoint) -> None:
    """Refuse what cannot start from a checkpoint, as far as that shows without a simulator."""
    control = settings.load(ControlSettings, "control/relative", options.control)
    known = {
        "task": options.task["name"],
        "robot": load_robot(options.robot).table(),
        "policy_hz": control.policy_hz,
        "action_mode": control.action_mode,
    }
    checkpoints.check_matches(before, known, allow=[key for key in before.spec_table if key not in known])
    _check_networks(options, before)


def _check_networks(options: TrainSettings, before: checkpoints.Checkpoint) -> None:
    """Refuse networks of another form than the checkpoint's."""
    ours, theirs = settings.to_dict(options.rl), before.config["rl"]
    for key in NETWORKS:
        mine, other = (functools.reduce(lambda section, name: section[name], key.split("."), s) for s in (ours, theirs))
        require(mine == other, f"rl.{key}", mine, f"{other}, as in the checkpoint that it starts from")


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
