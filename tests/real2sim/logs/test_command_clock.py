"""When commands were sent is known also where rows are missing or come at uneven times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dexsim.robots import constants
from real2sim.logs.command_clock import sent_times
from real2sim.logs.joint_log import JointLog
from real2sim.search.replay import Replay
from tests.real2sim.logged import keep
from tests.real2sim.replayed import BACKEND, make_log, robot_with

HZ = 10.0


def sampled(time: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """(T, 1) the number of the last tick at or before each time."""
    return np.searchsorted(ticks, time + 1e-9, side="right")[:, None].astype(float)


def clock(count: int = 300, jitter: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.arange(count) / HZ + jitter * np.random.default_rng(seed).random(count)


def test_rows_on_the_clock_stay_where_they_are():
    time = np.arange(0, 30, 0.02)
    assert sent_times(time, sampled(time, clock())) == pytest.approx(time, abs=1e-9)


def test_a_clock_whose_period_is_no_multiple_of_the_rows_is_found():
    time, ticks = np.arange(0, 30, 0.02), np.arange(900) / 30
    new = np.flatnonzero(np.diff(sampled(time, ticks)[:, 0])) + 1
    sent = sent_times(time, sampled(time, ticks))[new]
    assert np.ptp(sent * 30 - np.round(sent * 30)) < 0.03
    assert np.ptp(time[new] * 30 - np.round(time[new] * 30)) > 0.3


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_command_in_a_missing_row_came_when_the_clock_says(share: float):
    time = np.arange(0, 30, 0.02)
    time = time[np.random.default_rng(1).random(len(time)) > share]
    sent = sent_times(time, sampled(time, clock()))
    new = np.flatnonzero(np.diff(sampled(time, clock())[:, 0])) + 1
    assert np.abs(sent[new] * HZ - np.round(sent[new] * HZ)).max() < 1e-6
    assert (sent[new] <= time[new] + 1e-9).all() and (sent[new] > time[new - 1]).all()


def test_rows_at_uneven_times_do_not_make_the_clock_uneven():
    rng = np.random.default_rng(2)
    time = np.sort(rng.uniform(0, 30, 1500))
    new = np.flatnonzero(np.diff(sampled(time, clock())[:, 0])) + 1
    sent = sent_times(time, sampled(time, clock()))[new]
    late = np.abs(sent - np.round(sent * HZ) / HZ)
    assert np.quantile(late, 0.99) < 1e-3  # with their rows they would be 20 ms late
    assert late.max() < 0.02


def test_commands_without_a_clock_come_with_their_rows():
    ticks = np.cumsum(np.random.default_rng(3).uniform(0.05, 0.3, 150))
    time = np.arange(0, ticks[-1], 0.02)
    assert sent_times(time, sampled(time, ticks)).tolist() == time.tolist()
    # ... or where rows are missing in their middle.
    missing = np.delete(time, slice(102, 104))
    command = sampled(missing, np.array([0.0, missing[102]]))
    assert sent_times(missing, command)[102] == pytest.approx(missing[102] - 0.02)


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_right_constants_reproduce_a_log_with_missing_rows(share: float):
    robot = robot_with({})
    log = make_log(robot, 20.0)
    rows = np.flatnonzero(np.random.default_rng(0).random(len(log.time)) > share)
    assert error(robot, replace(keep(log, rows), effort=None)) < 1e-9


def error(robot, log: JointLog) -> float:
    values = {name: constants(robot)[name][None] for name in ("joint_stiffness", "joint_bias")}
    replayed = Replay(robot, 1, BACKEND).run(log, values)
    return float(((replayed.position[0] - log.position)[log.valid] ** 2).mean())
