"""The value object that system identification reads: commands and responses of the joints over time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dexsim.errors import UserError
from real2sim.logs.command_clock import sent_times

SETTLE_S = 1.0  # after a gap, until the joints have forgotten the commands in it
# A joint has moved if its command spans more, and its position more than that and this share of the command's span.
MIN_RANGE, MIN_RESPONSE = 0.01, 0.05
# A step in time is a gap if it is longer than so many usual ones, and than this in s: commands hold for 0.1 s, and rows
# that come at random leave out that much now and then.
GAP_STEPS, MIN_GAP_S = 5.0, 0.15
# Of a clock in s since 1970, so that rounding does not hold a shifted command for one row more.
TIME_ROUNDING_S = 1e-6


@dataclass(frozen=True, eq=False)
class JointLog:
    """T rows of J joints: what was measured at a time, and what had been commanded by then.

    Attributes:
        time: (T,) s, strictly increasing, not always evenly; the first is 0.
        command: (T, J) rad, the target sent last at or before `time`.
        position: (T, J) rad.
        velocity: (T, J) rad/s, None where it was not measured.
        effort: (T, J) N m, None where it was not measured.
        joints: Their names, some or all of the robot's commanded ones, in canonical order.
        robot: The robot's name, "gr1t2".
        hand: Its hands, "fourier" or "inspire".
        valid: (T,) False in a gap and for `SETTLE_S` after it: what was commanded in between is not known.
        name: The stem of the file that it was read from.
        digest: SHA-256 of that file, in hexadecimal.
    """

    time: np.ndarray
    command: np.ndarray
    position: np.ndarray
    velocity: np.ndarray | None
    effort: np.ndarray | None
    joints: tuple[str, ...]
    robot: str
    hand: str
    valid: np.ndarray
    name: str = ""
    digest: str = ""

    @property
    def duration(self) -> float:
        """Time from the first row to the last, s."""
        return float(self.time[-1] - self.time[0])

    @property
    def measurement_hz(self) -> float:
        """Rows a second, by the median step."""
        return float(1 / np.median(np.diff(self.time)))

    @property
    def command_hz(self) -> float:
        """Changes of the commands a second, by the median step; 0 where they change less than twice."""
        changes = self.time[1:][np.any(np.diff(self.command, axis=0) != 0, axis=1)]
        return float(1 / np.median(np.diff(changes))) if len(changes) > 1 else 0.0

    @cached_property
    def commanded(self) -> np.ndarray:
        """(J,) whether a joint was told to move."""
        return np.ptp(self.command, axis=0) >= MIN_RANGE

    @cached_property
    def moved(self) -> np.ndarray:
        """(J,) whether a joint was told to move, and did by its encoder."""
        least = np.maximum(MIN_RANGE, MIN_RESPONSE * np.ptp(self.command, axis=0))
        return self.commanded & (np.ptp(self.position, axis=0) >= least)

    @cached_property
    def effort_told(self) -> np.ndarray:
        """(J,) whether a joint's effort was logged, and is not the one number of a sensor that is not there."""
        if self.effort is None:
            return np.zeros(len(self.joints), dtype=bool)
        return np.ptp(self.effort, axis=0) > 0

    @cached_property
    def command_time(self) -> np.ndarray:
        """(T,) s, from when each row's command holds: after the row before, at the latest with the row."""
        return sent_times(self.time, self.command)

    def part(self, start_s: float, end_s: float) -> JointLog:
        """Returns the rows from `start_s` up to, not including, `end_s`; its time starts at 0 again.

        Raises:
            UserError: If there are fewer than two such rows.
        """
        rows = slice(*np.searchsorted(self.time, (start_s, end_s)))
        if rows.stop - rows.start < 2:
            raise UserError(
                f"log {self.name!r} has no rows from {start_s:g} to {end_s:g} s: it lasts {self.duration:.2f} s"
            )
        return self.rows(rows)

    def hold(self, clock_offset: float) -> JointLog:
        """Returns the log with commands that were really sent so much later than their clock said (negative: earlier).

        They are held, as before, until the next one. Rows for which the command is then not known are dropped: the
        first ones where commands come later, the last ones where they come earlier.

        Args:
            clock_offset: s.

        Raises:
            UserError: If hardly a row is left.
        """
        if clock_offset == 0:
            return self
        sent = self.command_time + clock_offset
        held = np.searchsorted(sent - TIME_ROUNDING_S, self.time, side="right") - 1
        known = (held >= 0) & (self.time <= self.time[-1] + clock_offset + TIME_ROUNDING_S)
        if known.sum() < 2:
            raise UserError(f"clock_offset = {clock_offset:g} s leaves nothing of {self.duration:.2f} s")
        shifted = replace(
            self,
            command=self.command[held],
            valid=self.valid & find_valid(self.time, clock_offset),
        )
        return shifted.rows(known)

    def rows(self, rows: slice | np.ndarray) -> JointLog:
        """Some rows of the log, their times from 0 on; which are valid stays as it is."""
        time = self.time[rows]
        return replace(
            self,
            time=time - time[0],
            command=self.command[rows],
            position=self.position[rows],
            velocity=None if self.velocity is None else self.velocity[rows],
            effort=None if self.effort is None else self.effort[rows],
            valid=self.valid[rows],
        )


def find_valid(time: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Returns which rows of (T,) times are in no gap and not within `SETTLE_S` of one, as (T,) bool.

    Args:
        time: s.
        shift: What is missing in a gap, missing so much later, s.
    """
    steps = np.diff(time)
    valid = np.ones(len(time), dtype=bool)
    for i in np.flatnonzero((steps > GAP_STEPS * np.median(steps)) & (steps > MIN_GAP_S)):
        valid &= (time <= time[i] + shift) | (time >= time[i + 1] + shift + SETTLE_S)
    return valid
