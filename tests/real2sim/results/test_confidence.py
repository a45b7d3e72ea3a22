"""Intervals hold the truth as often as they say, and what a log does not tell is marked; which rows are searched on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dexsim.errors import UserError
from dexsim.robots import constants
from real2sim.logs.joint_log import JointLog
from real2sim.results import confidence
from real2sim.results.confidence import assess
from real2sim.search.base import SearchSettings
from real2sim.search.gauss_newton import linearize
from real2sim.search.problem import Problem
from real2sim.search.space import FreeSettings, SearchSpace
from tests.real2sim.replayed import BACKEND, ELBOW, INDEX, WRIST, make_log, problem_of, robot_with, search

TRUE = {"joint_stiffness": {ELBOW: 75.0, WRIST: 33.0, INDEX: 2.2}, "link_mass": {"left_hand_yaw_link": 1.25}}
FREE = {
    "joint_stiffness": FreeSettings((0.1, 10.0), prior=1.0),
    "joint_damping": FreeSettings((0.1, 10.0), prior=1.0),
    "joint_lag": FreeSettings((0.05, 8.0), prior=1.0),
    "joint_bias": FreeSettings((-0.1, 0.1), prior=0.02),
    "link_mass": FreeSettings((0.4, 2.5), prior=0.15, only=("left_hand_yaw_link",)),
}


def fitted(log: JointLog, free: dict[str, FreeSettings], steps: int = 3) -> tuple[Problem, np.ndarray]:
    problem = problem_of(log, free)
    return problem, search(problem, problem.space.start, SearchSettings("gauss_newton", steps, tolerance=0.0))


@pytest.fixture(scope="module")
def log() -> JointLog:
    return make_log(robot_with(TRUE), noise=3e-4)


@pytest.fixture(scope="module")
def usual(log: JointLog) -> tuple[Problem, np.ndarray]:
    """A problem whose search has ended, and its result; neither may be changed."""
    return fitted(log, FREE, steps=4)


@pytest.fixture
def exact_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """These logs were made by the very model that is fitted, in the same physics steps."""
    monkeypatch.setattr(confidence, "MODEL_ERROR", 0.0)
    monkeypatch.setattr(confidence, "MODEL_ERRORS", {})
    monkeypatch.setattr(confidence, "STEP_ERROR", 0.0)


@pytest.mark.usefixtures("exact_model")
def test_intervals_hold_the_truth_as_often_as_they_say():
    """Also where positions are so noisy that a prior counts beside the log."""
    true = constants(robot_with(TRUE))
    distances = []
    for seed in range(4):
        problem, x = fitted(make_log(robot_with(TRUE), noise=2e-3, seed=seed), FREE, steps=4)
        sure = assess(problem, x)
        for p, parameter in enumerate(problem.space.parameters):
            error = x[p] - parameter.searched(float(true[parameter.constant][parameter.members[0]]))
            if sure.determined[p]:
                distances.append(1.96 * error / sure.half_width[p])
    spread = np.abs(np.array(distances))
    assert len(spread) > 40
    assert (spread < 1.96).mean() > 0.85
    # Not because they are wide.
    assert 0.6 < np.sqrt((spread**2).mean()) < 1.4


@pytest.mark.usefixtures("exact_model")
def test_errors_that_last_widen_intervals():
    """The same noise, but every value of it for 20 rows: there is a twentieth of it to average over."""
    clean, rng = make_log(robot_with(TRUE)), np.random.default_rng(0)
    count = len(clean.time)
    white = 1e-3 * rng.standard_normal((count, 3))
    widths = [
        assess(*fitted(replace(clean, position=clean.position + noise, effort=None), FREE)).half_width[:3]
        for noise in (white, np.repeat(white[: count // 20 + 1], 20, axis=0)[:count])
    ]
    assert (widths[1] > 1.4 * widths[0]).all()


@pytest.mark.usefixtures("exact_model")
def test_what_the_log_does_not_tell_is_marked():
    free = {
        **FREE,
        # What is allowed ends before the truth.
        "joint_bias": FreeSettings((-0.001, 0.001), prior=0.02),
        # Some grams, beside noise.
        "link_mass": FreeSettings((0.4, 2.5), prior=0.15, only=("L_index_proximal_link",)),
    }
    problem, x = fitted(make_log(robot_with({**TRUE, "joint_bias": {ELBOW: 0.004}}), noise=3e-4), free)
    sure = assess(problem, x)
    reasons = {p.name: reason for p, reason in zip(problem.space.parameters, sure.reasons, strict=True)}
    assert reasons[f"joint_bias/{ELBOW}"] == "at a bound"
    assert reasons["link_mass/L_index_proximal_link"] == "known from its prior only"
    assert not reasons[f"joint_lag/{WRIST}"]


@pytest.mark.usefixtures("exact_model")
def test_what_nothing_tells_is_marked_and_does_no_harm(log: JointLog):
    """A limit that no joint comes near, without a prior."""
    free = {**FREE, "joint_upper": FreeSettings((-0.01, 0.01), only=(ELBOW,))}
    problem, x = fitted(log, free)
    sure = assess(problem, x)
    reasons = {p.name: reason for p, reason in zip(problem.space.parameters, sure.reasons, strict=True)}
    assert reasons[f"joint_upper/{ELBOW}"] == "known from its prior only"
    assert (sure.half_width[:3] < 0.2).all()


def test_a_joint_that_the_model_does_not_reproduce_tells_nothing(log: JointLog):
    """An encoder of which nothing but noise comes."""
    position = log.position.copy()
    position[:, 1] = position[:, 1].mean() + 0.3 * np.random.default_rng(0).standard_normal(len(position))
    problem, x = fitted(replace(log, position=position), FREE, steps=2)
    sure = assess(problem, x)
    assert sure.astray.tolist() == [False, True, False]
    at_rest = replace(problem.log, command=np.repeat(log.command[:1], len(log.time), axis=0))
    assert not confidence._astray(problem.on(at_rest), linearize(problem, x)).any()
    for parameter, determined in zip(problem.space.parameters, sure.determined, strict=True):
        assert not (determined and parameter.label == WRIST)


def test_the_shortest_physics_steps_can_be_judged_too():
    log = make_log(robot_with(TRUE), duration=4.0, noise=3e-4)
    problem, x = fitted(log, FREE, steps=1)
    finest = problem.part(None, 0.0005)
    assert np.isfinite(assess(finest, x).half_width).all()


@pytest.mark.usefixtures("exact_model")
def test_a_search_that_has_not_ended_is_not_sure(usual: tuple[Problem, np.ndarray]):
    ended, x = usual
    stiffness = [p.name.startswith("joint_stiffness") for p in ended.space.parameters]
    away = x + 0.15 * np.array(stiffness)
    assert (assess(ended, away).half_width[stiffness] > 0.1).all()
    assert (assess(ended, x).half_width[stiffness] < 0.05).all()


@pytest.mark.usefixtures("exact_model")
def test_physics_steps_that_are_too_long_for_a_robot_widen_intervals(monkeypatch: pytest.MonkeyPatch):
    """A drive that is three times as stiff, with a third of the inertia, moves otherwise in steps of 10 ms."""
    quick = {"joint_stiffness": {WRIST: 90.0}, "joint_armature": {WRIST: 0.008}, "joint_lag": {WRIST: 0.01}}
    free = {**FREE, "joint_armature": FreeSettings((0.1, 10.0), prior=1.0, only=(WRIST,))}
    problem, x = fitted(make_log(robot_with(quick), noise=3e-5), free)
    p = [each.name for each in problem.space.parameters].index(f"joint_armature/{WRIST}")
    same = assess(problem, x).half_width[p]
    monkeypatch.setattr(confidence, "STEP_ERROR", 1.0)
    assert assess(problem, x).half_width[p] > 1.3 * same


def test_a_prior_holds_against_a_log_that_says_otherwise(log: JointLog, usual: tuple[Problem, np.ndarray]):
    tight = {**FREE, "joint_stiffness": FreeSettings((0.1, 10.0), prior=1e-4)}
    starts = constants(robot_with({}))["joint_stiffness"]
    for (problem, x), near in ((usual, False), (fitted(log, tight), True)):
        wrist = next(p for p, each in enumerate(problem.space.parameters) if each.name == f"joint_stiffness/{WRIST}")
        start = starts[problem.space.robot.commands.index(WRIST)]
        assert bool(abs(np.exp(x[wrist]) / start - 1) < 0.01) == near


def test_a_bias_is_found_in_one_step():
    biases = {ELBOW: 0.01, WRIST: -0.02, INDEX: 0.005}
    log = make_log(robot_with({"joint_bias": biases}))
    _, x = fitted(log, {"joint_bias": FREE["joint_bias"]}, steps=1)
    # Dry friction lets a joint start where it was measured.
    assert x == pytest.approx(list(biases.values()), abs=2e-3)


def test_a_part_is_where_every_joint_moves_and_no_rows_are_missing():
    log = make_log(robot_with(TRUE), duration=40.0)
    still = log.command.copy()
    still[log.time < 20.0, 1] = still[0, 1]
    part = Problem(replace(log, command=still), SearchSpace(robot_with({}), FREE, log.joints, log.moved), BACKEND)
    assert np.ptp(part.part(8.0).log.command[:, 1]) > 0.1
    missing = (log.time >= 5.0) & (log.time < 33.0)
    gap = Problem(
        replace(log, valid=~missing, command=np.where(missing[:, None], log.command[0], log.command)),
        SearchSpace(robot_with({}), FREE, log.joints, log.moved),
        BACKEND,
    )
    assert gap.part(6.0).rows.sum() > 0.6 * 300


def test_a_log_of_which_nothing_counts_is_refused():
    log = make_log(robot_with(TRUE), duration=4.0)
    with pytest.raises(UserError, match=r"log 'test': 10 rows count.*at least 25"):
        Problem(
            replace(log, valid=log.time >= 3.795),
            SearchSpace(robot_with({}), FREE, log.joints, log.moved),
            BACKEND,
        )
