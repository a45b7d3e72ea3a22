"""Robots with measured constants: a small YAML file that real-to-sim writes and `robot=` reads.

    format: 1
    robot: gr1t2                     # whose joints it names
    tool: dexsim 0.1.0               # what wrote it
    log: {name: ..., sha256: ...}    # what it was fitted to
    constants:
      joint_stiffness: {left_elbow_pitch_joint: 92.4, ...}
    intervals:                       # may be left out
      joint_stiffness: {left_elbow_pitch_joint: [87.1, 98.0], ...}

`constants` has the names of `dexsim.robots.constants`, each with a value for every joint, link, axis or coupling that
differs from the robot's own. `intervals` are the 95% intervals of what was searched: `randomization=tuned` draws from
them. Other keys are for people.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dexsim.errors import UserError, parsing, unknown
from dexsim.files import atomic_write
from dexsim.paths import assets_dir
from dexsim.robots.constants import CONSTANTS, Values, check, constants, labels, with_constants
from dexsim.robots.spec import Interval, RobotSpec

FORMAT = 1
KEYS = ("format", "robot", "constants")


def read_tuned(path: str | Path) -> dict[str, Any]:
    """What a file of a tuned robot holds.

    Args:
        path: the file; one that is not there is looked for in `assets/robots/`.

    Raises:
        UserError: where there is none, or it is none.
    """
    found = next((p for p in (Path(path), assets_dir() / "robots" / path) if p.is_file()), None)
    if found is None:
        raise UserError(f"robot.tuned = {str(path)!r}: no such file, neither here nor in {assets_dir() / 'robots'}")
    with parsing(found, "a YAML file"):
        content = yaml.safe_load(found.read_text(encoding="utf-8"))
    missing = [key for key in KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{found}: not a tuned robot, {', '.join(missing)} missing")
    return content


class _Pair(list[float]):
    """Two numbers that stand in one line."""


class _Dumper(yaml.SafeDumper):
    """Of these files."""


_Dumper.add_representer(_Pair, lambda dumper, pair: dumper.represent_sequence("tag:yaml.org,2002:seq", pair, True))


def write_tuned(
    path: Path,
    robot: RobotSpec,
    values: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
    intervals: Iterable[Interval] = (),
) -> None:
    """Write the constants in which a robot differs.

    Args:
        path: the file.
        robot: the robot as it is without them.
        values: name -> (k,) in the order of `labels`.
        about: what else to write above them: the log, the tool, the errors.
        intervals: how sure they are.
    """
    own = constants(robot)
    tables = {
        name: {
            label: float(f"{new:.6g}")
            for label, new, old in zip(labels(robot, name), value.tolist(), own[name].tolist(), strict=True)
            if new != old
        }
        for name, value in values.items()
    }
    sure: dict[str, dict[str, _Pair]] = {}
    for each in intervals:
        sure.setdefault(each.name, {})[each.label] = _Pair(float(f"{end:.6g}") for end in (each.low, each.high))
    content = {
        "format": FORMAT,
        "robot": robot.name,
        **about,
        "constants": {name: table for name, table in tables.items() if table},
        **({"intervals": sure} if sure else {}),
    }
    atomic_write(path, yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True))


def apply_tuned(robot: RobotSpec, content: Mapping[str, Any]) -> RobotSpec:
    """A robot with the constants of a `read_tuned` in place of its own.

    Raises:
        UserError: if it is another robot's, or names or values are none.
    """
    if content.get("format") != FORMAT:
        raise UserError(f"robot.tuned: format {content.get('format')!r}; allowed: {FORMAT}")
    if content.get("robot") != robot.name:
        raise UserError(f"robot.tuned is of robot {content.get('robot')!r}; allowed here: {robot.name}")
    tables = content.get("constants")
    if not isinstance(tables, Mapping):
        raise UserError(f"robot.tuned: constants = {tables!r}: must be a table of constants; {{}} for none")
    values = {name: _merge(robot, name, table) for name, table in tables.items()}
    check(values)
    tuned = replace(with_constants(robot, values), intervals=_intervals(robot, content.get("intervals")))
    for name, (low, high) in zip(tuned.commands, tuned.command_limits.tolist(), strict=True):
        if not low < high:
            raise UserError(f"robot.tuned: joint_lower of {name} = {low:g}: must be below its joint_upper, {high:g}")
    return tuned


def _merge(robot: RobotSpec, name: str, table: Any) -> np.ndarray:
    merged: Values = {}
    for index, label, value in _rows(robot, "constants", name, table):
        if not _is_number(value):
            raise UserError(f"robot.tuned: {name} of {label} = {value!r}: must be a number")
        merged.setdefault(name, constants(robot)[name].copy())[index] = float(value)
    return merged.get(name, constants(robot)[name])


def _intervals(robot: RobotSpec, tables: Any) -> tuple[Interval, ...]:
    """What a file says of how sure it is; nothing where it was written before there was a word of that."""
    if tables is None:
        return ()
    if not isinstance(tables, Mapping):
        raise UserError(f"robot.tuned: intervals = {tables!r}: must be a table of constants")
    found = []
    for name, table in tables.items():
        for _, label, pair in _rows(robot, "intervals", name, table):
            low, high = CONSTANTS[name].bounds
            sound = isinstance(pair, (list, tuple)) and len(pair) == 2 and all(map(_is_number, pair))
            if not sound or not low <= pair[0] <= pair[1] <= high:
                allowed = f"[low, high] with {low:g} <= low <= high <= {high:g} {CONSTANTS[name].unit}"
                raise UserError(f"robot.tuned: intervals: {name} of {label} = {pair!r}: must be {allowed}")
            found.append(Interval(name, label, float(pair[0]), float(pair[1])))
    return tuple(found)


def _rows(robot: RobotSpec, key: str, name: str, table: Any) -> Iterator[tuple[int, str, Any]]:
    """Place, label and content of each entry of a constant's table."""
    where = "robot.tuned" if key == "constants" else f"robot.tuned: {key}"
    if name not in CONSTANTS:
        raise unknown(f"{where}: no constant named {name!r}", name, CONSTANTS)
    if not isinstance(table, Mapping):
        raise UserError(f"{where}: {name} = {table!r}: must have a value for each joint, link, axis or coupling")
    known = labels(robot, name)
    for label, value in table.items():
        if label not in known:
            raise unknown(f"{where}: {name} has no value for {label!r}", label, known)
        yield known.index(label), label, value


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and abs(value) < math.inf
