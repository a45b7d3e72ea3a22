"""What a fit came to: the robots, tables and metrics that it leaves behind."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

import dexsim
from dexsim.files import atomic_write
from dexsim.robots import Interval, RobotSpec, labels
from dexsim.robots.tuned import write_tuned
from dexsim.runs import RunFolder
from real2sim.results.confidence import Confidence
from real2sim.results.judgement import Judged
from real2sim.results.throughput import Throughput
from real2sim.search.fit import Fit, Step
from real2sim.search.problem import Problem
from real2sim.search.random import RandomSearch
from real2sim.search.space import SearchSpace

Kind = Literal["fit", "heldout"]
# Sets of constants that are judged.
NOMINAL, TUNED, ALGORITHM_1 = "nominal", "tuned", "random search"
COLUMNS = (
    "parameter", "unit", "value", "low_95", "high_95", "start", "status", "moves_rms_rad", "most",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A fit, judged.

    Attributes:
        problem: what was searched on.
        fit: the search; its x is the result.
        confidence: how sure it is.
        judged: the sets on the log that was fitted, then on those held out.
        ranking: random search beside it, or None.
        took: wall time of the fit and its intervals, s.
        speed: of the simulation, or None where the backend has no bare batch.
        effort_doubt: what is wrong with the scale of the log's efforts; empty where nothing is.
    """

    problem: Problem
    fit: Fit
    confidence: Confidence
    judged: tuple[Judged, ...]
    ranking: RandomSearch | None
    took: float
    speed: Throughput | None
    effort_doubt: str

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets of constants that were judged."""
        return self.judged[0].names

    @property
    def astray(self) -> list[tuple[str, float]]:
        """Joints that the model does not reproduce, and their root mean square errors on the fitted log, rad."""
        errors = zip(self.problem.log.joints, self.judged[0].of(TUNED), self.confidence.astray, strict=True)
        return [(joint, float(np.sqrt(error))) for joint, error, astray in errors if astray]

    def of(self, kind: Kind) -> tuple[Judged, ...]:
        """The log that was fitted, or those held out."""
        return self.judged[:1] if kind == "fit" else self.judged[1:]

    def error(self, name: str, kind: Kind) -> float:
        """Mean squared error of a set over all joints, rad^2."""
        return float(np.mean([each.total(name) for each in self.of(kind)]))


def write_files(outcome: Outcome, base: RobotSpec, folder: Path) -> None:
    """Write the robots, the table of parameters and the curve of the search.

    Args:
        outcome: the outcome.
        base: the robot without any tuning.
        folder: takes the files.
    """
    space, log = outcome.problem.space, outcome.problem.log
    about = {"tool": f"dexsim {dexsim.__version__}", "log": {"name": log.name, "sha256": log.digest}}
    undetermined = [p.name for p, reason in zip(space.parameters, outcome.confidence.reasons, strict=True) if reason]
    errors = {"fit": outcome.error(TUNED, "fit"), "heldout": outcome.error(TUNED, "heldout")}
    best = {"mse_rad2": {kind: float(f"{error:.4g}") for kind, error in errors.items()}}
    best = {**about, **best, "undetermined": [*undetermined, *space.left_out]}
    sure = intervals(space, outcome.confidence, outcome.fit.x)
    write_tuned(folder / "tuned.yaml", base, space.constants(outcome.fit.x), best, sure)
    if outcome.ranking is not None:
        for name, share in (("median", 0.5), ("worst", 1.0)):
            _write_ranked(folder / f"{name}.yaml", base, outcome, share, {**about, "rank": name})
    atomic_write(folder / "parameters.csv", csv_text(COLUMNS, parameter_rows(outcome)))
    atomic_write(folder / "joints.csv", csv_text(*joint_rows(outcome)))
    atomic_write(
        folder / "curve.csv", csv_text([f.name for f in fields(Step)], [astuple(step) for step in outcome.fit.steps])
    )


def intervals(space: SearchSpace, confidence: Confidence, x: np.ndarray) -> Iterator[Interval]:
    """The 95% intervals of all values that parameters x (P,) stand for; none is wider than what was searched."""
    for p, parameter in enumerate(space.parameters):
        ends = np.clip(x[p] + confidence.half_width[p] * np.array([-1.0, 1.0]), space.low[p], space.high[p])
        known = labels(space.robot, parameter.constant)
        for member, ratio in zip(parameter.members, parameter.ratios, strict=True):
            low, high = sorted(float(end) for end in ratio * parameter.value(ends))
            yield Interval(parameter.constant, known[member], low, high)


def _write_ranked(path: Path, base: RobotSpec, outcome: Outcome, share: float, about: dict[str, Any]) -> None:
    ranking = outcome.ranking
    if ranking is not None:
        about = {**about, "of": len(ranking.errors), "mse_rad2": {"fit": float(f"{ranking.error(share):.4g}")}}
        write_tuned(path, base, outcome.problem.space.constants(ranking.ranked(share)), about)


def parameter_rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """A row of texts for each parameter, in `COLUMNS`; those that were left out last."""
    space, confidence, x = outcome.problem.space, outcome.confidence, outcome.fit.x
    rows = []
    for p, parameter in enumerate(space.parameters):
        joint = int(np.argmax(confidence.sensitivity[p]))
        numbers = (float(parameter.value(x[p])), *confidence.interval(space, x, p), parameter.start)
        status = confidence.reasons[p] or "determined"
        moves = f"{confidence.sensitivity[p, joint]:.3g}"
        texts = (f"{number:.5g}" for number in numbers)
        rows.append((parameter.name, parameter.unit, *texts, status, moves, space.joints[joint]))
    rows += [(name, *[""] * 5, f"undetermined: {reason}", "", "") for name, reason in space.left_out.items()]
    return rows


def joint_rows(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """A header, and for each joint of a log a row: root mean square errors of each set, log by log, in mrad."""
    logs = ["log", *(f"held out {i + 1}" for i in range(len(outcome.judged) - 1))]
    header = ["joint", *(f"{name}, {log}" for log in logs for name in outcome.sets)]
    joints = dict.fromkeys(joint for each in outcome.judged for joint in each.log.joints)
    rows = []
    for joint in joints:
        cells = []
        for each in outcome.judged:
            known = joint in each.log.joints
            at = each.log.joints.index(joint) if known else 0
            cells += [f"{1e3 * np.sqrt(mse[at]):.4g}" if known else "" for mse in each.mse]
        rows.append([joint, *cells])
    return header, rows


def record(outcome: Outcome, run: RunFolder) -> None:
    """Record the metrics in `result.json`."""
    determined = outcome.confidence.determined
    for name in outcome.sets:
        for kind in ("fit", "heldout"):
            joints = sum(len(each.log.joints) for each in outcome.of(kind))
            run.result(f"mse_{kind}_{name.replace(' ', '_')}", outcome.error(name, kind), "rad^2", joints)
    run.result("fit_time", outcome.took, "s")
    run.result("robot_seconds", outcome.fit.robot_seconds, "s")
    run.result("free_parameters", len(determined), "1")
    run.result("determined_parameters", int(determined.sum()), "1")
    if outcome.speed is not None:
        run.result("robot_seconds_per_second", outcome.speed.replay, "1")
        run.result("replay_to_bare_ratio", outcome.speed.replay / outcome.speed.bare, "1")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
