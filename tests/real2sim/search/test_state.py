"""The file of a fit gives back what was stored to the last bit, and runs nothing; a killed fit goes on from it."""

from __future__ import annotations

import io
import pickle
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexsim.errors import UserError
from real2sim.logs.joint_log import JointLog
from real2sim.search import state
from real2sim.search.base import SearchSettings
from real2sim.search.fit import Fit
from real2sim.search.make import make_search
from real2sim.search.problem import Problem
from real2sim.search.space import FreeSettings
from tests.real2sim.replayed import TRUE, make_log, problem_of, robot_with

STATE = {
    "x": np.array([0.1, 1 / 3, np.nextafter(1.0, 2.0), np.inf]),
    "whole": np.arange(3),
    "mse": float("inf"),
    "number": np.float64(0.1) + np.float64(0.2),
    "generator": np.random.default_rng(0).bit_generator.state,
    "nested": [{"none": None, "yes": True, "matrix": np.eye(2)}, []],
}


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_state_is_read_back_to_the_last_bit():
    read = state.decode(state.encode(STATE), Path("fit.npz"))
    np.testing.assert_equal(read, STATE)
    assert read["x"].tobytes() == STATE["x"].tobytes() and read["whole"].dtype == STATE["whole"].dtype


def test_nothing_in_a_file_is_run(tmp_path: Path):
    mark, file = tmp_path / "was_run", io.BytesIO()
    objects = np.empty(1, dtype=object)
    objects[0] = Bomb(mark)
    np.savez(file, header=objects)
    for content in (pickle.dumps(Bomb(mark)), file.getvalue()):
        with pytest.raises(UserError, match=r"fit.npz: is no state of a fit"):
            state.decode(content, Path("fit.npz"))
    assert not mark.exists()


def test_a_broken_file_is_refused():
    whole = state.encode(STATE)
    rng = random.Random(0)
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        with pytest.raises(UserError, match="or is cut short"):
            state.decode(whole[:length], Path("fit.npz"))
    flipped = bytearray(whole)
    where = whole.index(np.eye(2).tobytes()) + rng.randrange(32)
    flipped[where] ^= 1
    with pytest.raises(UserError, match="or is cut short"):
        state.decode(bytes(flipped), Path("fit.npz"))


@pytest.fixture(scope="module")
def task() -> Problem:
    log = make_log(robot_with({}), 6.0, joints=("left_elbow_pitch_joint",))
    return problem_of(log, {"joint_lag": FreeSettings((0.1, 8.0))})


def wrong_shape(stored: dict[str, Any]) -> None:
    stored["search"]["x"] = np.zeros(5)


def wrong_kind(stored: dict[str, Any]) -> None:
    stored["search"]["x"] = "x"


def gone(stored: dict[str, Any]) -> None:
    del stored["search"][list(stored["search"])[-1]]


def no_such_stage(stored: dict[str, Any]) -> None:
    stored["stage"] = 7


def other_steps(stored: dict[str, Any]) -> None:
    stored["steps"] = [[0, "cma"]]


def never_ends(stored: dict[str, Any]) -> None:
    stored["search"]["count"] = -(10**9)


def beyond_memory(stored: dict[str, Any]) -> None:
    stored["search"]["count"] = 10**12


def no_seconds(stored: dict[str, Any]) -> None:
    stored["steps"][-1][4] = float("nan")


@pytest.mark.parametrize("method", ["random", "cma", "exchange", "gauss_newton"])
def test_a_state_that_fits_no_search_gets_one_line(task: Problem, method: Any, tmp_path: Path):
    path, stages = tmp_path / "fit.npz", [SearchSettings(method, 1, 8)]
    Fit(task, stages, path, seed=0).run()
    whole = path.read_bytes()
    Fit(task, stages, path, seed=0)  # as it is, it is gone on with
    for change in (wrong_shape, wrong_kind, gone, no_such_stage, other_steps, never_ends, beyond_memory, no_seconds):
        stored = state.decode(whole, path)
        change(stored)
        path.write_bytes(state.encode(stored))
        with pytest.raises(UserError, match="is no state of a fit, or is cut short"):
            Fit(task, stages, path, seed=0)


def test_a_state_of_another_fit_is_refused(task: Problem, tmp_path: Path):
    path, stage = tmp_path / "fit.npz", SearchSettings("random", 1, 4)
    Fit(task, [stage], path, seed=0).run()
    for stages, seed in (([stage], 1), ([replace(stage, candidates=8)], 0)):
        with pytest.raises(UserError, match="of another log, or with other settings"):
            Fit(task, stages, path, seed)


STAGES = [
    SearchSettings("random", 2, 4, window_s=4.0),
    SearchSettings("cma", 3, 8, window_s=4.0),
    SearchSettings("exchange", 2, 8, window_s=4.0, tolerance=0.0),
    SearchSettings("gauss_newton", 2, window_s=4.0, tolerance=0.0),
]


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def log() -> JointLog:
    return make_log(robot_with(TRUE), noise=3e-4)


@pytest.fixture(scope="module")
def whole(log: JointLog, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    fit = Fit(problem_of(log), STAGES, tmp_path_factory.mktemp("whole") / "fit.npz", seed=3)
    fit.run()
    return fit


@pytest.mark.parametrize("kill_after", [1, 2, 4, 6, 8])
def test_a_killed_fit_goes_on_as_if_it_had_not_been(
    log: JointLog, whole: Fit, tmp_path: Path, kill_after: int, monkeypatch: pytest.MonkeyPatch
):
    """In another process: with simulators and searches of its own."""
    left = [kill_after]

    def line(self: Fit, step: object) -> str:
        left[0] -= 1
        if left[0] == 0:
            raise KilledError
        return ""

    with monkeypatch.context() as patched:
        patched.setattr(Fit, "_line", line)
        with pytest.raises(KilledError):
            Fit(problem_of(log), STAGES, tmp_path / "killed.npz", seed=3).run()
    resumed = Fit(problem_of(log), STAGES, tmp_path / "killed.npz", seed=3)
    assert len(resumed.steps) == kill_after
    resumed.run()
    assert np.array_equal(resumed.x, whole.x)
    assert [(s.stage, s.count, s.mse) for s in resumed.steps] == [(s.stage, s.count, s.mse) for s in whole.steps]


def numbers(value: Any) -> list[float]:
    """All numbers in a state."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, (list, np.ndarray)):
        return [number for item in value for number in numbers(item)]
    return [] if value is None or isinstance(value, str) else [float(value)]


@pytest.mark.parametrize("method", ["random", "cma", "exchange", "gauss_newton"])
def test_a_state_holds_all_that_a_search_goes_on_with(method: Any, log: JointLog):
    """A fit always goes on from what it has stored, so it takes a search that was not stored to see what is missing."""
    part = problem_of(log).part(4.0)
    stage = SearchSettings(method, 4, 8, tolerance=0.0)
    going, stored = (make_search(stage, part.space, part.space.start, 7) for _ in range(2))
    for _ in range(2):
        going.step(part)
    stored.set_state(state.decode(state.encode(going.get_state()), Path("fit.npz")))
    for search in (going, stored):
        search.step(part)
    # A covariance is stored as one of its triangles, which differ by rounding.
    np.testing.assert_allclose(numbers(stored.get_state()), numbers(going.get_state()), rtol=1e-9, atol=1e-12)
