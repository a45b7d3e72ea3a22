"""Measure the environment against the bare engine, and where a training step's time goes.

Each policy step is taken twice, one after the other and from the same states and targets: by the environment, and by a
bare batch of the same model with as many substeps. The ratio of the two is what the environment costs. Randomization is
left out of it, since the bare batch has one set of parameters; the training step has it. Peak memory is that of the
whole measurement, an upper bound.
"""

from __future__ import annotations

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dexsim import settings
from dexsim.errors import require
from dexsim.report import terminal
from dexsim.rl.ppo import PpoSettings
from dexsim.runs import RunFolder
from tasks.registry import EnvSettings

WARM_UP = 10  # policy steps that are not counted
ACTION_STD = 0.5
PARTS = ("simulate", "collect", "learn")


@dataclass(frozen=True, kw_only=True)
class BenchSettings(EnvSettings):
    """Config of `dexsim bench`; its values are in `cfg/bench.yaml`.

    Attributes:
        rl: PPO, for the training step.
        num_envs: Environments that are stepped together.
        threads: Numbers of simulation threads to measure with.
        steps: Policy steps of each measurement.
        epochs: Rollouts to time a training step on; 0 for none.
        seed: Of everything random.
    """

    rl: PpoSettings
    num_envs: int
    threads: tuple[int, ...]
    steps: int
    epochs: int
    seed: int

    def __post_init__(self) -> None:
        engine = self.backend.get("name")
        require(engine == "mujoco", "backend.name", engine, "mujoco, whose bare batch it is compared with")
        require(self.num_envs >= 1, "num_envs", self.num_envs, "at least 1")
        require(self.steps >= 1, "steps", self.steps, "at least 1")
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        require(self.epochs >= 0, "epochs", self.epochs, "0 or more")
        require(min(self.threads, default=0) >= 1, "threads", list(self.threads), "one or more numbers from 1")


def main(config: Mapping[str, Any], run: RunFolder) -> None:
    """Measure, and print the table."""
    import torch

    options = settings.build(BenchSettings, config)
    torch.set_num_threads(1)
    rows: list[tuple[str, str]] = []
    for threads in options.threads:
        rows += _throughput(options, threads, run)
    rows += _operations(options, run)
    if options.epochs:
        rows += _training(options, run)
    _print_table(rows)


def check(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse what cannot be measured, as far as that shows before it starts."""
    settings.build(BenchSettings, config).check()


def _make_env(options: BenchSettings, threads: int) -> Any:
    return replace(options, backend={**options.backend, "threads": threads}).make(options.num_envs, options.seed)


def _throughput(options: BenchSettings, threads: int, run: RunFolder) -> list[tuple[str, str]]:
    """Environment steps a second beside the bare batch's."""
    import torch
    from mujoco.batch import Batch

    env = _make_env(replace(options, randomization={}), threads)
    substeps = env.control.substeps(env.backend.scene.timestep)
    bare = Batch(env.backend.model, options.num_envs, threads)
    _remember_rows(env.backend, bare)
    generator = torch.Generator().manual_seed(options.seed)
    env.reset()
    ratios, ours = [], []
    for step in range(WARM_UP + options.steps):
        actions = ACTION_STD * torch.randn(options.num_envs, env.num_actions, generator=generator)
        start = time.perf_counter()
        env.step(actions)
        middle = time.perf_counter()
        bare.step(nstep=substeps)
        end = time.perf_counter()
        if step >= WARM_UP:
            ours.append(middle - start)
            ratios.append((end - middle) / (middle - start))
    rate = options.num_envs / statistics.median(ours)
    ratio = statistics.median(ratios)
    run.result(f"env_steps_per_second_{threads}_threads", rate, "1/s", options.steps)
    run.result(f"env_to_bare_ratio_{threads}_threads", ratio, "1", options.steps)
    name = f"{threads} thread{'s' if threads > 1 else ''}"
    return [
        (f"environment, {name}", f"{rate:,.0f} policy steps/s ({rate * substeps:,.0f} physics steps/s)"),
        (f"of the bare batch, {name}", f"{ratio:.3f}"),
    ]


def _remember_rows(backend: Any, bare: Any) -> None:
    """Let the bare batch start each step from the very states and targets that the environment steps from."""
    step = backend.step

    def remembering(substeps: int) -> Any:
        bare.state[:] = backend.batch.state
        return step(substeps)

    backend.step = remembering


def _operations(options: BenchSettings, run: RunFolder) -> list[tuple[str, str]]:
    """How many torch operations a policy step takes, and how many more one in which some environments start anew.

    Every operation that torch dispatches counts, views too: on a GPU each costs a launch, on a CPU some microseconds.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += 1
            return func(*args, **(kwargs or {}))

    env = _make_env(options, 1)
    env.reset()
    still = torch.zeros(options.num_envs, env.num_actions, device=env.device)
    counts = []
    for ends in (False, False, True):  # the first one computes what stays as it is for an episode
        if ends:
            env.world.step[0] = env.max_episode_length - 1  # this step ends an episode
        with Counter() as counter:
            env.step(still)
        counts.append(counter.count)
    _, step, reset = counts
    run.result("operations_per_step", step, "1")
    run.result("operations_per_partial_reset", reset - step, "1")
    return [("torch operations", f"{step} a policy step, {reset - step} more with a partial reset")]


def _training(options: BenchSettings, run: RunFolder) -> list[tuple[str, str]]:
    """Shares of a training step, with the learner of `rl`, and the process's peak memory."""
    with tempfile.TemporaryDirectory() as folder:  # its checkpoint is of no use
        parts = _train_parts(options, Path(folder))
    frames = options.num_envs * options.rl.horizon
    run.result("train_steps_per_second", frames / (parts["collect"] + parts["learn"]), "1/s", options.epochs)
    run.result("learn_to_collect_ratio", parts["learn"] / parts["collect"], "1", options.epochs)
    memory = _peak_memory()
    run.result("peak_memory", memory, "GiB")
    microseconds = 1e6 / frames
    return [
        ("training", f"{frames / (parts['collect'] + parts['learn']):,.0f} policy steps/s"),
        ("  environment", f"{parts['simulate'] * microseconds:.0f} us a policy step"),
        ("  policy and storage", f"{(parts['collect'] - parts['simulate']) * microseconds:.0f} us"),
        ("  learner", f"{parts['learn'] * microseconds:.0f} us"),
        ("learner / collection", f"{parts['learn'] / parts['collect']:.2f}"),
        ("peak memory", f"{memory:.2f} GiB"),
    ]


def _train_parts(options: BenchSettings, folder: Path) -> dict[str, float]:
    """Median seconds of each part of a rollout and its learning."""
    from dexsim.rl.agent import Budget, PpoAgent
    from dexsim.rl.observer import CURVE, TrainingObserver

    env = _make_env(options, max(options.threads))
    budget = Budget(frames=(options.epochs + 1) * options.num_envs * options.rl.horizon)
    observer = TrainingObserver(folder)
    identity = {"config": {}, "spec_table": env.spec_table(), "version": ""}
    agent = PpoAgent(env, options.rl, budget, observer, folder, identity, options.seed)
    agent.learn()
    observer.close()
    with (folder / CURVE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[1:]  # the first rollout warms up
    return {key: statistics.median(float(row[f"time/{key}"]) for row in rows) for key in PARTS}


def _peak_memory() -> float:
    """GiB that the process has held at most."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _print_table(rows: list[tuple[str, str]]) -> None:
    from rich.table import Table

    table = Table(show_header=False)
    for row in rows:
        table.add_row(*row)
    terminal.console().print(table)
