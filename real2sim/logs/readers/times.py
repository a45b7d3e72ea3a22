"""Which column of a table holds times, and in which unit: seconds, whatever else people write them in.

A name that ends in a unit says it (`time_ns`), as do types of times. Other numbers are seconds, unless their steps
cannot be: rows of a robot come less than half a second apart, and nothing that is logged has a row in a quarter of an
hour. Steps in between (of 20, say) could be milliseconds of a robot or seconds of something slow: they are left to the
check of times, which refuses them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dexsim.errors import UserError
from real2sim.logs.readers.arrow import numbers
from real2sim.logs.readers.recording import KINDS

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

_UNITS = {
    "s": ("s", "sec", "secs", "second", "seconds"),
    "ms": ("ms", "msec", "msecs", "millis", "milliseconds"),
    "us": ("us", "µs", "μs", "usec", "usecs", "micros", "microseconds"),
    "ns": ("ns", "nsec", "nsecs", "nanos", "nanosec", "nanosecs", "nanoseconds"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words}
# Units in a second.
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# "time", "timestamp_ns", "record_time_nsec", "%time", "t [ms]"
_NAME = re.compile(rf"(?:[a-z]+[ _.])?(?:time|timestamp|stamp|t)(?:[ _.(\[]*({'|'.join(_UNIT_OF)})[)\]]?)?")
# How far apart rows of a robot's log may be, in a unit that is named.
SHORTEST_S, LONGEST_S = 1e-5, 0.5
# Steps that are of one unit only: (least, most, unit). Half a second is the most that a log may have.
_ONLY = ((5e5, 5e8, "ns"), (1e3, 5e5, "us"))


def find_time(names: Iterable[str], path: Path) -> str | None:
    """The name of the column of times, None where there is none; raises UserError where there are several."""
    others = [name for name in names if name.partition(".")[0].strip().lower() not in KINDS]
    found = [name for name in others if _unit_by_name(name) is not None]
    if len(found) > 1:
        raise UserError(f"{path.name}: columns {', '.join(map(repr, found))} all hold times: keep one of them")
    return found[0] if found else None


def seconds(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    """Times (T,) of a column in s; those in another unit count from the first row.

    Raises:
        UserError: For a column of no times.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = _from_text(column)
        kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        ticks = column.cast(pa.int32()).cast(pa.int64()) if pa.types.is_time32(kind) else column.cast(pa.int64())
        return _from_first(ticks, PER_SECOND[kind.unit])
    values, unit = numbers(column, name, path), _unit_by_name(name) or "s"
    step = _step(values)
    if unit != "s" and not SHORTEST_S <= step / PER_SECOND[unit] <= LONGEST_S and len(values) > 1:
        raise UserError(
            f"{path.name}: column {name!r} has steps of {step:g} {unit}: rows of a log are {SHORTEST_S:g} to "
            f"{LONGEST_S:g} s apart; is it in {unit}?"
        )
    if unit == "s":
        unit = next((only for least, most, only in _ONLY if least <= step <= most), "s")
        if unit == "s":
            return values
        _log.warning("%s: %s has steps of %.6g: taken for %s", path.name, name, step, unit)
    return _from_first(column, PER_SECOND[unit])


def likely_unit(step: float) -> str | None:
    """The unit other than s in which a robot's log may have such steps; None where there is none."""
    return "ms" if 1.0 <= step < 1e3 else None


def _unit_by_name(name: str) -> str | None:
    """The unit that a name of times says, "s" where it says none; None for the name of something else."""
    match = _NAME.fullmatch(name.strip().lower().lstrip("%/#"))
    return None if match is None else _UNIT_OF.get(match.group(1), "s")


def _from_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as points in time, where all of them are; as they are where one is not."""
    import pyarrow as pa

    try:
        return column.cast(pa.timestamp("ns"))
    except (pa.ArrowException, ValueError):
        return column


def _step(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(np.abs(np.diff(finite)))) if len(finite) > 1 else 0.0


def _from_first(column: pa.ChunkedArray, per_second: int) -> np.ndarray:
    """Seconds since the first row; whole numbers are subtracted as such, since a clock's would be rounded."""
    import pyarrow as pa

    if not pa.types.is_signed_integer(column.type):
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        return (values - values[:1]) / per_second
    missing = column.is_null().to_numpy(zero_copy_only=False)
    values = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    first = values[:1]
    # What a 64-bit difference cannot hold is no time of a log, and would come out as one.
    apart = np.abs(values.astype(np.float64) - first.astype(np.float64)) < 2.0**62
    return np.where(missing | ~apart, np.nan, (values - first) / per_second)
