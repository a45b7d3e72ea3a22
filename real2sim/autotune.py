"""Fit the simulator to a log of the real robot: constants that reproduce it, and how sure they are.

Writes `tuned.yaml`, which trains with `robot.tuned=<path>`, `parameters.csv` with intervals, `joints.csv` with errors
joint by joint, `curve.csv`, `result.json` and `report.html`; with random search beside the fit (`random_budget`) also
the sets that it ranked in the middle and last, `median.yaml` and `worst.yaml`. Ctrl-C or a crash loses a step at most:
go on with `resume=<run folder>`.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dexsim import settings
from dexsim.backends.make import load_settings
from dexsim.errors import UserError, one_line, require
from dexsim.files import atomic_write
from dexsim.launch.overrides import assign, command, given
from dexsim.report import terminal
from dexsim.robots import RobotSpec, constants, load_robot
from dexsim.runs import RunFolder, find_run
from real2sim.logs.files import load_log
from real2sim.logs.joint_log import JointLog
from real2sim.logs.overlap import find_copy
from real2sim.logs.readers.lerobot import is_dataset
from real2sim.results import report, throughput
from real2sim.results.confidence import AT_BOUND, assess
from real2sim.results.effort_scale import doubt, effort_scales
from real2sim.results.judgement import judge
from real2sim.results.outcome import ALGORITHM_1, NOMINAL, TUNED, Outcome, record, write_files
from real2sim.search import state
from real2sim.search.base import SearchSettings
from real2sim.search.fit import Fit
from real2sim.search.problem import Problem
from real2sim.search.random import RandomSearch
from real2sim.search.space import FreeSettings, SearchSpace

_log = logging.getLogger(__name__)

FIT, RANDOM = "fit.npz", "random.npz"
HELDOUT_SHARE = 0.2
SHORTEST_S = 10.0


@dataclass(frozen=True)
class Real2SimSettings:
    """Config section `real2sim`.

    Attributes:
        space: constants that are searched, and how.
        stages: searches, one after the other.
    """

    space: dict[str, FreeSettings]
    stages: list[SearchSettings]

    def __post_init__(self) -> None:
        """Refuse a fit without stages."""
        require(len(self.stages) > 0, "stages", [], "one or more")
        methods = [stage.method for stage in self.stages]
        # It draws from the whole space, whatever another stage has found.
        require("random" not in methods[1:], "stages", methods, "random at most as the first")


@dataclass(frozen=True)
class AutotuneSettings:
    """Config of `dexsim autotune`.

    Attributes:
        log: what to fit to.
        robot: section of the robot that the search starts from.
        real2sim: space and stages.
        backend: section of the simulator.
        heldout: logs that the fit never sees; None sets the last fifth of `log` aside.
        heldout_episode: of the LeRobot datasets among them, of `log` where there is no other; None takes `episode`.
        units: of all angles, "rad" or "deg"; None believes the log.
        clock_offset: what to add to the clock of the commands, s.
        episode: of a LeRobot dataset.
        random_budget: robot-seconds of random search, as a multiple of the fit's; 0 leaves it out.
        random_candidates: its candidates side by side.
        seed: of everything random.
        resume: run folder to go on with.
    """

    log: str
    robot: dict[str, Any]
    real2sim: Real2SimSettings
    backend: dict[str, Any]
    heldout: str | list[str] | None
    heldout_episode: int | list[int] | None
    units: str | None
    clock_offset: float
    episode: int
    random_budget: float
    random_candidates: int
    seed: int
    resume: str | None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        require(0 <= self.random_budget <= 100, "random_budget", self.random_budget, "0 to 100")
        require(self.random_candidates >= 4, "random_candidates", self.random_candidates, "at least 4")
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")

    @property
    def heldout_paths(self) -> list[str] | None:
        """`heldout` as a list, where it is given."""
        return [self.heldout] if isinstance(self.heldout, str) else self.heldout

    @property
    def heldout_logs(self) -> list[tuple[str, int]] | None:
        """Path and episode of each log that is held out; None where none is given."""
        given, paths = self.heldout_episode, self.heldout_paths
        if given is None:
            return None if paths is None else [(path, self.episode) for path in paths]
        episodes = given if isinstance(given, list) else [given]
        require(len(episodes) > 0, "heldout_episode", given, "an episode or more, or null")
        found: list[tuple[str, int]] = []
        for path in [self.log] if paths is None else paths:
            found += [(path, each) for each in (episodes if is_dataset(Path(path)) else [self.episode])]
        datasets = any(is_dataset(Path(path)) for path, _ in found)
        require(datasets, "heldout_episode", given, "null where no LeRobot dataset is held out")
        return found


def main(config: Mapping[str, Any], run: RunFolder) -> None:
    """Fit, judge, and write everything."""
    options = _from_anywhere(_read(config, run.overrides, run), run)
    try:
        autotune(options, run)
    except KeyboardInterrupt:
        if (run.path / FIT).is_file():
            _log.info("go on with: %s", command("autotune", assign("resume", run.path)))
        raise


def check(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse what cannot be fitted, as far as that shows before it starts."""
    options = _read(config, overrides)
    robot = load_robot(options.robot)
    load_settings(options.backend)
    log, _ = _logs(options, robot)
    SearchSpace(robot, options.real2sim.space, log.joints, log.moved)


