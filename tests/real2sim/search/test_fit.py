"""Searches find the constants that a log was made with, and say what they cannot know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dexsim.robots import constants
from real2sim.logs.joint_log import JointLog
from real2sim.results.confidence import assess
from real2sim.search.base import SearchSettings
from real2sim.search.fit import Fit
from real2sim.search.random import RandomSearch
from real2sim.search.space import SearchSpace
from tests.real2sim.replayed import ARMATURE, FREE, TRUE, WRIST, make_log, problem_of, robot_with, search

GAUSS_NEWTON = SearchSettings("gauss_newton", 8)


@pytest.fixture(scope="module")
def log() -> JointLog:
    return make_log(robot_with(TRUE), noise=3e-4)


def truth(space: SearchSpace) -> np.ndarray:
    true = constants(robot_with(TRUE))
    return np.array([p.searched(float(true[p.constant][p.members[0]])) for p in space.parameters])


def test_gauss_newton_recovers_what_the_log_determines(log: JointLog, tmp_path: Path):
    task = problem_of(log)
    fit = Fit(task, [GAUSS_NEWTON], tmp_path / "fit.npz", seed=0)
    fit.run()
    confidence = assess(task, fit.x)
    assert confidence.determined.sum() >= 12
    for p, parameter in enumerate(task.space.parameters):
        error = abs(fit.x[p] - truth(task.space)[p])
        near = 0.06 if parameter.is_log else 2e-4
        assert not confidence.determined[p] or error <= near, parameter.name
    # The start is far off, so this says something.
    assert (
        task.residuals(fit.x[None]).position_mse()[0] < 1e-3 * task.residuals(task.space.start[None]).position_mse()[0]
    )


def test_cma_comes_near_without_derivatives(log: JointLog, tmp_path: Path):
    task = problem_of(log)
    fit = Fit(task, [SearchSettings("cma", 20, 16, window_s=6.0, sigma=0.1)], tmp_path / "fit.npz", seed=0)
    fit.run()
    start, end = task.residuals(np.stack([task.space.start, fit.x])).position_mse()
    assert end < 0.05 * start


def test_random_search_ranks_what_it_tried(log: JointLog, tmp_path: Path):
    task = problem_of(log)
    fit = Fit(task, [SearchSettings("random", 3, 8)], tmp_path / "fit.npz", seed=0)
    fit.run()
    ranking = fit.search
    assert isinstance(ranking, RandomSearch)
    assert ranking.samples.shape == (24, len(task.space))
    errors = task.residuals(np.stack([ranking.ranked(share) for share in (0.0, 0.5, 1.0)])).position_mse()
    assert errors[0] < errors[1] < errors[2]
    assert errors == pytest.approx([ranking.error(share) for share in (0.0, 0.5, 1.0)], rel=1e-5)
    assert np.array_equal(fit.x, ranking.ranked(0.0))


def test_a_joint_that_never_moved_is_left_out_and_named():
    still = make_log(robot_with(TRUE), still=(WRIST,))
    assert still.moved.tolist() == [True, False, True]
    space = problem_of(still).space
    assert not any(WRIST in parameter.name for parameter in space.parameters)
    assert space.left_out[f"joint_stiffness/{WRIST}"] == "never moved"
    assert space.left_out["joint_stiffness/right_elbow_pitch_joint"] == "no joint that moved tells it"
    # Its constants stay the robot's own.
    index = space.robot.commands.index(WRIST)
    assert space.constants(space.start + 0.1)["joint_stiffness"][index] == 30.0


def test_without_effort_less_is_known(log: JointLog):
    """Motion alone tells stiffness, damping and armature only beside the link's own weight and inertia."""
    widths = {}
    for name, each in (("with", log), ("without", replace(log, effort=None))):
        task = problem_of(each, {**FREE, "joint_armature": ARMATURE})
        x = search(task, task.space.start, SearchSettings("gauss_newton", 5))
        names = [parameter.name for parameter in task.space.parameters]
        widths[name] = assess(task, x).half_width[names.index(f"joint_stiffness/{WRIST}")]
    assert widths["with"] < 0.1
    assert widths["without"] > 1.5 * widths["with"]
