"""An exchange of lag for damping and inertia leaves minima that are only local, and keeps what fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dexsim.robots import constants
from real2sim.search.base import SearchSettings
from tests.real2sim.replayed import ARMATURE, FREE, TRUE, WRIST, make_log, problem_of, robot_with, search

GAUSS_NEWTON = SearchSettings("gauss_newton", 8)
FREE = {**FREE, "joint_armature": ARMATURE}


def test_an_exchange_leaves_a_minimum_that_is_only_local():
    """A drive slower than its lag and a lag slower than its drive move nearly alike."""
    slow = {
        "joint_stiffness": {WRIST: 9.2},
        "joint_damping": {WRIST: 1.17},
        "joint_armature": {WRIST: 0.019},
        "joint_lag": {WRIST: 0.044},
        "joint_friction": {WRIST: 0.11},
    }
    exchanged = {**slow, "joint_lag": {WRIST: 0.106}, "joint_damping": {WRIST: 0.6}, "joint_armature": {WRIST: 0.0068}}
    task = problem_of(make_log(robot_with(slow), noise=3e-4), FREE, robot_with(exchanged))
    true = constants(robot_with(slow))["joint_lag"][task.space.robot.commands.index(WRIST)]
    lag = [parameter.name for parameter in task.space.parameters].index(f"joint_lag/{WRIST}")
    stuck = search(task, task.space.start, GAUSS_NEWTON)
    assert np.exp(stuck[lag]) > 2 * true
    found = search(task, stuck, SearchSettings("exchange", 4, 32), GAUSS_NEWTON)
    assert np.exp(found[lag]) == pytest.approx(true, rel=0.02)


@pytest.mark.parametrize("tie", ["none", "all"])
def test_an_exchange_keeps_what_fits(tie: str):
    """Tied parameters and those of a joint that is right already stay as they are."""
    free = {**FREE, "joint_lag": replace(FREE["joint_lag"], tie=tie)}
    task = problem_of(make_log(robot_with(TRUE), 8.0, noise=3e-4), free)
    right = search(task, task.space.start, GAUSS_NEWTON)
    assert np.array_equal(search(task, right, SearchSettings("exchange", 2, 16)), right)
