"""Joint targets for a calibration: a table of what to send when, its file, its picture and its checks.

The file is Parquet with columns `time_s` and `command.<joint>` in rad, for every commanded joint of the robot.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dexsim.errors import UserError
from dexsim.files import atomic_path
from dexsim.robots import RobotSpec
from real2sim.logs.checks import check_hand
from real2sim.logs.readers.recording import TIME, parse_json, shown
from real2sim.logs.readers.tables import read_parquet

_COMMAND = "command."
# Of targets that went through a file in single precision, rad.
ROUNDING = 1e-5
# Targets that start or end a motion may differ by so much from their neighbours, rad.
REST = 1e-3


@dataclass(frozen=True, eq=False)
class Targets:
    """What to command when.

    Attributes:
        time: (T,) s, the first is 0, evenly spaced.
        command: (T, J) rad, for the robot's J commanded joints; each holds until the next.
        robot: the robot's name.
        hand: its hands.
    """

    time: np.ndarray
    command: np.ndarray
    robot: str
    hand: str

    @property
    def rate_hz(self) -> float:
        """Targets a second."""
        return float((len(self.time) - 1) / (self.time[-1] - self.time[0]))

    @property
    def duration(self) -> float:
        """Until the last target has been held as long as the others, s."""
        return float(self.time[-1] - self.time[0] + 1 / self.rate_hz)

    @property
    def speed(self) -> np.ndarray:
        """(J,) the largest speed from one target to the next, rad/s."""
        return np.abs(np.diff(self.command, axis=0)).max(axis=0) * self.rate_hz


def check_ranges(targets: Targets, robot: RobotSpec, speeds: np.ndarray) -> None:
    """Refuse targets beyond the joints' limits, that change faster than allowed, or do not start and end at rest.

    Args:
        targets: what to check.
        robot: whose limits.
        speeds: (J,) allowed, rad/s.

    Raises:
        UserError: with the joint and the time.
    """
    low, high = robot.command_limits.T
    beyond = np.argwhere((targets.command < low - ROUNDING) | (targets.command > high + ROUNDING))
    if len(beyond):
        row, joint = beyond[0]
        raise UserError(
            f"targets: {robot.commands[joint]} = {targets.command[row, joint]:.3f} rad at {targets.time[row]:.2f} s: "
            f"must be {low[joint]:g} to {high[joint]:g} rad"
        )
    joint = int(np.argmax(targets.speed / speeds))
    if targets.speed[joint] > speeds[joint] + ROUNDING * targets.rate_hz:
        row = int(np.argmax(np.abs(np.diff(targets.command[:, joint]))))
        raise UserError(
            f"targets: {robot.commands[joint]} is to move at {targets.speed[joint]:.2f} rad/s at "
            f"{targets.time[row]:.2f} s: must be at most {speeds[joint]:.2f} rad/s"
        )
    for where, rows in (("start", targets.command[:2]), ("end", targets.command[-2:])):
        joint = int(np.argmax(np.ptp(rows, axis=0)))
        if np.ptp(rows[:, joint]) > REST:
            raise UserError(f"targets: {robot.commands[joint]} moves at their {where}: must be at rest there")


def save_targets(path: str | Path, targets: Targets, robot: RobotSpec) -> None:
    """Write targets as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {TIME: targets.time}
    columns.update({_COMMAND + name: column for name, column in zip(robot.commands, targets.command.T, strict=True)})
    metadata = {
        "robot": targets.robot,
        "hand": targets.hand,
        "command_rate_hz": f"{targets.rate_hz:.6g}",
        "joint_order": json.dumps(robot.commands),
        "units": json.dumps({TIME: "s", "command": "rad"}),
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def load_targets(path: str | Path, robot: RobotSpec) -> Targets:
    """Read targets of a robot.

    Args:
        path: of a Parquet file as `save_targets` writes it; columns of measurements, as logs have, are left out.
        robot: whose they must be.

    Raises:
        UserError: for a file that is none, or of another robot.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"targets = {str(path)!r}: no such file; expected a Parquet file")
    recording = read_parquet(path)
    check_hand(recording.metadata.get("hand", ""), robot, path.name)
    _check_units(path.name, recording.metadata.get("units"))
    for name in (TIME, *(_COMMAND + joint for joint in robot.commands)):
        if name not in recording.columns:
            raise UserError(f"{path.name}: has no column {name!r}, which targets of robot {robot.name!r} must have")
        if not np.isfinite(recording.columns[name]).all():
            raise UserError(f"{path.name}: column {name!r} has values that are no numbers")
    time = recording.columns[TIME]
    command = np.stack([recording.columns[_COMMAND + joint] for joint in robot.commands], axis=1).astype(np.float64)
    _check_even(path.name, time)
    return Targets(time - time[0], command, robot.name, robot.hand)


def _check_units(file: str, text: str | None) -> None:
    try:
        units = parse_json(text) if text is not None else {}
    except ValueError:
        units = text
    unit = units.get("command", "rad") if isinstance(units, dict) else units
    if unit != "rad":
        raise UserError(f"{file}: the unit of command is {shown(unit)}: must be rad")


def _check_even(file: str, time: np.ndarray) -> None:
    steps = np.diff(time)
    if len(steps) < 2 or steps.min() <= 0 or np.ptp(steps) > 0.1 * np.median(steps):
        raise UserError(f"{file}: time_s: must increase by even steps, over three rows or more")
    if not 0.02 - 1e-6 <= np.median(steps) <= 0.2 + 1e-6:
        raise UserError(f"{file}: time_s has steps of {np.median(steps):g} s: must be 0.02 to 0.2 s")


def draw_targets(path: str | Path, targets: Targets, robot: RobotSpec) -> None:
    """Draw each joint's targets over time, with its limits, as PNG."""
    from matplotlib.figure import Figure

    columns = 2
    rows = -(-len(robot.commands) // columns)
    figure = Figure(figsize=(16, 1.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for joint, name in enumerate(robot.commands):
        axis = axes[joint % rows, joint // rows]
        axis.step(targets.time, targets.command[:, joint], where="post", linewidth=0.7, color="tab:blue")
        for limit in robot.command_limits[joint]:
            axis.axhline(limit, linewidth=0.8, linestyle="--", color="tab:red")
        axis.set_title(name, fontsize=8, pad=2)
        axis.set_ylabel("rad", fontsize=7)
        axis.tick_params(labelsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("time, s", fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