def _read(config: Mapping[str, Any], overrides: Sequence[str], run: RunFolder | None = None) -> AutotuneSettings:
    """What to fit; the states of a fit that is gone on with are copied into a run."""
    values = settings.plain(config)
    if values.get("resume") is not None:
        values = _resumed(values, overrides, run)
    if values.get("log") is None:
        raise UserError("log is missing: add log=<file>, or resume=<run folder>")
    return settings.build(AutotuneSettings, values)


def _from_anywhere(options: AutotuneSettings, run: RunFolder) -> AutotuneSettings:
    """The options with absolute paths; the config is stored so too, to go on with from any folder."""
    heldout = options.heldout_paths
    paths = {
        "log": _absolute(options.log),
        "heldout": None if heldout is None else [_absolute(path) for path in heldout],
    }
    options = replace(options, **paths)
    atomic_write(run.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(settings.to_dict(options))))
    return options


def autotune(options: AutotuneSettings, run: RunFolder) -> None:
    """Fit a robot to a log into a run folder.

    Args:
        options: what to fit, and how.
        run: takes the outputs; states of fits that are already in it are gone on with.

    Raises:
        UserError: for a log or a space that cannot be used.
    """
    torch.set_num_threads(1)  # small arrays; the simulator has its own threads
    robot = load_robot(options.robot)
    log, heldout = _logs(options, robot)
    space = SearchSpace(robot, options.real2sim.space, log.joints, log.moved)
    backend = load_settings(options.backend)
    problem = Problem(log, space, backend)
    for each in heldout:
        problem.on(each)  # refuses one of which hardly a row counts, before the work
    _log.info("%s", _describe(log, heldout, space))
    effort_doubt = doubt(effort_scales(log, robot))
    if effort_doubt:
        _log.warning("%s: %s", log.name, effort_doubt)  # now too: it may be worth no fit
    _log.info("a killed run goes on with: %s", command("autotune", assign("resume", run.path)))
    fit = Fit(problem, options.real2sim.stages, run.path / FIT, options.seed)
    fit.run()
    began = time.perf_counter()
    confidence = assess(fit.last, fit.x)
    took = fit.seconds + time.perf_counter() - began
    sets = {NOMINAL: constants(robot), TUNED: space.constants(fit.x)}
    ranking = _ranking(options, problem, fit, run)
    if ranking is not None and ranking is not fit.search:
        sets[ALGORITHM_1] = space.constants(ranking.ranked(0.0))
    judged = tuple(judge(problem, each, sets) for each in (log, *heldout))
    speed = throughput.measure(problem, options.random_candidates, backend.threads)
    outcome = Outcome(problem, fit, confidence, judged, ranking, took, speed, effort_doubt)
    write_files(outcome, load_robot({**options.robot, "tuned": None}), run.path)
    record(outcome, run)
    _print_table(outcome)
    _report_doubts(outcome)
    report.write_report(run.path / "report.html", outcome)


def _absolute(path: str) -> str:
    given = Path(path)
    return str(given.absolute() if os.path.exists(given) else given)  # an error names what was given


def _resumed(values: Mapping[str, Any], overrides: Sequence[str], run: RunFolder | None) -> dict[str, Any]:
    """The config of the run to go on with, whose states are copied into the folder of a new one."""
    path = Path(str(values["resume"])).expanduser()
    folder = find_run(path, FIT) or path
    beside = sorted(given(overrides) - {"resume"})
    if beside:
        raise UserError(f"{', '.join(beside)} cannot be given with resume={folder}, which goes on with its own config")
    for name in ("config.yaml", FIT):
        if not (folder / name).is_file():
            raise UserError(f"resume = {str(folder)!r}: nothing to go on with: it has no {name}")
    known = {item.name for item in fields(AutotuneSettings)}
    own = {**settings.shipped("", "autotune"), **_read_config(folder / "config.yaml")}  # what is newer than the run
    config = {str(key): value for key, value in own.items() if key in known}
    states = [name for name in (FIT, RANDOM) if (folder / name).is_file()]
    for name in states:
        state.read(folder / name)  # before the first of them is in the new folder
    if run is not None:
        for name in states:
            shutil.copy(folder / name, run.path / name)
    return config


def _read_config(path: Path) -> dict[Any, Any]:
    try:
        old = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: not a config ({one_line(error)})") from None
    if not isinstance(old, dict) or "log" not in old:
        raise UserError(f"{path}: not the config of a fit: it has no log")
    return old


