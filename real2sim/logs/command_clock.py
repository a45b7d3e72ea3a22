"""When commands were sent, from rows that only say which was the last one before.

A row that is missing would have shown a new command earlier, and rows at uneven times show it more or less late. Most
commands are sent by a clock, and one that explains every row tells when; a joint at 1 rad/s is 20 mrad away from where
it would be if the command had come with the next row.
"""

from __future__ import annotations

import numpy as np

# Rows further apart than so many usual steps lack one in between.
MISSING = 1.5
# Share of the new commands that a clock must explain, and how many there must be.
EXPLAINED, FEWEST = 0.98, 10
# How much a clock that is later by 1 s is worth, where one that explains one command less well by 1 s costs 1.
LATER = 0.5
ROUNDING_S = 1e-6
LATE_SHARE = 0.05  # of a period


def sent_times(time: np.ndarray, command: np.ndarray) -> np.ndarray:
    """Times (T,) in s from which each row's command holds: the row's, or where it is new what is known better.

    They lie after the row before and not after the row itself. A new command came by the clock, where there is one;
    else with its row, or in the middle of where rows are missing.

    Args:
        time: (T,) s, of the rows.
        command: (T, J) the last ones sent at or before them.
    """
    new = np.flatnonzero(np.any(np.diff(command, axis=0) != 0, axis=1)) + 1
    times, usual = time.copy(), float(np.median(np.diff(time)))
    after, until = time[new - 1], time[new]
    whole = until - after <= MISSING * usual
    sent = np.where(whole, until, (after + usual + until) / 2)
    clock = _clock(after[whole], until[whole], _period(until)) if len(new) > FEWEST else None
    if clock is not None:
        start, period = clock
        # It may be late by what no row has told: a command that is there just before its tick came with its row.
        tick = start + period * np.floor((until - start) / period + LATE_SHARE)
        sent = np.where(tick > after + ROUNDING_S, np.minimum(tick, until), until)
    times[new] = sent
    return times


def _period(until: np.ndarray) -> float:
    """Mean time between new commands, roughly, without those between which one was missed."""
    steps = np.diff(until)
    return float(steps[steps <= MISSING * np.median(steps)].mean())


def _clock(after: np.ndarray, until: np.ndarray, period: float) -> tuple[float, float] | None:
    """First tick and period in s of a clock that ticks between `after` and `until`, (n,) each; None if none does.

    Of all that do, the latest: commands that come with their rows stay where they are. `period` is its, roughly.
    """
    if len(until) < FEWEST:
        return None
    count = np.append(0.0, np.cumsum(np.round(np.diff(until) / period)))
    start, period = _line(count, after, until)
    tick = start + period * count
    explained = (tick > after - ROUNDING_S) & (tick <= until + ROUNDING_S)
    return (start, period) if explained.mean() >= EXPLAINED else None


def _line(count: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """Start and slope of the line over `count` that leaves what lies between `low` and `high` least, (n,) each."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, eye, hstack, vstack

    line, by = csr_matrix(np.stack([np.ones_like(count), count], axis=1)), eye(len(count))
    outside = vstack([hstack([line, -by]), hstack([-line, -by])])
    cost = np.concatenate([-LATER * np.array([1.0, count.mean()]), np.ones(len(count))])
    bounds = [(None, None), (0.0, None), *[(0.0, None)] * len(count)]
    found = linprog(cost, outside, np.concatenate([high, -low]), bounds=bounds, method="highs")
    return (float(found.x[0]), float(found.x[1])) if found.success else (np.nan, np.nan)
