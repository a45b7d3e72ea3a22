"""Replays: commands on the grid of physics steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from real2sim.search.replay import Replay
from tests.real2sim.replayed import BACKEND, ROBOT, make_log


@pytest.mark.parametrize("shift", [0.0, 0.003])
def test_a_command_acts_from_its_row_to_the_end_of_the_last_step(shift: float):
    """Also where rows lie between physics steps."""
    log = make_log(ROBOT, duration=2.0)
    time = log.time + shift * (np.arange(len(log.time)) > 0)
    targets = Replay(ROBOT, 1, BACKEND).targets(replace(log, time=time)).numpy()
    column = ROBOT.commands.index(log.joints[0])
    steps = np.ceil(time[-1] / BACKEND.timestep - 1e-9)
    assert len(targets) == steps
    assert targets[0, column] == pytest.approx(log.command[0, 0])
    last = log.command[-1 if shift else -2, 0]
    share = 0.3 if shift else 0.0
    assert targets[-1, column] == pytest.approx((1 - share) * log.command[-2, 0] + share * last)
    # What is commanded in between is commanded as long.
    held = np.append(np.diff(time), steps * BACKEND.timestep - time[-1])
    assert targets[:, column].sum() * BACKEND.timestep == pytest.approx((held * log.command[:, 0]).sum())


def test_joints_that_a_log_has_not_rest():
    targets = Replay(ROBOT, 1, BACKEND).targets(make_log(ROBOT, duration=2.0)).numpy()
    column = ROBOT.commands.index("right_elbow_pitch_joint")
    assert np.ptp(targets[:, column]) == 0
