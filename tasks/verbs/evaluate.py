"""Measure a trained policy: success, pick-up and stages, each with its 95% Wilson interval.

The policy acts without exploration noise over a set of episodes that `seed` and `num_envs` fix. A table is printed;
`result.json` has the rates, `evaluated.yaml` which checkpoint and environment, and `episodes.parquet` a row an episode.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tasks
from dexsim import settings
from dexsim.env.perturbation import KINDS, PerturbationSettings
from dexsim.errors import UserError, require
from dexsim.files import atomic_path
from dexsim.launch.overrides import key_of, replaced
from dexsim.report import terminal
from dexsim.rl import checkpoint as checkpoints
from dexsim.rl.evaluation import Episode, run_episodes
from dexsim.rl.player import Policy
from dexsim.runs import RunFolder, wilson
from tasks.registry import EnvSettings
from tasks.verbs.report import is_rate, number_format
from tasks.verbs.robustness import sweep

logger = logging.getLogger(__name__)

Section = dict[str, Any] | None
Metric = tuple[str, float, str, int, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Config of `dexsim evaluate`; its values are in `cfg/evaluate.yaml`.

    Attributes:
        checkpoint: Checkpoint file or run folder.
        episodes: How many, over all environments.
        num_envs: Environments that are stepped together.
        seed: Of the set of episodes.
        threads: Simulation threads, 0 for one a core.
        video: Whether to record an episode into `video.mp4`.
        forces: Kinds of disturbance (`dexsim.env.perturbation.KINDS`) to evaluate under too, with a plot.
        magnitudes: Their sizes in N.
        task: What takes the place of the checkpoint's section, as do `robot`, `backend`, `randomization` and `control`.
    """

    checkpoint: str
    episodes: int
    num_envs: int
    seed: int
    threads: int
    video: bool
    forces: tuple[str, ...]
    magnitudes: tuple[float, ...]
    task: Section = None
    robot: Section = None
    backend: Section = None
    randomization: Section = None
    control: dict[str, Any]

    def __post_init__(self) -> None:
        require(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        require(self.num_envs >= 1, "num_envs", self.num_envs, "at least 1")
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        unknown_kinds = [kind for kind in self.forces if kind not in KINDS]
        require(not unknown_kinds, "forces", list(self.forces), f"a list of {', '.join(KINDS)}")
        allowed = "one or more sizes from 0 to 1000 N"
        sound = bool(self.magnitudes) and all(0 <= size <= 1000 for size in self.magnitudes)
        require(sound, "magnitudes", list(self.magnitudes), allowed)

    @property
    def copies(self) -> int:
        """Environments that are stepped together: no more than there are episodes."""
        return min(self.num_envs, self.episodes)


def main(config: Mapping[str, Any], run: RunFolder) -> None:
    """Evaluate, and print the table."""
    evaluate(_read(config, run.overrides), run)


def check(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse what cannot be evaluated, as far as that shows before it starts."""
    options = _read(config, overrides)
    checkpoint = checkpoints.load(options.checkpoint)
    with checkpoints.blamed(checkpoint, "evaluated"):
        environment_of(checkpoint.config, options).check()


def _read(config: Mapping[str, Any], overrides: Sequence[str]) -> EvaluateSettings:
    refuse_training_only(overrides)
    return settings.build(EvaluateSettings, config)


def refuse_training_only(overrides: Sequence[str]) -> None:
    """Refuse what was given in vain: settings of a task that only training heeds."""
    for text in overrides:
        key = key_of(text)
        if key in [f"task.{name}" for name in tasks.TRAINING_ONLY]:
            raise UserError(f"{key}: only training heeds it; an evaluation's episodes start at the beginning")


@dataclass(frozen=True)
class Subject:
    """A trained policy, and the environment that it is measured in.

    Attributes:
        checkpoint: Where the policy comes from.
        environment: The checkpoint's, with what was given in its place.
        policy: Without exploration noise.
        options: What was asked for.
    """

    checkpoint: checkpoints.Checkpoint
    environment: EnvSettings
    policy: Policy
    options: EvaluateSettings

    @classmethod
    def of(cls, options: EvaluateSettings, checkpoint: checkpoints.Checkpoint | None = None) -> Subject:
        """Load what is to be measured; a `checkpoint` that is loaded already is taken as it is."""
        found = checkpoint or checkpoints.load(options.checkpoint)
        with checkpoints.blamed(found, "evaluated"):
            return cls(found, environment_of(found.config, options), Policy.from_checkpoint(found), options)

    def roll_out(
        self, dump_dir: Path | None = None, perturbation: PerturbationSettings | None = None
    ) -> tuple[list[Episode], int]:
        """Run the set of episodes; return them, and how many environments were not finite.

        Args:
            dump_dir: Where the state of the first of those is written.
            perturbation: What disturbs the object.
        """
        with checkpoints.blamed(self.checkpoint, "evaluated"):
            env = self.environment.make(self.options.copies, self.options.seed, dump_dir, perturbation)
        allowed = tuple(_given(self.options.control))
        checkpoints.check_matches(self.checkpoint, env.spec_table(), allow=allowed)
        rows = run_episodes(env, self.policy.to(env.device), self.options.episodes, env.recorder())
        env.close()
        return rows, env.nonfinite_count


def evaluate(options: EvaluateSettings, run: RunFolder) -> list[Episode]:
    """Run the episodes and write `result.json`, `episodes.parquet` and what else was asked for; return the episodes."""
    import torch

    torch.set_num_threads(1)  # small batches; the simulator has its own threads
    subject = Subject.of(options)
    checkpoint, environment = subject.checkpoint, subject.environment
    facts = {"checkpoint": str(checkpoint.path), "frame": checkpoint.frame, "num_envs": options.copies}
    run.write_config({**facts, **settings.to_dict(environment)}, "evaluated.yaml")

    nonfinite = 0

    def roll_out(perturbation: PerturbationSettings | None = None) -> list[Episode]:
        nonlocal nonfinite
        rows, broken = subject.roll_out(run.path if nonfinite == 0 else None, perturbation)
        nonfinite += broken
        return rows

    episodes = roll_out()
    metrics = summarize(episodes)
    for metric in metrics:
        run.result(*metric)
    write_episodes(run.path / "episodes.parquet", options.seed, episodes)
    _print_table(metrics, len(episodes))
    if options.forces:

        def successes(perturbation: PerturbationSettings) -> list[bool]:
            return [bool(episode["success"]) for episode in roll_out(perturbation)]

        undisturbed = [bool(episode["success"]) for episode in episodes]
        sweep(options.forces, options.magnitudes, successes, undisturbed, run)
    run.result("nonfinite_environments", nonfinite, "1")
    if options.video:
        from dexsim.drawing.video import record

        path = run.path / "video.mp4"
        logger.info("recording %s: a minute or two where the vendor's meshes are installed", path)
        filmed = environment.make(1, options.seed)
        record(filmed, subject.policy, path, filmed.task.episode_s, width=480, height=360)
    return episodes


def environment_of(config: Mapping[str, Any], options: EvaluateSettings) -> EnvSettings:
    """Return what makes the environment: the checkpoint's sections, with what was given in their place.

    An empty section given (`randomization={}`) replaces the checkpoint's as a whole, by what ships, and so does another
    simulator, robot or task: its settings are not those of the one before.
    """
    sections: dict[str, dict[str, Any]] = {}
    for name in (field.name for field in fields(EnvSettings)):
        given = _given(options.control) if name == "control" else getattr(options, name)
        sections[name] = replaced(config[name], None if name == "control" and not given else given)
    for key in tasks.TRAINING_ONLY:
        sections["task"].pop(key, None)
    sections["backend"]["threads"] = options.threads
    return EnvSettings(**sections)


def summarize(episodes: Sequence[Episode]) -> list[Metric]:
    """Return name, value, unit, samples and 95% interval of each metric.

    Rates of what is true or false, means of the rest over the episodes that have a value, and medians of what the task
    measures: few bad ends move a mean.
    """
    metrics: list[Metric] = []
    for name in sorted(filter(is_rate, episodes[0]), key=lambda name: name == "terminated"):
        count = sum(bool(episode[name]) for episode in episodes)
        metrics.append((name, count / len(episodes), "1", len(episodes), wilson(count, len(episodes))))
    means = [("return", "1"), ("length", "steps"), *((name, "") for name in episodes[0] if name.startswith("metric_"))]
    for name, unit in means:
        metrics.append((name, *_mean(unit, _values(episodes, name))))
    for name, unit in (each for each in means if each[0].startswith("metric_")):
        metrics.append((f"median_{name.removeprefix('metric_')}", *_median(unit, _values(episodes, name))))
    return metrics


def _mean(unit: str, values: Sequence[float]) -> tuple[float, str, int, tuple[float, float]]:
    if not values:
        return math.nan, unit, 0, (math.nan, math.nan)
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    half = 1.96 * math.sqrt(variance / len(values))
    return mean, unit, len(values), (mean - half, mean + half)


def _values(episodes: Sequence[Episode], name: str) -> list[float]:
    """Those of the episodes that have one."""
    return [value for value in (float(episode[name]) for episode in episodes) if not math.isnan(value)]


def _median(unit: str, values: Sequence[float]) -> tuple[float, str, int, tuple[float, float]]:
    """The interval is between two of the values themselves, whose ranks the binomial distribution gives."""
    if not values:
        return math.nan, unit, 0, (math.nan, math.nan)
    ordered, last = sorted(values), len(values) - 1
    half = 0.98 * math.sqrt(len(values))
    low, high = max(0, math.floor(last / 2 - half)), min(last, math.ceil(last / 2 + half))
    return statistics.median(ordered), unit, len(values), (ordered[low], ordered[high])


def _given(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value is not None}


def write_episodes(path: Path, seed: int, episodes: Sequence[Episode]) -> None:
    """Write a row an episode."""
    import pyarrow
    import pyarrow.parquet

    with atomic_path(path) as temporary:
        table = pyarrow.Table.from_pylist([{"seed": seed, **episode} for episode in episodes])
        pyarrow.parquet.write_table(table, temporary)


def _print_table(metrics: Sequence[Metric], n: int) -> None:
    from rich.table import Table

    table = Table("", "", "95% interval", title=f"{n} episodes")
    for name, value, _, _, (low, high) in metrics:
        form = number_format(name)
        table.add_row(name.replace("_", " "), form.format(value), f"{form.format(low)} .. {form.format(high)}")
    terminal.console().print(table)
