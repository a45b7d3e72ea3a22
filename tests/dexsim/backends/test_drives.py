"""What every backend promises of position drives: constants, delays, lags, friction, and many steps at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dexsim.backends import BackendSettings
from dexsim.backends.make import make_backend
from dexsim.errors import UserError
from dexsim.robots import RobotSpec, constants, with_constants
from dexsim.scene import Scene
from tests.dexsim.backends.scenes import IN_THE_AIR, ROBOT, TIMESTEP, at, build, drive, fields


def other_constants(robot: RobotSpec, seed: int = 0) -> dict[str, np.ndarray]:
    """Constants that all differ from a robot's own."""
    rng = np.random.default_rng(seed)
    own = constants(robot)
    values = {name: value * rng.uniform(0.8, 1.2, value.shape) for name, value in own.items()}
    for name, size in (("joint_delay", 0.05), ("joint_lag", 0.06), ("joint_friction", 0.1), ("coupling_b", 0.1)):
        values[name] = size * rng.uniform(0.2, 1.0, own[name].shape)
    for name in ("link_com", "link_origin", "joint_origin", "joint_lower", "joint_upper"):
        values[name] = own[name] + 0.01 * rng.standard_normal(own[name].shape)
    values["link_gravity_compensation"] = rng.uniform(0.5, 1.0, own["link_mass"].shape)
    return values


def test_constants_of_a_robot_act_as_if_it_had_been_built_with_them(engine: BackendSettings) -> None:
    values = other_constants(ROBOT)
    built = with_constants(ROBOT, values)
    start = with_constants(ROBOT, {name: values[name] for name in ("joint_delay",)})
    ours, theirs = (make_backend(Scene(robot, timestep=engine.timestep), 2, engine) for robot in (built, start))
    theirs.set_parameters(torch.tensor([1]), {name: torch.from_numpy(value)[None] for name, value in values.items()})
    commands = 0.3 * np.random.default_rng(1).uniform(*ROBOT.command_limits.T)
    initial = at(IN_THE_AIR, commands=commands, num_envs=2)
    for each in (ours, theirs):
        each.reset(torch.arange(2), replace(initial, object_pose=torch.zeros(2, 0, 7)))
        each.set_joint_targets(torch.from_numpy(0.5 * commands).repeat(2, 1))
        each.step(60)
    for name in ("joint_position", "joint_velocity", "fingertip_position"):
        mine, other = fields(ours.state)[name], fields(theirs.state)[name]
        torch.testing.assert_close(mine[1], other[1], rtol=0, atol=1e-9)
        assert not torch.allclose(other[0], other[1], atol=1e-4), name
    held = torch.from_numpy(commands).repeat(2, 1, 1)
    mine, other = (each.rollout(held).joint_effort for each in (ours, theirs))
    torch.testing.assert_close(mine[1], other[1], rtol=0, atol=1e-7)


def test_targets_arrive_after_the_delay_and_through_the_lag(engine: BackendSettings) -> None:
    """With a stiff, light drive the joint follows target(t - delay) filtered with the time constant `lag`."""
    fast = {"joint_delay": 0.0325, "joint_lag": 0.05, "joint_stiffness": 2000.0, "joint_damping": 20.0}
    robot = with_constants(ROBOT, {name: np.full(26, value) for name, value in fast.items()})
    backend = make_backend(Scene(robot, timestep=0.001), 1, replace(engine, timestep=0.001))
    start, column = np.clip(0.0, *ROBOT.command_limits.T), ROBOT.commands.index("left_wrist_yaw_joint")
    backend.reset(torch.tensor([0]), replace(at(IN_THE_AIR, commands=start), object_pose=torch.zeros(1, 0, 7)))
    backend.step(20)
    target = start.copy()
    target[column] += 0.2
    backend.set_joint_targets(torch.from_numpy(target)[None])
    moved = []
    for _ in range(200):
        backend.step(1)
        moved.append(float(backend.state.joint_position[0, ROBOT.command_index[column]]) - start[column])
    time = np.arange(1, 201) * 0.001
    expected = 0.2 * (1 - np.exp(-np.maximum(time - 0.0325, 0.0) / 0.05))
    assert np.abs(np.array(moved)[:25]).max() < 1e-4
    # The joint itself follows with the time constant of its damping, 10 ms.
    assert np.interp(0.1, moved, time) - np.interp(0.1, expected, time) == pytest.approx(0.01, abs=0.004)


@pytest.mark.parametrize("delay", [0.004, 0.014])
def test_drives_move_alike_at_long_and_short_physics_steps(engine: BackendSettings, delay: float) -> None:
    """With friction, damping and lag, and whether or not the delay is a physics step long."""
    friction = np.where(ROBOT.is_hand, 0.04, 0.4)
    values = {"joint_delay": np.full(26, delay), "joint_lag": np.full(26, 0.035), "joint_friction": friction}
    robot = with_constants(ROBOT, values)
    low, high = ROBOT.command_limits.T
    start, span = (low + high) / 2, 0.02 * (high - low)
    moved = []
    for timestep in (0.01, 0.001):
        scene = Scene(robot, timestep=timestep, collisions=False)
        backend = make_backend(scene, 1, replace(engine, timestep=timestep))
        backend.reset(torch.tensor([0]), replace(at(IN_THE_AIR, commands=start), object_pose=torch.zeros(1, 0, 7)))
        rows = []
        for tick in range(60):
            targets = start + span * np.sin(0.5 * tick + np.arange(26))
            backend.set_joint_targets(torch.from_numpy(targets)[None])
            for _ in range(5):
                backend.step(round(0.02 / timestep))
                rows.append(backend.state.joint_position[0, ROBOT.command_index].numpy().copy())
        moved.append(np.array(rows))
    assert np.ptp(moved[0], axis=0).min() > 0.004
    # 0.6 mrad without `friction_law`, some mrad with short delays left to the engine.
    error = np.sqrt(((moved[0] - moved[1]) ** 2).mean(axis=0))
    assert error.max() < 2e-4


