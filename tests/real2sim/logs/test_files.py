"""Tests of `real2sim.logs.files`: good logs are read as they are, every bad one is refused in a line that says why."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexsim import robots
from dexsim.errors import UserError
from real2sim.logs.files import SETTLE_S, apparent_lag, load_log, save_log
from real2sim.logs.joint_log import JointLog
from tests.real2sim.logged import ROBOT, columns_of, keep, make_log, write_columns

FULL = make_log()
ARM = make_log(ROBOT.arm_joints("right"))
FEW = make_log(ROBOT.arm_joints("left")[:3])
FIRST, SECOND, THIRD = FEW.joints
RATES = {"time_s": "s", "command": "rad", "position": "rad", "velocity": "rad/s", "effort": "N m"}


def saved(folder: Path, log: JointLog) -> Path:
    save_log(folder / "log.parquet", log)
    return folder / "log.parquet"


def refusal(path: Path, **options: Any) -> str:
    """The one line with which a log is refused."""
    with pytest.raises(UserError) as caught:
        load_log(path, options.pop("robot", ROBOT), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def moving(log: JointLog, change: Callable[[np.ndarray], None]) -> JointLog:
    """The log with positions that were changed in place."""
    position = log.position.copy()
    change(position)
    return replace(log, position=position)


# --- what is read


def test_round_trip_keeps_values_names_and_rates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read = load_log(saved(tmp_path, FULL), ROBOT)
    for kind in ("time", "command", "position", "velocity", "effort", "valid"):
        np.testing.assert_array_equal(getattr(read, kind), getattr(FULL, kind))
    assert (read.joints, read.robot, read.hand, read.name) == (ROBOT.commands, "gr1t2", "fourier", "log")
    assert len(read.digest) == 64
    assert read.measurement_hz == pytest.approx(50)
    assert read.command_hz == pytest.approx(10)
    assert read.moved.all() and read.valid.all()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_csv_is_read_like_parquet(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    columns = columns_of(FEW)
    table = np.stack(list(columns.values()), axis=1)
    np.savetxt(path, table, delimiter=",", header=",".join(columns), comments="", fmt="%.17g")
    read, expected = load_log(path, ROBOT), load_log(saved(tmp_path, FEW), ROBOT)
    for kind in ("time", "command", "position", "velocity", "effort"):
        np.testing.assert_array_equal(getattr(read, kind), getattr(expected, kind))
    assert read.joints == expected.joints


def test_columns_in_any_order_become_canonical(tmp_path: Path) -> None:
    columns = columns_of(FEW)
    path = write_columns(tmp_path / "log.parquet", {key: columns[key] for key in sorted(columns, reverse=True)})
    read = load_log(path, ROBOT)
    assert read.joints == FEW.joints
    np.testing.assert_array_equal(read.position, FEW.position)


def test_time_starts_at_zero_whatever_the_clock_says(tmp_path: Path) -> None:
    columns = columns_of(FEW)
    columns["time_s"] = columns["time_s"] + 1.7e9
    read = load_log(write_columns(tmp_path / "log.parquet", columns), ROBOT)
    np.testing.assert_allclose(read.time, FEW.time, atol=1e-6)
    assert apparent_lag(read) == pytest.approx(apparent_lag(FEW), abs=0.02)


def test_missing_joints_velocity_and_effort_are_accepted(tmp_path: Path) -> None:
    part = replace(make_log([ROBOT.commands[i] for i in (3, 9, 20)]), velocity=None, effort=None)
    read = load_log(saved(tmp_path, part), ROBOT)
    assert read.joints == part.joints
    assert read.velocity is None and read.effort is None


def test_columns_that_were_taken_out_may_still_be_listed(tmp_path: Path) -> None:
    listed = json.dumps(ROBOT.commands)
    path = write_columns(tmp_path / "log.parquet", columns_of(FEW), joint_order=listed)
    assert load_log(path, ROBOT).joints == FEW.joints


def test_effort_of_some_joints_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = columns_of(FEW)
    del columns[f"effort.{SECOND}"]
    read = load_log(write_columns(tmp_path / "log.parquet", columns), ROBOT)
    assert read.effort is None and read.velocity is not None
    assert f"not effort.{SECOND}" in caplog.text


@pytest.mark.parametrize("seed", range(3))
def test_uneven_times_and_lost_rows_are_no_fault(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fine = make_log(ROBOT.arm_joints("right"), hz=500, duration=12)
    uneven = keep(fine, np.sort(rng.choice(len(fine.time), 600, replace=False)))
    lost = keep(FULL, rng.random(len(FULL.time)) > 0.3)
    for log in (uneven, lost):
        read = load_log(saved(tmp_path, log), ROBOT)
        np.testing.assert_array_equal(read.position, log.position)
        assert read.valid.mean() > 0.5
        assert 0 < apparent_lag(read) < 0.2


def test_a_gap_is_masked_until_the_joints_have_forgotten_it(tmp_path: Path) -> None:
    log = make_log(ARM.joints, duration=12)
    read = load_log(saved(tmp_path, keep(log, (log.time <= 4) | (log.time > 5))), ROBOT)
    np.testing.assert_array_equal(read.valid, (read.time <= 4) | (read.time >= 5.02 + SETTLE_S))


def test_a_clock_that_was_set_is_a_gap(tmp_path: Path) -> None:
    log = make_log(ARM.joints, duration=15)
    columns = columns_of(log)
    columns["time_s"] = log.time + 1.7e9 * (log.time > 7)
    read = load_log(write_columns(tmp_path / "log.parquet", columns), ROBOT)
    assert read.valid.sum() == len(log.time) - SETTLE_S * 50


@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_noise_raises_no_alarm(tmp_path: Path, noise: float) -> None:
    for seed in range(3):
        read = load_log(saved(tmp_path, make_log(seed=seed, noise=noise)), ROBOT)
        assert read.moved.all()


def test_periodic_motion_does_not_confuse_the_clocks(tmp_path: Path) -> None:
    wave = 0.3 * np.sin(4 * np.pi * np.floor(FEW.time[:, None] * 10 + 1e-6) / 10)
    late = 0.3 * np.sin(4 * np.pi * (np.floor(FEW.time[:, None] * 10 + 1e-6) / 10 - 0.14))
    noise = 0.01 * np.random.default_rng(0).standard_normal(FEW.position.shape)
    log = replace(FEW, command=np.repeat(wave, 3, axis=1), position=np.repeat(late, 3, axis=1) + noise)
    assert apparent_lag(load_log(saved(tmp_path, log), ROBOT)) == pytest.approx(0.14, abs=0.06)


def test_joints_that_rest_or_are_dead_are_flagged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command, position = ARM.command.copy(), ARM.position.copy()
    noise = 1e-4 * np.random.default_rng(0).standard_normal((2, len(ARM.time)))
    command[:, 1] = 0.2  # at rest
    position[:, 1] = 0.21 + noise[0]
    position[:, 4] = position[0, 4] + noise[1]  # dead
    read = load_log(saved(tmp_path, replace(ARM, command=command, position=position)), ROBOT)
    np.testing.assert_array_equal(read.commanded, np.arange(7) != 1)
    np.testing.assert_array_equal(read.moved, ~np.isin(np.arange(7), (1, 4)))
    assert f"never moved: {ARM.joints[4]}" in caplog.text


def test_a_joint_that_is_dragged_along_is_not_mixed_up(tmp_path: Path) -> None:
    command, position = ARM.command.copy(), ARM.position.copy()
    command[:, 2] = 0.0
    position[:, 2] = 0.2 * position[:, 1]
    position[:, 5] = 0.0
    load_log(saved(tmp_path, replace(ARM, command=command, position=position)), ROBOT)


def test_one_arm_moves_and_all_else_rests(tmp_path: Path) -> None:
    command, position = FULL.command.copy(), FULL.position.copy()
    command[:, 7:], position[:, 7:] = command[0, 7:], command[0, 7:]
    read = load_log(saved(tmp_path, replace(FULL, command=command, position=position)), ROBOT)
    np.testing.assert_array_equal(read.moved, np.arange(26) < 7)


# --- degrees


@pytest.mark.parametrize("text", ["deg", json.dumps({k: u.replace("rad", "deg") for k, u in RATES.items()})])
def test_degrees_by_metadata_are_converted(tmp_path: Path, text: str) -> None:
    path = write_columns(tmp_path / "log.parquet", columns_of(in_degrees(FEW)), units=text)
    assert_same(load_log(path, ROBOT), FEW)


def test_degrees_by_option_are_converted(tmp_path: Path) -> None:
    assert_same(load_log(saved(tmp_path, in_degrees(FEW)), ROBOT, units="deg"), FEW)


def test_degrees_that_are_called_rad_are_refused_with_a_hint(tmp_path: Path) -> None:
    line = refusal(saved(tmp_path, in_degrees(FEW)))
    assert "command of left_shoulder_" in line and "within them in degrees" in line and "units=deg" in line


def test_rad_that_are_called_degrees_are_refused(tmp_path: Path) -> None:
    line = refusal(write_columns(tmp_path / "log.parquet", columns_of(FEW), units="deg"))
    assert "command in degrees: all of them are below pi" in line


@pytest.mark.parametrize(("kind", "joints"), [("position", slice(None)), ("command", slice(None)), ("position", [1])])
def test_degrees_beside_rad_are_refused_without_wrong_advice(tmp_path: Path, kind: str, joints: Any) -> None:
    """What converts all of them would spoil those that were right."""
    values = getattr(ARM, kind).copy()
    values[:, joints] = np.rad2deg(values[:, joints])
    path = saved(tmp_path, replace(ARM, **{kind: values}))
    line = refusal(path)
    assert f"{kind} of right_" in line and "while others are in rad" in line
    line = refusal(path, units="deg")
    assert "must be in rad" in line or "it is in degrees, and the other is not" in line


def in_degrees(log: JointLog) -> JointLog:
    assert log.velocity is not None
    return replace(log, **{k: np.rad2deg(getattr(log, k)) for k in ("command", "position", "velocity")})


def assert_same(read: JointLog, log: JointLog) -> None:
    for kind in ("command", "position", "velocity", "effort"):
        np.testing.assert_allclose(getattr(read, kind), getattr(log, kind), rtol=1e-5, atol=1e-6)


# --- what is refused

Columns = dict[str, Any]
BAD_COLUMNS: dict[str, tuple[Callable[[Columns], Any], str]] = {
    "no time": (lambda c: c.pop("time_s"), "has no column 'time_s'"),
    "no position": (lambda c: c.pop(f"position.{SECOND}"), f"joint '{SECOND}' has no column 'position.{SECOND}'"),
    "no command": (lambda c: c.pop(f"command.{FIRST}"), f"joint '{FIRST}' has no column 'command.{FIRST}'"),
    "no joint": (lambda c: [c.pop(key) for key in list(c)[1:]], "has no joint; columns: command.<joint>"),
    "unknown joint": (
        lambda c: c.update({"position.left_sholder_roll_joint": c["time_s"]}),
        "'position.left_sholder_roll_joint' is of no joint of robot 'gr1t2'; allowed: left_shoulder_pitch_joint,",
    ),
    "unknown column": (
        lambda c: c.update({f"velocities.{FIRST}": c["time_s"]}),
        f"unknown column 'velocities.{FIRST}'; allowed: time_s, command.<joint>",
    ),
    "time goes back": (lambda c: swap(c["time_s"], 30, 31), "row 31: time_s = 0.6 goes back from 0.62"),
    "time repeats": (lambda c: put(c["time_s"], 30, c["time_s"][29]), "row 30: time_s = 0.58 repeats 0.58"),
    "time is none": (lambda c: put(c["time_s"], 30, np.nan), "row 30: time_s = nan is not a time"),
    "time in ms": (lambda c: c.update(time_s=c["time_s"] * 1000), "time_s has steps of 20 s: must be at most 0.5 s"),
    "NaN": (lambda c: put(c[f"position.{SECOND}"], 17, np.nan), f"row 17: position of {SECOND} is nan (1 such in all)"),
    "infinite": (lambda c: put(c[f"effort.{FIRST}"], 8, np.inf), f"row 8: effort of {FIRST} is inf"),
    "text": (
        lambda c: c.update({f"command.{THIRD}": ["x"] * len(FEW.time)}),
        f"column 'command.{THIRD}' holds values of type string: must be numbers",
    ),
    "far off": (
        lambda c: put(c[f"position.{FIRST}"], 5, 500.0),
        f"row 5: position of {FIRST} = 500 is far beyond its limits -2.79 .. 1.92 rad, in rad and in degrees",
    ),
}


def put(values: np.ndarray, row: int, value: float) -> None:
    values[row] = value


def swap(values: np.ndarray, a: int, b: int) -> None:
    values[[a, b]] = values[[b, a]]


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_columns_that_do_not_fit_are_named(tmp_path: Path, case: str) -> None:
    change, expected = BAD_COLUMNS[case]
    columns = {key: values.copy() for key, values in columns_of(FEW).items()}
    change(columns)
    line = refusal(write_columns(tmp_path / "bad.parquet", columns))
    assert line.startswith("bad.parquet: ") and expected in line


def test_a_close_match_is_suggested(tmp_path: Path) -> None:
    columns = {**columns_of(FEW), "position.left_sholder_roll_joint": FEW.time}
    assert "did you mean 'left_shoulder_roll_joint'?" in refusal(write_columns(tmp_path / "log.parquet", columns))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"hand": "Inspire hand"}, "hand = 'Inspire hand', but robot 'gr1t2' has the fourier hand; pass a robot with"),
        ({"format": "2"}, "format = '2': must be '1'"),
        ({"units": "furlongs"}, "units = 'furlongs': must be JSON"),
        ({"units": '{"position": "turns"}'}, "the unit of position is 'turns': must be rad or deg"),
        ({"units": '{"velocity": "rpm"}'}, "the unit of velocity is 'rpm': must be rad/s or deg/s"),
        ({"units": '{"time_s": "ms"}'}, "the unit of time_s is 'ms': must be s"),
        ({"joint_order": "left"}, "joint_order = 'left': must be JSON"),
        ({"joint_order": json.dumps([FIRST, THIRD])}, f"joint_order does not list '{SECOND}'"),
        (
            {"joint_order": json.dumps([FIRST, THIRD, SECOND])},
            f"joint_order has '{THIRD}' as joint 1, but the columns have '{SECOND}'",
        ),
    ],
)
def test_metadata_that_does_not_fit_is_named(tmp_path: Path, metadata: dict[str, str], expected: str) -> None:
    line = refusal(write_columns(tmp_path / "bad.parquet", columns_of(FEW), **metadata))
    assert line.startswith("bad.parquet: ") and expected in line


def test_a_log_of_another_hand_is_refused(tmp_path: Path) -> None:
    line = refusal(saved(tmp_path, FEW), robot=robots.load("gr1t2_inspire"))
    assert (
        "hand = 'fourier', but robot 'gr1t2_inspire' has the inspire hand; pass a robot with the fourier hand" in line
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (slice(0, 0), "has no rows"),
        (slice(0, 1), "lasts 0.00 s: must be at least 5 s"),
        (slice(0, 200), "lasts 3.98 s: must be at least 5 s"),
    ],
)
def test_too_short_logs_are_refused(tmp_path: Path, rows: slice, expected: str) -> None:
    columns = {key: values[rows] for key, values in columns_of(FEW).items()}
    assert expected in refusal(write_columns(tmp_path / "log.parquet", columns))


def test_a_log_that_is_mostly_gaps_is_refused(tmp_path: Path) -> None:
    log = keep(FEW, (FEW.time * 2).astype(int) % 2 == 0)
    assert "s of known commands: must be at least 5 s" in refusal(saved(tmp_path, log))


@pytest.mark.parametrize(("i", "j"), [(0, 1), (3, 16), (8, 24), (12, 25)])
def test_swapped_joints_are_named(tmp_path: Path, i: int, j: int) -> None:
    line = refusal(saved(tmp_path, moving(FULL, lambda position: swap(position.T, i, j))))
    assert f"position of {ROBOT.commands[i]}" in line or f"position of {ROBOT.commands[j]}" in line
    assert f"command of {ROBOT.commands[i]}" in line or f"command of {ROBOT.commands[j]}" in line
    assert "the columns are mixed up" in line


def test_a_swap_with_a_joint_that_rests_is_named(tmp_path: Path) -> None:
    command, position = ARM.command.copy(), ARM.position.copy()
    command[:, 2], position[:, 2] = 0.0, 0.0
    swap(position.T, 2, 4)
    line = refusal(saved(tmp_path, replace(ARM, command=command, position=position)))
    assert f"position of {ARM.joints[2]} follows the command of {ARM.joints[4]}" in line


def test_shuffled_joints_are_not_taken_for_a_clock(tmp_path: Path) -> None:
    for seed in range(8):
        shuffled = np.random.default_rng(seed).permutation(26)
        line = refusal(saved(tmp_path, replace(FULL, position=FULL.position[:, shuffled])))
        assert "the columns are mixed up" in line


def test_a_thumb_that_the_fingers_push_is_not_mixed_up(tmp_path: Path) -> None:
    """One joint is told the same as another, but blocked; a third one, told nothing, is pushed by what moves."""
    command, position = ARM.command.copy(), ARM.position.copy()
    command[:, 2] = command[:, 1]
    position[:, 2] = 0.3 * position[:, 6]
    command[:, 3], position[:, 3] = 0.0, 0.2 * position[:, 1]
    load_log(saved(tmp_path, replace(ARM, command=command, position=position)), ROBOT)


def test_joints_that_were_told_the_same_may_answer_alike(tmp_path: Path) -> None:
    command, position = ARM.command.copy(), ARM.position.copy()
    command[:, 3], position[:, 3] = command[:, 5], position[:, 5]
    read = load_log(saved(tmp_path, replace(ARM, command=command, position=position)), ROBOT)
    assert read.moved.all()


@pytest.mark.parametrize("joints", [[3], [1, 3], [0, 1, 3, 5], list(range(7))])
@pytest.mark.parametrize("kind", ["position", "command"])
def test_joints_whose_sign_is_wrong_are_named(tmp_path: Path, kind: str, joints: Any) -> None:
    limits = np.array([ROBOT.joint(name).limits for name in ARM.joints]).mean(axis=1)
    values = getattr(ARM, kind) - limits
    values[:, joints] *= -1
    line = refusal(saved(tmp_path, replace(ARM, **{kind: values + limits})))
    assert f"position of {ARM.joints[joints[0]]}" in line and "moves against its command (correlation -0.9" in line


def test_joints_that_hardly_move_may_do_so_against_their_command(tmp_path: Path) -> None:
    """What the arm's sag does to them is more than what they were told."""
    command, position = ARM.command.copy(), ARM.position.copy()
    command[:, 2] = 0.012 * np.sign(np.sin(2 * ARM.time))
    position[:, 2] = -0.06 * np.sin(2 * ARM.time)
    load_log(saved(tmp_path, replace(ARM, command=command, position=position)), ROBOT)


