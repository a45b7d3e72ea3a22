"""In what two joint tables differ: the one that a checkpoint, a bank or a log was recorded with, and ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dexsim.errors import UserError

MAX_NAMES = 8  # of differences that an error lists


def check_same(recorded: Mapping[str, Any], ours: Mapping[str, Any], owner: str) -> None:
    """Refuse what was recorded with another table.

    Args:
        recorded: The table that was stored.
        ours: The table of where it is to be used.
        owner: What it was stored in, for the message.

    Raises:
        UserError: With the names that differ.
    """
    found = list(_differences(recorded, ours))
    if found:
        more = f" and {len(found) - MAX_NAMES} more" if len(found) > MAX_NAMES else ""
        raise UserError(f"{owner} does not fit: {'; '.join(found[:MAX_NAMES])}{more}")


def _differences(recorded: Any, ours: Any, name: str = "") -> Iterator[str]:
    """Name, one by one, what a table has that another one has not, or has otherwise."""
    ordered = isinstance(recorded, (list, tuple))
    recorded, ours = _by_name(recorded), _by_name(ours)
    if not (isinstance(recorded, dict) and isinstance(ours, dict)):
        if recorded != ours:
            yield f"{name} is {ours}, but was {recorded}"
        return
    prefix = f"{name}." if name else ""
    yield from (f"{prefix}{key} is missing" for key in recorded if key not in ours)
    yield from (f"{prefix}{key} is new" for key in ours if key not in recorded)
    for key in (key for key in recorded if key in ours):
        yield from _differences(recorded[key], ours[key], f"{prefix}{key}")
    if ordered and recorded.keys() == ours.keys() and list(recorded) != list(ours):
        yield f"the order of {name} is {list(ours)}, but was {list(recorded)}"


def _by_name(table: Any) -> Any:
    """View a list whose rows have names as a dictionary, limits as one by joint; anything else as it is."""
    if isinstance(table, Mapping):
        joints = {"commands", "limits"} <= table.keys()
        return (
            {**table, "limits": dict(zip(table["commands"], table["limits"], strict=True))} if joints else dict(table)
        )
    if not isinstance(table, (list, tuple)):
        return table
    if all(isinstance(row, Mapping) and "name" in row for row in table):
        return {row["name"]: row for row in table}
    if all(isinstance(row, str) for row in table):
        return {row: row for row in table}
    if all(isinstance(row, (list, tuple)) and isinstance(row[0], str) for row in table):
        return {row[0]: row[1:] for row in table}
    return table