@pytest.mark.parametrize("delay", [None, 0.002, 0.012])
def test_a_rollout_moves_as_single_steps_do(engine: BackendSettings, delay: float | None) -> None:
    robot = ROBOT if delay is None else with_constants(ROBOT, {"joint_delay": np.full(26, delay)})
    stiffness = torch.from_numpy(constants(ROBOT)["joint_stiffness"])
    start = np.clip(0.0, *ROBOT.command_limits.T)
    waves = torch.sin(torch.arange(12)[:, None] // 3 + torch.arange(26.0)).double()
    targets = torch.from_numpy(start) + 0.05 * torch.stack([waves, -waves])
    moved = []
    for rolls in (False, True):
        backend = make_backend(Scene(robot, timestep=engine.timestep), 2, engine)
        backend.set_parameters(torch.tensor([1]), {"joint_stiffness": 0.5 * stiffness[None]})
        initial = at(IN_THE_AIR, commands=start, num_envs=2)
        backend.reset(torch.arange(2), replace(initial, object_pose=torch.zeros(2, 0, 7)))
        rows = []
        for part in targets.split(5, dim=1):  # not where targets change
            if rolls:
                rolled = backend.rollout(part)
                assert not rolled.diverged.any()
                rows += rolled.joint_position.unbind(dim=1)
                continue
            for target in part.unbind(dim=1):
                backend.set_joint_targets(target)
                backend.step(1)
                rows.append(backend.state.joint_position[:, ROBOT.command_index])
        backend.step(1)  # and goes on from there
        moved.append(torch.stack([*rows, backend.state.joint_position[:, ROBOT.command_index]]))
    torch.testing.assert_close(moved[1], moved[0], rtol=0, atol=1e-9)
    assert float((moved[0][-1] - moved[0][0]).abs().max()) > 0.01


def test_efforts_of_a_rollout_are_those_of_the_drives(engine: BackendSettings) -> None:
    """At rest a drive gives stiffness times its error, at most its limit; what is compensated comes on top."""
    joint = ROBOT.commands.index("left_shoulder_pitch_joint")
    start = np.clip(0.0, *ROBOT.command_limits.T)
    start[joint] = -1.0
    weights = []
    for share in (0.0, 1.0):
        robot = with_constants(ROBOT, {"link_gravity_compensation": np.full(len(ROBOT.moving_links), share)})
        backend = make_backend(Scene(robot, timestep=engine.timestep, collisions=False), 1, engine)
        initial = at(IN_THE_AIR, commands=start)
        backend.reset(torch.arange(1), replace(initial, object_pose=torch.zeros(1, 0, 7)))
        rolled = backend.rollout(torch.from_numpy(start).expand(1, 600, -1))
        error = torch.from_numpy(start) - rolled.joint_position[0, -1]
        drive = torch.from_numpy(constants(robot)["joint_stiffness"]) * error
        weights.append(rolled.joint_effort[0, -1, joint])
        if share == 0.0:
            torch.testing.assert_close(rolled.joint_effort[0, -1], drive, rtol=0, atol=0.01)
            assert abs(float(error[joint])) > 0.01
        else:
            assert abs(float(error[joint])) < 1e-3
    # Who carries the arm is no matter to what it weighs.
    assert float(weights[1]) == pytest.approx(float(weights[0]), rel=0.1)


def test_a_rollout_reports_a_non_finite_environment_alone(engine: BackendSettings) -> None:
    backend = build(engine, 3)
    drive(backend, at(IN_THE_AIR, num_envs=3))
    targets = backend.state.joint_position[:, ROBOT.command_index].repeat(8, 1, 1).transpose(0, 1).clone()
    targets[1, 4:] = float("nan")
    rolled = backend.rollout(targets)
    assert rolled.diverged.tolist() == [False, True, False]
    assert torch.equal(rolled.joint_position[0], rolled.joint_position[2])
    assert torch.isfinite(rolled.joint_effort[[0, 2]]).all()


@pytest.mark.parametrize("delay", [0.002, 0.05])
def test_a_reset_forgets_targets_that_are_still_on_their_way(engine: BackendSettings, delay: float) -> None:
    robot = with_constants(ROBOT, {"joint_delay": np.full(26, delay), "joint_lag": np.full(26, 0.05)})
    backend = make_backend(Scene(robot, timestep=engine.timestep), 1, engine)
    start = np.clip(0.0, *ROBOT.command_limits.T)
    initial = replace(at(IN_THE_AIR, commands=start), object_pose=torch.zeros(1, 0, 7))
    seen = []
    for _ in range(2):
        backend.reset(torch.tensor([0]), initial)
        backend.step(20)
        seen.append(backend.state.joint_position.clone())
        backend.set_joint_targets(torch.from_numpy(start + 0.1)[None])
        backend.step(3)
    assert torch.equal(*seen)


def test_delays_need_a_scene_that_has_them() -> None:
    """MuJoCo's drives are compiled with them or without; another engine may add them later."""
    engine = BackendSettings(name="mujoco", threads=1, timestep=TIMESTEP)
    with pytest.raises(UserError, match="joint_lag > 0 needs a scene whose robot has a delay or a lag"):
        build(engine, 1).set_parameters(torch.tensor([0]), {"joint_lag": torch.full((1, 26), 0.02)})
