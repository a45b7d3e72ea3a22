"""In what two joint tables differ: the one that a checkpoint, a bank or a log was recorded with, and ours.

Names, units and order say which robot it is: where they differ, a table is refused. Limits and couplings are what a
calibration moves: where they differ by little, a warning names the joints.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dexsim.errors import UserError, parsing

logger = logging.getLogger(__name__)

MAX_NAMES = 8  # of differences that an error lists, and of joints that a warning does
# By how much limits, and what couplings make of them, may differ, rad. Calibrations of one robot move an end stop or a
# tendon by some degrees. Twenty degrees are more: another hand, or a log whose zero is elsewhere; and a policy, which
# sees and moves a joint as a fraction of its range, would be off by as much.
TOLERANCE = 0.35


def check_same(recorded: Mapping[str, Any], ours: Mapping[str, Any], owner: str) -> None:
    """Refuse what was recorded with another table; warn of what has been calibrated since.

    Args:
        recorded: The table that was stored.
        ours: The table of where it is to be used.
        owner: What it was stored in, for the message.

    Raises:
        UserError: With the names that differ.
    """
    with parsing(owner, "recorded with a table of joints that can be read"):
        differences = list(_differences(recorded, ours))
    found = [each.text for each in differences if not each.within]
    if found:
        more = f" and {len(found) - MAX_NAMES} more" if len(found) > MAX_NAMES else ""
        raise UserError(f"{owner} does not fit: {'; '.join(found[:MAX_NAMES])}{more}")
    if differences:
        names = list(dict.fromkeys(each.joint for each in differences))
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        logger.warning(
            "%s has other limits or couplings than this robot, by up to %.3f rad: %s%s",
            owner,
            max(each.size for each in differences),
            ", ".join(names[:MAX_NAMES]),
            more,
        )


@dataclass(frozen=True)
class _Difference:
    """One difference; `within` the tolerance where it is of calibrated values of a joint, by `size` rad at most."""

    text: str
    joint: str = ""
    size: float = 0.0
    within: bool = False


class _Calibrated(tuple[float, ...]):
    """Positions of a joint in rad that a calibration moves."""


def _differences(recorded: Any, ours: Any, name: str = "") -> Iterator[_Difference]:
    """Name, one by one, what a table has that another one has not, or has otherwise."""
    ordered = isinstance(recorded, (list, tuple))
    recorded, ours = _by_name(recorded), _by_name(ours)
    if not (isinstance(recorded, dict) and isinstance(ours, dict)):
        if recorded != ours:
            yield _difference(recorded, ours, name)
        return
    prefix = f"{name}." if name else ""
    yield from (_Difference(f"{prefix}{key} is missing") for key in recorded if key not in ours)
    yield from (_Difference(f"{prefix}{key} is new") for key in ours if key not in recorded)
    for key in (key for key in recorded if key in ours):
        yield from _differences(recorded[key], ours[key], f"{prefix}{key}")
    if ordered and recorded.keys() == ours.keys() and list(recorded) != list(ours):
        yield _Difference(f"the order of {name} is {list(ours)}, but was {list(recorded)}")


def _difference(recorded: Any, ours: Any, name: str) -> _Difference:
    if not (isinstance(recorded, _Calibrated) and isinstance(ours, _Calibrated)):
        return _Difference(f"{name} is {ours}, but was {recorded}")
    size = max(abs(a - b) for a, b in zip(recorded, ours, strict=True))
    rounded = [[round(value, 4) for value in values] for values in (ours, recorded)]
    text = f"{name} is {rounded[0]}, but was {rounded[1]}"
    return _Difference(text, name.rpartition(".")[2], size, size <= TOLERANCE)


def _by_name(table: Any) -> Any:
    """View a list whose rows have names as a dictionary, a joint table as one by joint; anything else as it is."""
    if isinstance(table, _Calibrated):
        return table
    if isinstance(table, Mapping):
        return _joint_table(table) if {"commands", "limits", "couplings"} <= table.keys() else dict(table)
    if not isinstance(table, (list, tuple)):
        return table
    if all(isinstance(row, Mapping) and "name" in row for row in table):
        return {row["name"]: row for row in table}
    if all(isinstance(row, str) for row in table):
        return {row: row for row in table}
    return table


def _joint_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """A `RobotSpec.table` with limits, and the ends between which couplings move their joints, by name."""
    limits = dict(zip(table["commands"], table["limits"], strict=True))
    ends = {joint: [k * end + b for end in limits[source]] for joint, source, k, b in table["couplings"]}
    return {
        **table,
        "limits": {joint: _Calibrated(values) for joint, values in limits.items()},
        "couplings": [{"name": joint, "source": source} for joint, source, _, _ in table["couplings"]],
        "coupled range": {joint: _Calibrated(values) for joint, values in ends.items()},
    }
