"""Tests of `real2sim.logs.overlap`: copies are found in every form, and what was measured anew is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from real2sim.logs.files import load_log, save_log
from real2sim.logs.joint_log import JointLog, find_valid
from real2sim.logs.overlap import find_copy
from tests.real2sim.logged import ROBOT, keep, make_log
from tests.real2sim.recorded import write_csv, write_mcap


def measured(seed: int, noise: float = 2e-4, effort_noise: float = 0.3) -> JointLog:
    """The same commands, and what joints did then, with noise of its own."""
    log, rng = make_log(ROBOT.arm_joints("left"), duration=24, noise=0), np.random.default_rng(seed)
    assert log.effort is not None
    position, effort = (
        values + size * rng.standard_normal(values.shape)
        for values, size in ((log.position, noise), (log.effort, effort_noise))
    )
    return replace(log, position=position, effort=effort)


LOG, ANEW = measured(1), measured(2)
OTHER = make_log(ROBOT.arm_joints("left"), duration=12, seed=1)


def resampled(hz: float, smooth: bool) -> JointLog:
    time = np.arange(3.0071, 20.0, 1 / hz)
    straight = np.stack([np.interp(time, LOG.time, column) for column in LOG.position.T], axis=1)
    position = CubicSpline(LOG.time, LOG.position)(time) if smooth else straight
    command = LOG.command[np.searchsorted(LOG.time, time, side="right") - 1]
    return replace(
        LOG, time=time - time[0], position=position, command=command, velocity=None, effort=None, valid=find_valid(time)
    )


def inserted() -> JointLog:
    """Another motion, with four seconds of the log in its middle."""
    position = OTHER.position.copy()
    position[200:400] = LOG.position[600:800]
    return replace(OTHER, position=position)


COPIES: dict[str, Callable[[], JointLog]] = {
    "itself": lambda: LOG,
    "a part": lambda: LOG.part(9.0, 16.0),
    "half of the rows": lambda: keep(LOG, np.flatnonzero(np.random.default_rng(0).random(len(LOG.time)) < 0.5)),
    "every third row": lambda: LOG.rows(slice(1, None, 3)),
    "37 Hz": lambda: resampled(37, smooth=False),
    "a smooth curve at 100 Hz": lambda: resampled(100, smooth=True),
    "rounded to 0.1 mrad": lambda: replace(LOG, position=np.round(LOG.position, 4), effort=None),
    "rounded to 1 mrad, with efforts": lambda: replace(LOG, position=np.round(LOG.position, 3)),
    "single precision": lambda: replace(LOG, position=LOG.position.astype(np.float32).astype(float)),
    "other joints first, and one less": lambda: make_columns(LOG, [6, 5, 4, 2, 1, 0]),
    "one joint": lambda: make_columns(LOG, [3]),
    "times written anew": lambda: replace(LOG, time=1.5 * LOG.time),
    "another clock": lambda: replace(LOG, time=LOG.time + 1e9 * (LOG.time > 12)),
    "a part in another log": inserted,
}


def make_columns(log: JointLog, columns: list[int]) -> JointLog:
    values = {kind: getattr(log, kind)[:, columns] for kind in ("command", "position", "velocity", "effort")}
    return replace(log, joints=tuple(log.joints[i] for i in columns), **values)


@pytest.mark.parametrize("case", COPIES)
def test_a_copy_is_found(case: str) -> None:
    copy = COPIES[case]()
    found = find_copy(LOG, copy)
    assert found is not None
    assert find_copy(copy, LOG) is not None
    if case == "a part":
        assert found[0] - found[1] == pytest.approx(9.0, abs=0.01)


@pytest.mark.parametrize("other", [ANEW, OTHER, replace(ANEW, effort=None, velocity=None), make_columns(ANEW, [3])])
def test_what_was_measured_anew_is_no_copy(other: JointLog) -> None:
    assert find_copy(LOG, other) is None
    assert find_copy(other, LOG) is None


def test_quiet_sensors_are_told_apart_by_their_efforts() -> None:
    """Two measurements whose positions differ by less than rounding."""
    first, second = measured(1, noise=1e-5), measured(2, noise=1e-5)
    assert find_copy(first, second) is None
    assert find_copy(first, replace(second, effort=None)) is not None  # nothing else says that it is none


def test_files_of_one_recording_are_copies_of_each_other(tmp_path: Path) -> None:
    save_log(tmp_path / "log.parquet", LOG)
    logs = [
        load_log(path, ROBOT)
        for path in (
            tmp_path / "log.parquet",
            write_csv(tmp_path / "log.csv", LOG),
            write_mcap(tmp_path / "log.mcap", LOG),
        )
    ]
    for first in logs:
        for second in logs:
            assert find_copy(first, second) is not None


def test_logs_without_a_joint_in_common_share_nothing() -> None:
    assert find_copy(LOG, make_log(ROBOT.arm_joints("right"))) is None
