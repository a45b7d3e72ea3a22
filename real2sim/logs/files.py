"""The log of joint trajectories that system identification reads.

The format is one Parquet file. A row holds what was measured at `time_s` and the target sent last at or before it.

====================  ========================================================================
Column                Content
====================  ========================================================================
`time_s`              float64, s, strictly increasing; steps may differ
`command.<joint>`     float32, rad, zero-order hold
`position.<joint>`    float32, rad
`velocity.<joint>`    float32, rad/s; for all joints or for none
`effort.<joint>`      float32, N m, the drive's own estimate; for all joints or for none
====================  ========================================================================

The joints are those of `RobotSpec.commands`, by name; some may be missing. The file's metadata, all of it text:

====================  ========================================================================
Key                   Content
====================  ========================================================================
robot, hand           what was recorded, in words; a hand that is plainly another one is refused
command_rate_hz       how often the commands change
measurement_rate_hz   how often a row was measured
joint_order           JSON list of the joints, in the order of the columns
units                 JSON object: `time_s`, `command`, `position`, `velocity`, `effort` to "s", "rad", "rad/s", "N m"
format                "1"
====================  ========================================================================

Other files are read as well: CSV with the same columns, MCAP (`dexsim.robots.messages`), episodes of a LeRobot dataset.
All of them pass the same checks (`checks`, `limits`, `response`).
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dexsim.errors import UserError, require, unknown
from dexsim.files import atomic_path
from dexsim.robots import RobotSpec
from real2sim.logs import checks, limits, response
from real2sim.logs.joint_log import SETTLE_S, JointLog, find_valid
from real2sim.logs.readers.lerobot import is_dataset, read_lerobot
from real2sim.logs.readers.mcap import read_mcap
from real2sim.logs.readers.recording import KINDS, TIME, Recording, is_file, parse_json, shown
from real2sim.logs.readers.tables import read_csv, read_parquet
from real2sim.logs.readers.units import ANGLES, SI, allowed_units, plain_unit
from real2sim.logs.response import apparent_lag

__all__ = ["SETTLE_S", "JointLog", "apparent_lag", "load_log", "save_log"]

_log = logging.getLogger(__name__)

FORMAT = "1"
READERS = {".parquet": read_parquet, ".csv": read_csv, ".mcap": read_mcap, ".csv.gz": read_csv}


def load_log(
    path: str | Path, robot: RobotSpec, units: str | None = None, clock_offset: float = 0.0, episode: int = 0
) -> JointLog:
    """Reads a log and checks it; what is odd but usable is reported by `logging`.

    Args:
        path: A `.parquet`, `.csv` or `.mcap` file, or the folder of a LeRobot dataset.
        robot: What it was recorded with; joints are matched by name.
        units: "rad" or "deg", of all angles, whatever the file says; None to believe the file.
        clock_offset: What to add to the clock of the commands, s: they were really sent so much later.
        episode: Which one of a LeRobot dataset.

    Raises:
        UserError: If the file cannot be used, with its name and, where there is one, the row and the joint.
    """
    require(units in (None, "rad", "deg"), "units", units, "rad or deg")
    require(bool(np.isfinite(clock_offset)), "clock_offset", clock_offset, "a time in s")
    recording = _read(Path(path), robot, episode)
    file = recording.path.name
    joints = _match_joints(recording, robot)
    _check_metadata(recording, robot)
    log, converted = _assemble(recording, joints, robot, units)
    limits.check_ranges(log, robot, file, converted)
    if not log.valid.all():
        _log.warning("%s: %d of %d rows are in or just after a gap", file, np.sum(~log.valid), len(log.time))
    log = log.hold(clock_offset)
    checks.check_known(log, file)
    checks.warn_odd(log, file)
    response.check_followers(log, file)
    response.check_lag(log, file, clock_offset)  # first: where the clocks differ, joints seem mixed up as well
    response.check_labels(log, file)
    response.check_velocity(log, file)
    limits.check_signs(log, robot, file)
    limits.check_effort(log, robot, file)
    return log


def save_log(path: str | Path, log: JointLog) -> None:
    """Writes a log in the Parquet format, whole or not at all.

    `valid` is not written: it follows from the times.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {TIME: np.asarray(log.time, np.float64)}
    for kind in KINDS:
        values = getattr(log, kind)
        if values is not None:
            columns.update(
                {f"{kind}.{name}": v for name, v in zip(log.joints, values.T.astype(np.float32), strict=True)}
            )
    metadata = {
        "robot": log.robot,
        "hand": log.hand,
        "command_rate_hz": f"{log.command_hz:.6g}",
        "measurement_rate_hz": f"{log.measurement_hz:.6g}",
        "joint_order": json.dumps(log.joints),
        "units": json.dumps(SI),
        "format": FORMAT,
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def _read(path: Path, robot: RobotSpec, episode: int) -> Recording:
    if is_dataset(path):
        return read_lerobot(path, robot, episode)
    if not is_file(path):
        what = "a folder without meta/info.json" if os.path.isdir(path) else "no such file"
        allowed = ".parquet, .csv, .mcap, the folder of a LeRobot dataset"
        raise UserError(f"log {str(path)!r}: {what}; allowed: {allowed}")
    suffix = "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix not in READERS:
        raise unknown(f"log {str(path)!r}: unknown suffix {path.suffix!r}", suffix, READERS)
    return _spelled(READERS[suffix](path), robot)


def _spelled(recording: Recording, robot: RobotSpec) -> Recording:
    """The recording with joints in the robot's spelling where only capitals differ."""
    spelling = {name.lower(): name for name in robot.commands}
    names = {column: column for column in recording.columns}
    for column in names:
        kind, dot, joint = column.partition(".")
        if dot and joint not in robot.commands and len(spelling) == len(robot.commands):
            names[column] = f"{kind}.{spelling.get(joint.lower(), joint)}"
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise UserError(f"{recording.path.name}: column {shown(twice[0])} is there twice")
    return replace(recording, columns={names[column]: values for column, values in recording.columns.items()})


def _match_joints(recording: Recording, robot: RobotSpec) -> tuple[str, ...]:
    """The joints that the columns have, in canonical order; raises UserError where a column does not fit."""
    file = recording.path.name
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    if TIME not in recording.columns:
        raise UserError(f"{file}: has no column {TIME!r}")
    for column in recording.columns:
        kind, _, name = column.partition(".")
        if column == TIME:
            continue
        if kind not in found or not name:
            allowed = (TIME, *(f"{known}.<joint>" for known in KINDS))
            raise unknown(f"{file}: unknown column {shown(column)}", column, allowed)
        if name not in robot.commands:
            raise unknown(
                f"{file}: column {shown(column)} is of no joint of robot {robot.name!r}", name, robot.commands
            )
        found[kind].append(name)
    for name in (name for name in robot.commands if any(name in names for names in found.values())):
        for kind in ("command", "position"):
            if name not in found[kind]:
                raise UserError(f"{file}: joint {name!r} has no column '{kind}.{name}'")
    if not found["position"]:
        raise UserError(f"{file}: has no joint; columns: command.<joint>, position.<joint>")
    _check_order(recording, found["position"])
    missing = [name for name in robot.commands if name not in found["position"]]
    if missing:
        _log.info("%s: %d joints are not in it: %s", file, len(missing), ", ".join(missing))
    return tuple(name for name in robot.commands if name in found["position"])


def _check_order(recording: Recording, columns: list[str]) -> None:
    """Refuses metadata that lists the joints otherwise than the columns do: one of them is wrong.

    Joints whose columns were taken out may still be listed.
    """
    text = recording.metadata.get("joint_order")
    if text is None:
        return
    file, order = recording.path.name, _json(text, "joint_order", recording)
    if not isinstance(order, list):
        raise UserError(f"{file}: joint_order = {shown(text)}: must be a JSON list of the joints")
    unlisted = [name for name in columns if name not in order]
    if unlisted:
        raise UserError(f"{file}: joint_order does not list {unlisted[0]!r}, which has columns")
    for at, (listed, column) in enumerate(zip((name for name in order if name in columns), columns, strict=False)):
        if listed != column:
            raise UserError(f"{file}: joint_order has {shown(listed)} as joint {at}, but the columns have {column!r}")


def _check_metadata(recording: Recording, robot: RobotSpec) -> None:
    """Refuses another format, and what plainly names another hand."""
    if recording.metadata.get("format", FORMAT) != FORMAT:
        given = shown(recording.metadata["format"])
        raise UserError(f"{recording.path.name}: format = {given}: must be {FORMAT!r}")
    checks.check_hand(recording.metadata.get("hand", ""), robot, recording.path.name)


def _assemble(
    recording: Recording, joints: tuple[str, ...], robot: RobotSpec, units: str | None
) -> tuple[JointLog, bool]:
    """The log in SI units, and whether its positions or commands were converted from degrees."""
    file, found = recording.path.name, _units(recording)
    time = recording.columns[TIME]
    checks.check_time(time, file)
    time = time - time[0]
    values = {kind: _stack(recording.columns, kind, joints, file) for kind in KINDS}
    degrees = {kind for kind in KINDS[:3] if (units or found[kind]) == "deg"}
    values = {kind: np.deg2rad(v) if kind in degrees and v is not None else v for kind, v in values.items()}
    command, position = values["command"], values["position"]
    assert command is not None and position is not None  # every joint has both
    log = JointLog(
        time, command, position, values["velocity"], values["effort"], joints, robot.name, robot.hand,
        find_valid(time), recording.name, recording.digest,
    )  # fmt: skip
    return log, bool(degrees & {"command", "position"})


def _stack(columns: dict[str, np.ndarray], kind: str, joints: Iterable[str], file: str) -> np.ndarray | None:
    """Finite values (T, J); None where a joint has none."""
    names = [f"{kind}.{name}" for name in joints]
    missing = [name for name in names if name not in columns]
    if missing:
        if len(missing) < len(names):
            _log.warning("%s: %s is left out: not all joints have it, not %s", file, kind, missing[0])
        return None
    values = np.stack([columns[name] for name in names], axis=1)
    checks.check_finite(kind, values, tuple(joints), file)
    return values


def _units(recording: Recording) -> dict[str, str]:
    """The unit of each kind of column, "rad" or "deg" for angles; raises UserError for one that is not understood."""
    text = recording.metadata.get("units")
    if text is None:
        return {kind: "rad" for kind in KINDS}
    given = ANGLES.get(text.strip().lower())  # one word for all angles
    table = {} if given else _json(text, "units", recording)
    if not isinstance(table, dict):
        raise UserError(f"{recording.path.name}: units = {shown(text)}: must be a JSON object")
    default = {kind: given or "rad" for kind in KINDS[:3]}
    found = {}
    for kind in (TIME, *KINDS):
        named = str(table.get(kind, default.get(kind, SI[kind])))
        unit = plain_unit(kind, named)
        if unit is None:
            unit_is = f"{recording.path.name}: the unit of {kind} is {shown(named)}"
            raise UserError(f"{unit_is}: must be {allowed_units(kind)}")
        found[kind] = unit
    return found


def _json(text: str, key: str, recording: Recording) -> object:
    try:
        return parse_json(text)
    except ValueError:
        raise UserError(f"{recording.path.name}: {key} = {shown(text)}: must be JSON") from None
