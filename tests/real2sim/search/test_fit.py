"""Searches find the constants that a log was made with, go on after a kill, and say what they cannot know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dexsim.errors import UserError
from dexsim.robots import constants
from real2sim.logs.joint_log import JointLog
from real2sim.results.confidence import assess
from real2sim.search.base import SearchSettings
from real2sim.search.fit import Fit
from real2sim.search.problem import Problem
from real2sim.search.random import RandomSearch
from real2sim.search.space import FreeSettings, SearchSpace
from tests.real2sim.replayed import BACKEND, JOINTS, make_log, robot_with

ELBOW, WRIST, INDEX = JOINTS
TRUE = {
    "joint_stiffness": {ELBOW: 85.0, WRIST: 40.0, INDEX: 2.4},
    "joint_damping": {ELBOW: 6.5, WRIST: 1.5, INDEX: 0.11},
    "joint_friction": {ELBOW: 0.5, WRIST: 0.2, INDEX: 0.05},
    "joint_lag": {ELBOW: 0.04, WRIST: 0.05, INDEX: 0.045},
    "joint_bias": {ELBOW: 0.004, WRIST: -0.003, INDEX: 0.002},
}
FREE = {
    "joint_stiffness": FreeSettings((0.1, 10.0), prior=1.0),
    "joint_damping": FreeSettings((0.1, 10.0), prior=1.0),
    "joint_friction": FreeSettings((0.01, 50.0), prior=2.0),
    "joint_lag": FreeSettings((0.05, 8.0), prior=1.0),
    "joint_bias": FreeSettings((-0.1, 0.1), prior=0.02),
}
GAUSS_NEWTON = SearchSettings("gauss_newton", 8)


@pytest.fixture(scope="module")
def log() -> JointLog:
    return make_log(robot_with(TRUE), noise=3e-4)


def problem(log: JointLog, free: dict[str, FreeSettings] | None = None) -> Problem:
    return Problem(log, SearchSpace(robot_with({}), FREE if free is None else free, log.joints, log.moved), BACKEND)


def truth(space: SearchSpace) -> np.ndarray:
    true = constants(robot_with(TRUE))
    return np.array([p.searched(float(true[p.constant][p.members[0]])) for p in space.parameters])


def test_gauss_newton_recovers_what_the_log_determines(log: JointLog, tmp_path: Path):
    task = problem(log)
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


def test_an_exchange_leaves_a_minimum_that_is_only_local(tmp_path: Path):
    """A drive slower than its lag and a lag slower than its drive move nearly alike."""
    slow = {
        "joint_stiffness": {WRIST: 9.2},
        "joint_damping": {WRIST: 1.17},
        "joint_armature": {WRIST: 0.019},
        "joint_lag": {WRIST: 0.044},
        "joint_friction": {WRIST: 0.11},
    }
    exchanged = {**slow, "joint_lag": {WRIST: 0.106}, "joint_damping": {WRIST: 0.6}, "joint_armature": {WRIST: 0.0068}}
    free = {**FREE, "joint_armature": FreeSettings((0.1, 10.0), prior=1.0)}
    slow_log = make_log(robot_with(slow), noise=3e-4)
    task = Problem(slow_log, SearchSpace(robot_with(exchanged), free, slow_log.joints, slow_log.moved), BACKEND)
    true = constants(robot_with(slow))["joint_lag"][task.space.robot.commands.index(WRIST)]
    lag = [parameter.name for parameter in task.space.parameters].index(f"joint_lag/{WRIST}")
    lags = {}
    for name, stages in (("stuck", []), ("exchanged", [SearchSettings("exchange", 4, 32), GAUSS_NEWTON])):
        fit = Fit(task, [GAUSS_NEWTON, *stages], tmp_path / f"{name}.npz", seed=0)
        fit.run()
        lags[name] = float(np.exp(fit.x[lag]))
    assert lags["stuck"] > 2 * true
    assert lags["exchanged"] == pytest.approx(true, rel=0.02)


def test_an_exchange_keeps_what_fits(log: JointLog, tmp_path: Path):
    """Tied parameters and those of a joint that is right already stay as they are."""
    free = {**FREE, "joint_armature": FreeSettings((0.1, 10.0), prior=1.0)}
    for each in (free, {**free, "joint_lag": FreeSettings((0.05, 8.0), prior=1.0, tie="all")}):
        task = problem(log, each)
        fits = [
            Fit(task, stages, tmp_path / f"{len(stages)}_{each['joint_lag'].tie}.npz", seed=0)
            for stages in ([GAUSS_NEWTON], [GAUSS_NEWTON, SearchSettings("exchange", 2, 32)])
        ]
        for fit in fits:
            fit.run()
        assert np.array_equal(fits[0].x, fits[1].x)


def test_cma_comes_near_without_derivatives(log: JointLog, tmp_path: Path):
    task = problem(log)
    fit = Fit(task, [SearchSettings("cma", 20, 16, sigma=0.1)], tmp_path / "fit.npz", seed=0)
    fit.run()
    start, end = task.residuals(np.stack([task.space.start, fit.x])).position_mse()
    assert end < 0.05 * start


def test_random_search_ranks_what_it_tried(log: JointLog, tmp_path: Path):
    task = problem(log)
    fit = Fit(task, [SearchSettings("random", 3, 8)], tmp_path / "fit.npz", seed=0)
    fit.run()
    ranking = fit.search
    assert isinstance(ranking, RandomSearch)
    assert ranking.samples.shape == (24, len(task.space))
    errors = task.residuals(np.stack([ranking.ranked(share) for share in (0.0, 0.5, 1.0)])).position_mse()
    assert errors[0] < errors[1] < errors[2]
    assert errors == pytest.approx([ranking.error(share) for share in (0.0, 0.5, 1.0)], rel=1e-5)
    assert np.array_equal(fit.x, ranking.ranked(0.0))


STAGES = [
    SearchSettings("random", 2, 4, window_s=4.0),
    SearchSettings("cma", 3, 8, window_s=4.0),
    SearchSettings("exchange", 2, 8, window_s=4.0, tolerance=0.0),
    SearchSettings("gauss_newton", 2, window_s=4.0, tolerance=0.0),
]


@pytest.mark.parametrize("kill_after", [1, 2, 4, 6, 8])
def test_a_killed_fit_goes_on_as_if_it_had_not_been(
    log: JointLog, tmp_path: Path, kill_after: int, monkeypatch: pytest.MonkeyPatch
):
    whole = Fit(problem(log), STAGES, tmp_path / "whole.npz", seed=3)
    whole.run()

    class KilledError(Exception):
        pass

    left = [kill_after]

    def line(self: Fit, step: object) -> str:
        left[0] -= 1
        if left[0] == 0:
            raise KilledError
        return ""

    with monkeypatch.context() as patched:
        patched.setattr(Fit, "_line", line)
        with pytest.raises(KilledError):
            Fit(problem(log), STAGES, tmp_path / "killed.npz", seed=3).run()
    resumed = Fit(problem(log), STAGES, tmp_path / "killed.npz", seed=3)
    assert len(resumed.steps) == kill_after
    resumed.run()
    assert np.array_equal(resumed.x, whole.x)
    assert [(s.stage, s.count, s.mse) for s in resumed.steps] == [(s.stage, s.count, s.mse) for s in whole.steps]


def test_the_state_of_another_fit_is_refused(log: JointLog, tmp_path: Path):
    Fit(problem(log), STAGES[:1], tmp_path / "fit.npz", seed=0).run()
    with pytest.raises(UserError, match="of another log, or with other settings"):
        Fit(problem(log), STAGES[:1], tmp_path / "fit.npz", seed=1)


def test_a_joint_that_never_moved_is_left_out_and_named():
    still = make_log(robot_with(TRUE), still=(WRIST,))
    assert still.moved.tolist() == [True, False, True]
    space = problem(still).space
    assert not any(WRIST in parameter.name for parameter in space.parameters)
    assert space.left_out[f"joint_stiffness/{WRIST}"] == "never moved"
    assert space.left_out["joint_stiffness/right_elbow_pitch_joint"] == "no joint that moved tells it"
    # Its constants stay the robot's own.
    index = space.robot.commands.index(WRIST)
    assert space.constants(space.start + 0.1)["joint_stiffness"][index] == 30.0


def test_without_effort_less_is_known(log: JointLog, tmp_path: Path):
    """Motion alone tells stiffness, damping and armature only beside the link's own weight and inertia."""
    free = {**FREE, "joint_armature": FreeSettings((0.1, 10.0), prior=1.0)}
    widths = {}
    for name, each in (("with", log), ("without", replace(log, effort=None))):
        task = problem(each, free)
        fit = Fit(task, [GAUSS_NEWTON], tmp_path / f"{name}.npz", seed=0)
        fit.run()
        names = [parameter.name for parameter in task.space.parameters]
        widths[name] = assess(task, fit.x).half_width[names.index(f"joint_stiffness/{WRIST}")]
    assert widths["with"] < 0.1
    assert widths["without"] > 1.5 * widths["with"]
