"""Targets keep limits, speeds and distances, start and end at rest, and follow from their seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dexsim.backends.mujoco.model import build_spec
from dexsim.errors import UserError
from dexsim.robots import load
from dexsim.scene import Scene
from real2sim.excitation.clearance import Clearance, between, envelope, follow
from real2sim.excitation.signals import (
    PARTS,
    Excitation,
    ExcitationSettings,
    allowed_speed,
    base_pose,
    check_targets,
    make_excitation,
)
from real2sim.excitation.targets import Targets, load_targets, save_targets
from tests.real2sim.logged import of_excite

ROBOT = load("gr1t2")
SHORT = of_excite(ExcitationSettings, "excitation", duration_s=24.0)
FINGERS = ("index", "middle", "ring", "pinky")


@pytest.fixture(scope="module")
def made() -> Excitation:
    return make_excitation(ROBOT, SHORT)


def moved(targets: Targets) -> np.ndarray:
    return np.ptp(targets.command, axis=0) > 0


def posed(**angles: float) -> np.ndarray:
    """The base pose with other angles."""
    pose = base_pose(ROBOT, SHORT)
    for name, angle in angles.items():
        pose[ROBOT.commands.index(name)] = angle
    return pose


def still(pose: np.ndarray, seconds: float = 2.0) -> Targets:
    time = np.arange(0.0, seconds, 0.1)
    return Targets(time, np.repeat(pose[None], len(time), axis=0), ROBOT.name, ROBOT.hand)


@pytest.mark.parametrize("name", ["gr1t2", "gr1t2_inspire"])
@pytest.mark.parametrize("seed", [0, 1])
def test_targets_keep_limits_speeds_and_distances(name: str, seed: int):
    robot, settings = load(name), replace(SHORT, seed=seed)
    excitation = make_excitation(robot, settings)
    targets = excitation.targets
    low, high = robot.command_limits.T
    assert (targets.command >= low + settings.margin_rad - 1e-9).all()
    assert (targets.command <= high - settings.margin_rad + 1e-9).all()
    velocity = np.array([robot.joint(joint).velocity for joint in robot.commands])
    assert (targets.speed <= settings.speed_share * velocity + 1e-9).all()
    assert (targets.speed <= settings.max_speed + 1e-9).all()
    again = envelope(Clearance(robot), robot, targets.time, targets.command)
    assert again[0] == excitation.nearest
    assert excitation.nearest.distance >= settings.clearance_m


def test_all_joints_move_far_and_fast_enough_to_tell_something(made: Excitation):
    span = np.ptp(made.targets.command, axis=0)
    assert (span > 0.4).all()
    assert (made.targets.speed > 0.5).all()


@pytest.mark.parametrize("name", ["gr1t2", "gr1t2_inspire"])
def test_thumbs_stay_off_their_fingers(name: str):
    import mujoco

    robot = load(name)
    targets = make_excitation(robot, replace(SHORT, seed=3)).targets
    model: mujoco.MjModel = build_spec(Scene(robot)).compile()
    data = mujoco.MjData(model)
    links = [model.body(body).name for body in model.geom_bodyid]
    pairs = [
        (a, b)
        for side in ("L_", "R_")
        for a in (g for g, link in enumerate(links) if link.startswith(f"{side}thumb"))
        for b in (g for g, link in enumerate(links) if link.startswith(tuple(side + f for f in FINGERS)))
    ]
    least = np.inf
    for joints in np.concatenate(
        [robot.expand_coupled(targets.command), follow(robot, targets.time, targets.command)[1][::5]]
    ):
        data.qpos[[model.joint(joint).qposadr[0] for joint in robot.joint_names]] = joints
        mujoco.mj_kinematics(model, data)
        least = min(least, *(mujoco.mj_geomDistance(model, data, a, b, 1.0, None) for a, b in pairs))
    assert len(pairs) >= 32
    assert least > 0.001


def test_targets_start_and_end_at_rest_at_the_base_pose(made: Excitation):
    command, base = made.targets.command, base_pose(ROBOT, SHORT)
    rows = round(SHORT.rate_hz)
    np.testing.assert_allclose(command[:rows], np.tile(base, (rows, 1)), atol=1e-12)
    np.testing.assert_allclose(command[-rows:], np.tile(base, (rows, 1)), atol=1e-12)
    assert made.targets.duration == pytest.approx(24.0)
    assert made.targets.rate_hz == pytest.approx(10.0)


def test_every_joint_has_frequencies_of_its_own(made: Excitation):
    offsets = made.targets.command - made.targets.command[0]
    correlation = np.corrcoef(offsets.T) - np.eye(len(ROBOT.commands))
    assert np.abs(correlation).max() < 0.95


def test_the_same_seed_makes_the_same_targets_and_another_others(made: Excitation):
    same, other = make_excitation(ROBOT, SHORT), make_excitation(ROBOT, replace(SHORT, seed=5))
    np.testing.assert_array_equal(same.targets.command, made.targets.command)
    assert (np.abs(other.targets.command - made.targets.command).max(axis=0) > 0.05).all()


@pytest.mark.parametrize("part", PARTS)
def test_parts_that_are_not_chosen_hold_still(part: str):
    settings = replace(SHORT, parts=(part,))
    targets = make_excitation(ROBOT, settings).targets
    np.testing.assert_array_equal(moved(targets), [ROBOT.part_of(name) == part for name in ROBOT.commands])


def test_motions_that_come_too_close_become_smaller_and_then_are_refused():
    wide = replace(SHORT, seed=2, duration_s=60.0, clearance_m=0.02)
    near = replace(wide, clearance_m=0.07)
    arms = ~ROBOT.is_hand
    free, held = (np.ptp(make_excitation(ROBOT, s).targets.command, axis=0) for s in (wide, near))
    assert (held[arms] <= free[arms] + 1e-9).all() and (held[arms] < free[arms] - 1e-3).any()
    np.testing.assert_array_equal(held[~arms], free[~arms])
    with pytest.raises(UserError, match=r"targets: \w+ comes within .* m of \w+ at .* s: must be at least clearance_m"):
        make_excitation(ROBOT, replace(SHORT, clearance_m=0.2))


def test_distances_are_those_of_the_links():
    clearance = Clearance(ROBOT)
    zero = np.zeros(len(ROBOT.commands))
    hanging, inside = zero.copy(), zero.copy()
    inside[ROBOT.commands.index("left_shoulder_roll_joint")] = -0.57
    found = clearance.nearest(np.array([0.0, 3.0]), ROBOT.expand_coupled(np.stack([hanging, inside])))
    assert found[0].distance < 0 and found[0].time == 3.0 and found[0].sides == ("left",)
    right = next(approach for approach in found if approach.sides == ("right",))
    assert right.distance > 0
    # The bounding spheres only leave out what cannot be the nearest: two poses are as near as the nearer one.
    alone = clearance.nearest(np.array([0.0]), ROBOT.expand_coupled(hanging[None]))
    assert min(a.distance for a in alone) > found[0].distance


def test_the_nearest_is_found_among_all_pairs(made: Excitation):
    import mujoco

    model: mujoco.MjModel = build_spec(Scene(ROBOT)).compile()
    data = mujoco.MjData(model)
    links = [model.body(body).name for body in model.geom_bodyid]
    sides = [ROBOT.link(link).side if link != "world" else "" for link in links]
    left, right = ([geom for geom, own in enumerate(sides) if own == side] for side in ("left", "right"))
    addresses = [model.joint(name).qposadr[0] for name in ROBOT.joint_names]
    rows = made.targets.command[30::60]
    least = []
    for joints in ROBOT.expand_coupled(rows):
        data.qpos[addresses] = joints
        mujoco.mj_forward(model, data)
        least.append(min(mujoco.mj_geomDistance(model, data, a, b, 2.0, None) for a in left for b in right))
    found = Clearance(ROBOT).nearest(np.arange(len(rows)), ROBOT.expand_coupled(rows))
    between_arms = next(approach for approach in found if approach.sides == ("left", "right"))
    assert between_arms.distance == pytest.approx(min(least), abs=1e-6)
    assert between_arms.time == np.argmin(least)


def test_targets_between_and_followed_ones_are_sampled_at_50_hz(made: Excitation):
    targets = made.targets
    time, fine = between(targets.time, targets.command)
    assert np.diff(time) == pytest.approx(0.02)
    np.testing.assert_allclose(fine[::5], targets.command, atol=1e-9)
    time, joints = follow(ROBOT, targets.time, targets.command)
    assert np.diff(time) == pytest.approx(0.02)
    error = joints[:, ROBOT.command_index] - fine[: len(joints)]
    assert 1e-3 < np.sqrt(np.mean(error**2)) < 0.15


def test_given_targets_pass_the_same_checks(made: Excitation):
    assert check_targets(ROBOT, SHORT, made.targets).nearest == made.nearest
    with pytest.raises(UserError, match=r"left_elbow_pitch_joint = -2.500 rad at 0.00 s: must be -2.\d+ to 2.\d+ rad"):
        check_targets(ROBOT, SHORT, still(posed(left_elbow_pitch_joint=-2.5)))
    with pytest.raises(
        UserError, match=r"left_\w+ comes within .* m of torso_link|torso_link comes within .* of left_"
    ):
        check_targets(ROBOT, SHORT, still(posed(left_shoulder_roll_joint=-0.5)))
    with pytest.raises(UserError, match=r"last 250.0 s: must be at most 240 s"):
        check_targets(ROBOT, SHORT, still(posed(), 250.0))
    jump = still(posed())
    jump.command[10:, 3] += 0.3
    with pytest.raises(UserError, match=r"left_elbow_pitch_joint is to move at 3.00 rad/s at 0.90 s: must be at most"):
        check_targets(ROBOT, SHORT, jump)
    moving = still(posed())
    moving.command[:, 3] += 0.01 * np.arange(len(moving.time))
    with pytest.raises(UserError, match=r"left_elbow_pitch_joint moves at their start: must be at rest"):
        check_targets(ROBOT, SHORT, moving)


def test_a_file_holds_targets(made: Excitation, tmp_path: Path):
    path = tmp_path / "targets.parquet"
    save_targets(path, made.targets, ROBOT)
    read = load_targets(path, ROBOT)
    np.testing.assert_array_equal(read.command, made.targets.command)
    np.testing.assert_array_equal(read.time, made.targets.time)
    with pytest.raises(UserError, match=r"targets.parquet: hand = 'fourier', but robot 'gr1t2_inspire' has the insp"):
        load_targets(path, load("gr1t2_inspire"))


@pytest.mark.parametrize("change", ["rows", "joint", "nan", "uneven"])
def test_files_that_are_no_targets_are_refused(made: Excitation, tmp_path: Path, change: str):
    import pyarrow.parquet as pq

    path = tmp_path / "targets.parquet"
    save_targets(path, made.targets, ROBOT)
    table = pq.read_table(path)
    if change == "rows":
        table, message = table.slice(0, 2), "time_s: must increase by even steps"
    elif change == "joint":
        table, message = table.drop_columns("command.left_wrist_yaw_joint"), "no column 'command.left_wrist_yaw_joint'"
    else:
        name, value = ("time_s", 7.05) if change == "uneven" else ("command.left_wrist_yaw_joint", np.nan)
        values = table[name].to_numpy().copy()
        values[70] = value
        table = table.set_column(table.column_names.index(name), name, [values])
        message = "even steps" if change == "uneven" else "no numbers"
    pq.write_table(table, path)
    with pytest.raises(UserError, match=message):
        load_targets(path, ROBOT)


@pytest.mark.parametrize("units", ["deg", '{"command": "deg"}', "[" * 100_000, "null", '{"command": null}'])
def test_targets_in_other_units_are_refused_in_a_line(made: Excitation, tmp_path: Path, units: str):
    import pyarrow.parquet as pq

    path = tmp_path / "targets.parquet"
    save_targets(path, made.targets, ROBOT)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"units": units.encode()}), path)
    with pytest.raises(UserError, match=r"the unit of command is .*: must be rad") as caught:
        load_targets(path, ROBOT)
    assert len(str(caught.value)) < 300
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not a whole Parquet file"):
        load_targets(path, ROBOT)
    with pytest.raises(UserError, match="no such file"):
        load_targets(tmp_path / ("x" * 300), ROBOT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("duration_s", 241.0), ("duration_s", 5.0), ("rate_hz", 1.0), ("parts", ()), ("seed", -1), ("speed_share", 0.0),
        ("max_speed", 11.0), ("amplitude_share", 1.1), ("margin_rad", -0.1), ("clearance_m", 0.0),
        ("parts", ("left_arm", "left_arm")),
    ],
)  # fmt: skip
def test_settings_that_should_not_be_tried_are_refused(field: str, value: object):
    with pytest.raises(UserError, match=f"^{field} = "):
        replace(SHORT, **{field: value})


def test_speeds_are_a_share_of_the_joints_up_to_a_bound():
    speeds = allowed_speed(ROBOT, SHORT)
    assert speeds[ROBOT.is_hand] == pytest.approx(0.4 * 3.0)
    assert speeds[~ROBOT.is_hand] == pytest.approx(1.5)


def test_the_base_pose_is_the_same_on_both_sides():
    from dexsim.control.symmetry import mirror_commands

    pose = base_pose(ROBOT, SHORT)
    source, sign = np.array(mirror_commands(ROBOT)).T
    arms = ~ROBOT.is_hand
    np.testing.assert_allclose(pose[arms], (sign * pose[source.astype(int)])[arms])