def test_small_motions_are_no_mistake(tmp_path: Path) -> None:
    load_log(saved(tmp_path, replace(ARM, command=0.015 * ARM.command, position=0.015 * ARM.position)), ROBOT)


def test_degrees_of_one_arm_beside_joints_at_rest_are_degrees(tmp_path: Path) -> None:
    command, position = FULL.command.copy(), FULL.position.copy()
    for values in (command, position):
        values[:, 7:] = 3e-4 * np.random.default_rng(0).standard_normal(values[:, 7:].shape)
    assert FULL.velocity is not None
    rested = replace(FULL, command=command, position=position, velocity=FULL.velocity * (np.arange(26) < 7))
    assert "pass units=deg" in refusal(saved(tmp_path, in_degrees(rested)))
    np.testing.assert_allclose(
        load_log(saved(tmp_path, in_degrees(rested)), ROBOT, units="deg").command, command, atol=1e-6
    )


# --- clocks


def test_missing_rows_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_log(saved(tmp_path, keep(ARM, np.delete(np.arange(len(ARM.time)), [50, 51, 200]))), ROBOT)
    assert "rows are 0.02 s apart, but up to 0.06 s" in caplog.text


def test_an_effort_that_is_always_the_same_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert ARM.effort is not None
    effort = ARM.effort.copy()
    effort[:, 2] = 0.0
    read = load_log(saved(tmp_path, replace(ARM, effort=effort)), ROBOT)
    assert read.effort_told.tolist() == [True, True, False, True, True, True, True]
    assert f"effort is left out where it is always the same: {ARM.joints[2]}" in caplog.text


