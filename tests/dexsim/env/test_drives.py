"""Drives and contacts that vary from episode to episode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tasks
from dexsim import settings
from dexsim.backends.make import load_settings, make_backend
from dexsim.env.draws import EpisodeDraws
from dexsim.env.drives import DriveDraws
from dexsim.env.env import Env
from dexsim.env.randomization import RandomizationSettings
from dexsim.errors import UserError
from dexsim.parameters import PARAMETERS
from dexsim.robots import Interval, RobotSpec, constants, labels, load, load_robot, with_constants
from dexsim.robots.constants import check, drives_of
from tests.dexsim.backends.scenes import IN_THE_AIR, at
from tests.simulated import PAPER, random_actions, roll

ROBOT = load("gr1t2")
TUNED = load_robot({"name": "gr1t2", "tuned": "gr1t2_tuned.yaml"})
DRIVES, AROUND = (settings.shipped("randomization", name) for name in ("drives", "tuned"))


def build(values: Any) -> RandomizationSettings:
    return settings.load(RandomizationSettings, "randomization/none", values)


def episodes(env_ids: Tensor, seed: int = 0) -> EpisodeDraws:
    return EpisodeDraws(seed, env_ids, torch.zeros_like(env_ids))


def drawn(values: Any, robot: RobotSpec = ROBOT, count: int = 4000) -> dict[str, Tensor]:
    return DriveDraws(build(values), robot).add_to({}, episodes(torch.arange(count)))


def make(randomization: Any, num_envs: int = 4, robot: Any = None, **task: Any) -> Env:
    section = {"name": "gr1t2", **(robot or {})}
    return tasks.make_env({"name": "box_lift", **task}, section, {"threads": 1}, randomization, num_envs=num_envs)


# -- what is drawn -----------------------------------------------------------------------------------------------------


def test_drives_vary_as_they_are_said_to() -> None:
    values, own = drawn(DRIVES), constants(ROBOT)
    check(values, PARAMETERS)
    for name, low, high in (
        ("link_gravity_compensation", 0.5, 1.0),
        ("joint_lag", 0.0, 0.07),
        ("joint_delay", 0.0, 0.03),
    ):
        assert (values[name].min() - low, high - values[name].max()) == pytest.approx((0, 0), abs=0.01 * high), name
        assert values[name].mean() == pytest.approx((low + high) / 2, rel=0.05), name
    hand = torch.tensor(ROBOT.is_hand.tolist())
    for columns, median in ((~hand, 0.4), (hand, 0.04)):
        friction = values["joint_friction"][:, columns]
        assert friction.median() == pytest.approx(median, rel=0.05)
        assert friction.min() >= 0.399 * median
        assert friction.max() <= 2.501 * median
    for name, spread in (("joint_stiffness", 0.3), ("joint_damping", 0.3), ("joint_armature", 0.3), ("link_mass", 0.1)):
        factor = (values[name] / torch.from_numpy(own[name])).log()
        assert factor.mean() == pytest.approx(0.0, abs=0.01), name
        assert factor.std() == pytest.approx(spread, rel=0.03), name
    assert values["joint_bias"].std() == pytest.approx(0.003, rel=0.03)


@pytest.mark.parametrize("name", ["link_gravity_compensation", "joint_delay"])
def test_each_arm_and_each_hand_has_one_draw(name: str) -> None:
    values = drawn(DRIVES)[name]
    item = ROBOT.link if name.startswith("link") else ROBOT.joint
    drives = np.array([drives_of(item(label)) for label in labels(ROBOT, name)])
    firsts = []
    for each in ("left_arm", "left_hand", "right_arm", "right_hand"):
        own = values[:, torch.from_numpy(drives == each)]
        assert torch.equal(own, own[:, :1].expand_as(own)), each
        firsts.append(own[:, 0])
    together = torch.corrcoef(torch.stack(firsts)) - torch.eye(4)
    assert together.abs().max() < 0.1


def test_gains_vary_on_top_of_table_4() -> None:
    scaled = {"joint_stiffness": torch.full((4000, 26), 50.0).double()}
    values = DriveDraws(build(DRIVES), ROBOT).add_to(scaled, episodes(torch.arange(4000)))
    assert (values["joint_stiffness"] / 50).log().std() == pytest.approx(0.3, rel=0.03)
    assert float(scaled["joint_stiffness"].max()) == 50.0


def test_an_episode_s_drives_depend_on_nothing_else() -> None:
    draws = DriveDraws(build(DRIVES), ROBOT)
    all_of_them = draws.add_to({}, episodes(torch.arange(8)))
    some = draws.add_to({}, episodes(torch.tensor([6, 2])))
    for name in all_of_them:
        assert torch.equal(all_of_them[name][[6, 2]], some[name]), name
    other = draws.add_to({}, episodes(torch.arange(8), seed=1))
    assert not torch.isclose(other["joint_lag"], all_of_them["joint_lag"]).any()


def test_a_fit_s_intervals_take_the_place_of_spreads() -> None:
    joint, own = "left_elbow_pitch_joint", constants(TUNED)["joint_stiffness"]
    at = TUNED.commands.index(joint)
    stated = Interval("joint_stiffness", joint, 0.5 * own[at], 1.1 * own[at])
    robot = replace(TUNED, intervals=(stated,))
    for times in (1.0, 0.5):
        values = drawn({**AROUND, "robot_intervals": times}, robot, 20000)["joint_stiffness"] / torch.from_numpy(own)
        assert values[:, at].median() == pytest.approx(1.0, abs=0.01)
        low, high = values[:, at].log().quantile(torch.tensor([0.025, 0.975]).double()).tolist()
        assert (low, high) == pytest.approx((times * np.log(0.5), times * np.log(1.1)), rel=0.06)
        assert values[:, at - 1].log().std() == pytest.approx(AROUND["joint_stiffness_spread"], rel=0.05)


def test_a_file_of_before_intervals_has_the_spreads_of_the_config() -> None:
    assert not TUNED.intervals
    values, own = drawn(AROUND, TUNED), constants(TUNED)
    for name in ("joint_lag", "joint_friction", "joint_damping"):
        spread = (values[name] / torch.from_numpy(own[name])).log().std()
        assert spread == pytest.approx(AROUND[f"{name}_spread"], rel=0.05), name
    shift = values["link_gravity_compensation"] - torch.from_numpy(own["link_gravity_compensation"])
    assert shift.std() == pytest.approx(0.05, rel=0.05)


def test_a_robot_that_was_never_fitted_has_no_intervals() -> None:
    message = r"randomization\.robot_intervals = 1: robot 'gr1t2' is as documented, .* give robot\.tuned=<file>"
    with pytest.raises(UserError, match=message):
        make(AROUND)


def test_what_does_not_vary_is_not_drawn() -> None:
    assert DriveDraws(build({}), ROBOT).names == DriveDraws(build(PAPER), TUNED).names == ()
    assert not DriveDraws(build({"joint_bias_spread": 0.01}), ROBOT).late
    # No factor makes a lag of what has none.
    assert DriveDraws(build({"joint_lag_spread": 0.3}), ROBOT).names == ()
    assert DriveDraws(build({"joint_lag_spread": 0.3}), TUNED).late


# -- what becomes of it ------------------------------------------------------------------------------------------------


def test_a_policy_measures_with_its_episode_s_encoders() -> None:
    env = make(DRIVES)
    env.reset()
    before = env.backend.values["joint_bias"].clone()
    for again in (False, True):
        if again:
            env.reset_envs(torch.tensor([1]))
        world, values = env.world, env.backend.values
        true = env.backend.state.joint_position[:, torch.from_numpy(ROBOT.command_index)]
        torch.testing.assert_close(world.measured.joint_position - true, values["joint_bias"], rtol=0, atol=1e-12)
        assert values["joint_bias"].std(dim=0).min() > 0
    assert torch.equal(env.backend.values["joint_bias"][[0, 2, 3]], before[[0, 2, 3]])
    assert not torch.isclose(env.backend.values["joint_bias"][1], before[1]).any()


def test_drives_move_as_those_of_a_robot_that_was_built_so() -> None:
    """Gravity compensation, lag, delay, friction, gains and masses, as the environment drew them."""
    env = make(DRIVES, num_envs=2)
    env.reset()
    assert env.backend.scene.has_drive_dynamics
    mine = {name: value[1].numpy() for name, value in env.backend.values.items() if name in constants(ROBOT)}
    built = make_backend(
        replace(env.backend.scene, robot=with_constants(ROBOT, mine), drive_dynamics=False),
        2,
        load_settings({"threads": 1}),
    )
    initial, moved = at(IN_THE_AIR, commands=ROBOT.posture("rest"), num_envs=2), []
    for backend in (env.backend, built):
        backend.reset(torch.arange(2), initial)
        for step in range(5):
            backend.set_joint_targets(initial.joint_target + 0.05 * torch.sin(step + torch.arange(26)).double())
            backend.step(7)
        moved.append(backend.state.joint_position[1].clone())
    torch.testing.assert_close(*moved, rtol=0, atol=1e-9)


def test_a_partial_reset_changes_no_other_drive_and_a_run_goes_on_exactly() -> None:
    actions = random_actions(8)
    env, twin = make(DRIVES), make(DRIVES)
    env.reset()
    roll(env, actions[:4])
    env.reset_envs(torch.tensor([2]))
    twin.reset()
    twin.set_state(env.get_state())
    for action in actions[4:]:
        ours, theirs = env.step(action), twin.step(action)
        for name in ("obs", "states"):
            assert torch.equal(ours.obs[name], theirs.obs[name])
    assert torch.equal(env.backend.values["joint_lag"], twin.backend.values["joint_lag"])


# Sum of all states after ten steps of four environments, as they were before drives could vary.
SUMS = {"none": 64.758972399720, "paper": 62.730489386835}


@pytest.mark.parametrize("name", SUMS)
def test_without_them_all_numbers_are_as_they_were(name: str) -> None:
    env = make(settings.shipped("randomization", name))
    env.reset()
    states = roll(env, random_actions(10)).obs["states"]
    assert float(states.double().sum()) == pytest.approx(SUMS[name], abs=1e-5)
    assert not env.backend.scene.has_drive_dynamics
    assert not {"joint_lag", "contact_time", "joint_bias", "joint_armature"} & env.backend.values.keys()


def test_contacts_are_as_soft_as_they_were_drawn() -> None:
    sunk = []
    for time in (0.02, 0.06):
        env = make({"contact_time": [time] * 2, "contact_damping_ratio": [1.0, 1.0]}, num_envs=1, bank=None)
        env.reset()
        env.step(torch.zeros(1, env.num_actions))
        for _ in range(10):
            env.backend.step(10)
        size = env.backend.values["object_size"][0, 2]
        sunk.append(float(size / 2 - env.backend.state.object_pose[0, 0, 2]))
    assert sunk[1] > 4 * max(sunk[0], 1e-6)  # by its square


def test_contacts_that_the_physics_steps_cannot_do_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"randomization\.contact_time = \(0\.015, 0\.03\): must be null, or from 0\.02 on"
    ):
        make({"contact_time": [0.015, 0.03]})
    short = {"contact_time": torch.full((1, 1), 0.015, dtype=torch.float64)}
    with pytest.raises(UserError, match=r"contact_time = 0\.015: must be two physics steps, 0\.02 s, or more"):
        make({}).backend.set_parameters(torch.tensor([0]), short)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"joint_lag": [0.0, 2.0]}, r"joint_lag = \[0.0, 2.0\]: must be \[low, high\] with 0 <= low <= high <= 1"),
        ({"joint_delay": [0.03, 0.01]}, r"joint_delay = \[0.03, 0.01\]: must be "),
        ({"arm_joint_friction": [0.0, 1.0]}, r"arm_joint_friction = \[0.0, 1.0\]: must be \[low, high\] with 0.001 <="),
        (
            {"link_gravity_compensation": [0.5, 3.0]},
            r"link_gravity_compensation = \[0.5, 3.0\]: .* <= high <= 2",
        ),
        ({"joint_bias_spread": -0.1}, r"joint_bias_spread = -0.1: must be 0 to 10"),
        ({"joint_stiffness_spread": 11.0}, r"joint_stiffness_spread = 11.0: must be 0 to 10"),
        ({"robot_intervals": -1.0}, r"robot_intervals = -1.0: must be 0 to 10"),
        ({"contact_damping_ratio": [0.0, 1.0]}, r"contact_damping_ratio = \[0.0, 1.0\]: must be "),
    ],
)
def test_ranges_that_cannot_be_are_refused(values: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(values)


def test_a_tuned_robot_s_file_is_all_that_training_needs(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    own, sure = ("  joint_lag: {left_elbow_pitch_joint: " + value + "}" for value in ("0.03", "[0.02, 0.04]"))
    path.write_text(f"format: 1\nrobot: gr1t2\nconstants:\n{own}\nintervals:\n{sure}\n", encoding="utf-8")
    env = make(AROUND, robot={"tuned": str(path)})
    env.reset()
    lag = env.backend.values["joint_lag"]
    assert lag[:, ROBOT.commands.index("left_elbow_pitch_joint")].std() > 0
    assert torch.count_nonzero(lag) == 4
    make({**DRIVES}, robot={"tuned": str(path)}).reset()