def _logs(options: AutotuneSettings, robot: RobotSpec) -> tuple[JointLog, list[JointLog]]:
    """The log to fit to and those to judge by."""

    def load(path: str, episode: int) -> JointLog:
        return load_log(path, robot, options.units, options.clock_offset, episode)

    log = load(options.log, options.episode)
    if log.duration < SHORTEST_S:
        raise UserError(f"log = {options.log}: lasts {log.duration:.2f} s; allowed: {SHORTEST_S:g} s or more")
    given = options.heldout_logs
    if given is not None:
        require(len(given) > 0, "heldout", [], "a path or more, or null for the last fifth of the log")
        heldout = [load(*each) for each in given]
        for number, ((path, _), other) in enumerate(zip(given, heldout, strict=True)):
            shared = set(other.joints) & {name for name, moved in zip(log.joints, log.moved, strict=True) if moved}
            require(len(shared) > 0, "heldout", path, f"logs with a joint that moves in {log.name}")
            require(bool(other.moved.any()), "heldout", path, "logs in which a joint moves")
            _check_apart(log, other, path, "the one that is fitted")
            for earlier in heldout[:number]:
                _check_apart(earlier, other, path, f"{earlier.name}, which is held out as well")
        return log, heldout
    cut = log.time[0] + (1 - HELDOUT_SHARE) * log.duration
    first, last = log.part(0.0, cut), log.part(cut, log.duration + 1.0)
    return replace(first, name=f"{log.name}, first {cut:.0f} s"), [replace(last, name=f"{log.name}, the rest")]


def _check_apart(log: JointLog, other: JointLog, path: str, than: str) -> None:
    """Refuse a log to judge by with rows of another, whatever file they are in."""
    copied = find_copy(log, other)
    if copied is not None:
        at, start = copied
        raise UserError(
            f"heldout = {path!r}: must be other logs than {than}; its rows at {start:.0f} s are those of {log.name} at "
            f"{at:.0f} s"
        )


def _describe(log: JointLog, heldout: list[JointLog], space: SearchSpace) -> str:
    still = [name for name, moved in zip(log.joints, log.moved, strict=True) if not moved]
    return (
        f"{log.name}: {log.duration:.1f} s, {log.measurement_hz:.0f} rows/s, {len(log.joints)} joints, effort "
        f"{'not ' if log.effort is None else ''}logged; held out: {sum(each.duration for each in heldout):.1f} s; "
        f"{len(space)} free parameters" + (f"; never moved: {', '.join(still)}" if still else "")
    )


def _ranking(options: AutotuneSettings, problem: Problem, fit: Fit, run: RunFolder) -> RandomSearch | None:
    """Random search on the same problem: the fit itself where that is what it was."""
    if isinstance(fit.search, RandomSearch):
        return fit.search
    budget = options.random_budget * fit.robot_seconds
    # Rounded, since a sum that was stored in between differs in its last digits.
    steps = round(round(budget / (options.random_candidates * problem.log.duration), 6))
    if options.random_budget == 0:
        return None
    stage = SearchSettings("random", max(1, steps), options.random_candidates)
    beside = Fit(problem, [stage], run.path / RANDOM, options.seed)
    beside.run()
    return beside.search if isinstance(beside.search, RandomSearch) else None


def _print_table(outcome: Outcome) -> None:
    from rich.table import Table

    table = Table("mean squared error, rad^2", "log", "held out", title="all joints")
    for name in outcome.sets:
        table.add_row(name, f"{outcome.error(name, 'fit'):.3g}", f"{outcome.error(name, 'heldout'):.3g}")
    terminal.console().print(table)


def _report_doubts(outcome: Outcome) -> None:
    """Say what is wrong with a result, and how much of it is known."""
    tuned, nominal = (outcome.error(name, "fit") for name in (TUNED, NOMINAL))
    if not tuned < nominal:
        _log.warning("the fit failed: %.3g rad^2 on its own log, the nominal robot has %.3g", tuned, nominal)
    if outcome.effort_doubt:
        _log.warning("%s: %s", outcome.problem.log.name, outcome.effort_doubt)
    reasons = zip(outcome.problem.space.parameters, outcome.confidence.reasons, strict=True)
    bound = [parameter.name for parameter, reason in reasons if reason == AT_BOUND]
    if bound:
        _log.warning("at a bound of its search: %s", ", ".join(bound))
    if any(name.startswith("joint_delay/") for name in bound):
        _log.warning("a delay at its bound: the clocks of commands and measurements may differ; see clock_offset")
    for joint in outcome.astray:
        _log.warning("%s is not reproduced: %.3g rad rms; what it alone tells is not determined", *joint)
    determined = outcome.confidence.determined
    _log.info("%d of %d parameters are determined; fit in %.0f s", determined.sum(), len(determined), outcome.took)