@pytest.mark.parametrize("lead", [0.3, 0.8])
def test_clocks_that_differ_are_refused_with_the_offset_that_mends_them(tmp_path: Path, lead: float) -> None:
    path = saved(tmp_path, make_log(ARM.joints, duration=20, clock_lead=lead))
    line = refusal(path)
    assert "lead their commands by" in line and "pass clock_offset=-" in line
    suggested = float(line.rsplit("=", 1)[1])
    assert suggested == pytest.approx(-lead, abs=0.1)
    assert 0 <= apparent_lag(load_log(path, ROBOT, clock_offset=suggested)) <= 0.2


@pytest.mark.parametrize("offset", [-0.3, 0.3])
def test_commands_of_another_clock_are_known_at_uneven_rows(tmp_path: Path, offset: float) -> None:
    """10 Hz commands whose clock differs by `offset`, and 50 rows a second at any time."""
    log = make_log(ARM.joints, duration=20, hz=500, noise=0.0)
    rows = np.flatnonzero(np.random.default_rng(0).random(len(log.time)) < 0.1)
    whole = keep(log, rows)
    shown = np.searchsorted(np.arange(0, 20, 0.1) - offset, log.time[rows] + 1e-9, side="right") - 1
    known = (shown >= 0) & (shown < 200)
    sent = log.command[np.round(np.clip(shown, 0, 199) * 50).astype(int)]
    shifted = keep(replace(whole, command=sent), np.flatnonzero(known))
    read = load_log(saved(tmp_path, shifted), ROBOT, clock_offset=offset)
    new = np.flatnonzero(np.any(np.diff(read.command, axis=0) != 0, axis=1)) + 1
    began = log.time[int(np.argmin(np.abs(log.position - read.position[0]).sum(axis=1)))]
    sent_at = read.command_time[new] + began
    assert np.quantile(np.abs(sent_at - np.round(sent_at, 1)), 0.9) < 3e-3  # with their rows 20 ms


