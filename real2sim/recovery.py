"""How well a fit recovers constants: simulated robots whose constants are known follow the commands of a log.

Prints, seed by seed, how many of the parameters that the fit calls determined are within 5% of the truth and within
their 95% interval, and adds every parameter to a CSV file; seeds that are in it already are not done again.
"""

from __future__ import annotations

import argparse
import csv
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from dexsim import settings
from dexsim.backends.make import load_settings
from dexsim.files import atomic_write
from dexsim.report import terminal
from dexsim.robots import RobotSpec, constants, load
from real2sim.autotune import Real2SimSettings
from real2sim.logs.files import load_log
from real2sim.logs.joint_log import JointLog
from real2sim.results.confidence import assess
from real2sim.results.judgement import Judged, judge
from real2sim.results.outcome import csv_text
from real2sim.search.fit import Fit
from real2sim.search.problem import Problem
from real2sim.search.space import SearchSpace
from real2sim.simulated_robot import SimulatedRobot, SimulatedRobotSettings

SETTLE_S = 3.0
NEAR = 0.05


@dataclass(frozen=True)
class Recovered:
    """One parameter of one robot: the truth, what the fit says, its 95% interval, and whether it is determined."""

    seed: int
    parameter: str
    true: float
    fit: float
    low: float
    high: float
    determined: bool

    @property
    def near(self) -> bool:
        """Whether the fit is within 5% of the truth."""
        return abs(self.fit - self.true) <= NEAR * abs(self.true)

    @property
    def inside(self) -> bool:
        """Whether the truth lies in the interval."""
        return self.low <= self.true <= self.high


def simulate(robot: RobotSpec, log: JointLog, options: SimulatedRobotSettings) -> tuple[JointLog, SimulatedRobot]:
    """What a simulated robot measures at the rows of a log while it follows the log's commands, and that robot."""
    source = SimulatedRobot(robot, options)
    columns = [robot.commands.index(name) for name in log.joints]
    command = np.clip(0.0, *robot.command_limits.T)
    command[columns] = log.command[0]
    source.command(command)
    rows = []
    for time, targets in zip(log.time, log.command, strict=True):
        source.wait_until(SETTLE_S + time)
        reading = source.read()
        rows.append([each[columns] for each in (reading.position, reading.velocity, reading.effort)])
        command[columns] = targets  # acts from this row on
        source.command(command)
    position, velocity, effort = np.array(rows).transpose(1, 0, 2)
    digest = f"seed {options.seed}"
    return replace(log, position=position, velocity=velocity, effort=effort, name=digest, digest=digest), source


def recover(
    robot: RobotSpec,
    log: JointLog,
    options: SimulatedRobotSettings,
    how: Real2SimSettings,
    heldout: JointLog | None = None,
) -> tuple[list[Recovered], Judged]:
    """Fit to a simulated robot that follows a log's commands, and compare.

    Args:
        robot: the nominal robot.
        log: its commands and times are used.
        options: of the simulated robot; its seed is its constants'.
        how: space and stages of the fit.
        heldout: another log whose commands it follows too; None judges by the first.

    Returns:
        The parameters, and the errors of the "nominal", "true" and "tuned" constants on what the fit did not see.
    """
    measured, source = simulate(robot, log, options)
    space = SearchSpace(robot, how.space, measured.joints, measured.moved)
    problem = Problem(measured, space, load_settings())
    with tempfile.TemporaryDirectory() as folder:
        fit = Fit(problem, how.stages, Path(folder) / "fit.npz", seed=0)
        fit.run()
    confidence, known = assess(fit.last, fit.x), {**constants(robot), **source.hidden}
    recovered = [
        Recovered(
            options.seed,
            parameter.name,
            float(known[parameter.constant][parameter.members[0]]),
            float(parameter.value(fit.x[p])),
            *confidence.interval(space, fit.x, p),
            bool(confidence.determined[p]),
        )
        for p, parameter in enumerate(space.parameters)
    ]
    other = measured if heldout is None else simulate(robot, heldout, options)[0]
    return recovered, judge(
        problem, other, {"nominal": constants(robot), "true": known, "tuned": space.constants(fit.x)}
    )


def summary(name: str, recovered: Sequence[Recovered]) -> str:
    """One line about some parameters."""
    known = [each for each in recovered if each.determined]
    if not known:
        return f"{name}: none of {len(recovered)} determined"
    near, inside, either = (
        100 * float(np.mean([test(each) for each in known]))
        for test in (lambda r: r.near, lambda r: r.inside, lambda r: r.near or r.inside)
    )
    return (
        f"{name}: {len(known)} of {len(recovered)} determined; of these within 5% {near:.1f}%, "
        f"in their interval {inside:.1f}%, either {either:.1f}%"
    )


def read(path: Path) -> list[Recovered]:
    """What a CSV file holds; nothing if there is none."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [_recovered(row) for row in csv.DictReader(file)]


def _recovered(row: dict[str, str]) -> Recovered:
    true, fit, low, high = (float(row[key]) for key in ("true", "fit", "low", "high"))
    return Recovered(int(row["seed"]), row["parameter"], true, fit, low, high, row["determined"] == "True")


def main() -> None:
    """Recover robots seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", help="whose commands are followed")
    parser.add_argument("--heldout", help="whose commands are followed as well, to judge by")
    parser.add_argument("--robot", default="gr1t2")
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 20), metavar=("FIRST", "END"))
    parser.add_argument("--backlash", type=float, default=0.0, help="of the simulated robots, rad")
    parser.add_argument("--spread", type=float, default=1.0, help="of their constants about the nominal ones")
    parser.add_argument("--out", type=Path, default=Path("recovery.csv"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    robot = load(given.robot)
    log = load_log(given.log, robot)
    heldout = None if given.heldout is None else load_log(given.heldout, robot)
    how = settings.load(Real2SimSettings, "real2sim/default")
    everything = read(given.out)
    rate_hz = float(round(log.measurement_hz))
    for seed in sorted({*range(*given.seeds)} - {each.seed for each in everything}):
        options = SimulatedRobotSettings(seed, given.spread, given.backlash, rate_hz=rate_hz)
        recovered, judged = recover(robot, log, options, how, heldout)
        everything += recovered
        atomic_write(
            given.out, csv_text([item.name for item in fields(Recovered)], [astuple(each) for each in everything])
        )
        print(summary(f"seed {seed}", recovered))
        print("  rad^2:", ", ".join(f"{name} {judged.total(name):.3g}" for name in judged.names), flush=True)
    for constant in dict.fromkeys(each.parameter.partition("/")[0] for each in everything):
        print(summary(constant, [each for each in everything if each.parameter.startswith(f"{constant}/")]))
    print(summary("all", everything))


if __name__ == "__main__":
    with terminal.tolerant():  # hours of work, whoever reads what is printed
        main()