def test_commands_long_before_their_answers_are_refused_too(tmp_path: Path) -> None:
    line = refusal(saved(tmp_path, make_log(ARM.joints, duration=20, clock_lead=-1.5)))
    assert "lag their commands by 1.58 s" in line and "pass clock_offset=1.48" in line


@pytest.mark.parametrize("offset", [-0.5, 0.3])
def test_clock_offset_aligns_the_commands(tmp_path: Path, offset: float) -> None:
    log = make_log(ARM.joints, duration=20, clock_lead=-offset)
    read = load_log(saved(tmp_path, log), ROBOT, clock_offset=offset)
    right = make_log(ARM.joints, duration=20)
    first = max(0, round(offset * 50))
    rows = slice(first, first + len(read.time))
    shift = round(offset * 50)
    np.testing.assert_array_equal(read.command, log.command[rows.start - shift : rows.stop - shift])
    np.testing.assert_array_equal(read.position, log.position[rows])
    assert read.time[0] == 0 and len(read.time) == len(log.time) - abs(shift)
    assert apparent_lag(read) == pytest.approx(apparent_lag(right), abs=0.02)


def test_the_gap_of_late_commands_is_late(tmp_path: Path) -> None:
    log = make_log(ARM.joints, duration=24, clock_lead=-3.0)
    read = load_log(saved(tmp_path, keep(log, (log.time <= 8) | (log.time > 9))), ROBOT, clock_offset=3.0)
    time = read.time + 3.0
    measured = (time < 9.01) | (time > 9.01 + SETTLE_S)
    np.testing.assert_array_equal(read.valid, measured & ((time < 11.01) | (time > 12.01 + SETTLE_S)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"units": "degrees"}, "units = 'degrees': must be rad or deg"),
        ({"clock_offset": float("nan")}, "clock_offset = nan: must be a time in s"),
        ({"clock_offset": 60.0}, "clock_offset = 60 s leaves nothing of 8.00 s"),
        ({"clock_offset": 7.0}, "lasts 1.00 s of known commands: must be at least 5 s"),
    ],
)
def test_options_that_do_not_fit_are_named(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    assert expected in refusal(saved(tmp_path, FEW), **options)


# --- parts


def test_a_part_starts_at_zero_and_leaves_out_its_end() -> None:
    part = FEW.part(2.0, 4.0)
    assert part.time[0] == 0 and len(part.time) == 100
    np.testing.assert_array_equal(part.command, FEW.command[100:200])


def test_a_part_beyond_the_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"'synthetic' has no rows from 9 to 10 s: it lasts 8\.00 s"):
        FEW.part(9, 10)
