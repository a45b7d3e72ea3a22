"""PhysX agrees with MuJoCo on what both can do, within the tolerances that are stated here; and its processes."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dexsim import parameters
from dexsim.backends import Backend, BackendSettings
from dexsim.backends.make import make_backend
from dexsim.backends.physx.engine import materials
from dexsim.errors import UserError
from dexsim.robots import RobotSpec, with_constants
from dexsim.scene import ObjectSpec, Scene, Table
from tests.dexsim.backends.scenes import BOX, IN_THE_AIR, ROBOT, at, build, drive, fields

pytest.importorskip("sapien")
MUJOCO = BackendSettings(name="mujoco", threads=1, timestep=0.002)
PHYSX = BackendSettings(name="physx", threads=1, timestep=0.002)


def both(
    item: ObjectSpec = BOX, table: Table | None = None, robot: RobotSpec = ROBOT, collisions: bool = True
) -> list[Backend]:
    scene = Scene(robot, table or Table(), (item,), timestep=MUJOCO.timestep, collisions=collisions)
    return [make_backend(scene, 1, each) for each in (MUJOCO, PHYSX)]


def test_a_box_at_rest_stays_where_it_is() -> None:
    for backend in both():
        drive(backend, at((0.5, 0.0, 0.04)))
        backend.step(500)
        assert torch.allclose(backend.state.object_pose[0, 0, :3], torch.tensor([0.5, 0.0, 0.04]).double(), atol=1e-3)
        assert float(backend.state.object_velocity.abs().max()) < 2e-3


@pytest.mark.parametrize("friction", [(0.3, 0.1), (0.1, 0.3)])
def test_a_sliding_box_is_braked_by_the_larger_friction(friction: tuple[float, float]) -> None:
    """Within 10% of a point mass on an inclined push: both engines' friction is Coulomb's."""
    item, table = replace(BOX, friction=friction[0]), Table(friction=friction[1])
    moved = []
    for backend in both(item, table):
        drive(backend, at((0.4, 0.0, 0.04)))
        backend.apply_wrench(torch.tensor([[[0.5 * 9.81 * BOX.mass, 0.0, 0.0, 0.0, 0.0, 0.0]]]))
        backend.step(200)
        moved.append(float(backend.state.object_pose[0, 0, 0]) - 0.4)
    expected = 0.5 * (0.5 - 0.3) * 9.81 * 0.4**2
    assert moved == pytest.approx([expected] * 2, rel=0.1)


def test_the_mean_of_two_coefficients_is_the_larger_one() -> None:
    for hand, item, table in ((0.5, 1.0, 1.0), (1.5, 0.5, 1.0), (0.2, 0.3, 0.1), (1.0, 1.0, 1.0), (0.1, 5.0, 0.1)):
        found = materials(hand, [item, 0.2], table, 1.0)
        own = {"hand": found.hand, "item": found.items[0], "table": found.table, "robot": found.robot}
        assert min(*own.values(), *found.items) >= 0
        assert (found.items[1] + found.table) / 2 >= max(table, 0.2) - 1e-9
        for first, second, larger in (
            ("hand", "item", max(hand, item)),
            ("table", "item", max(table, item)),
            ("hand", "table", max(hand, table)),
            ("robot", "item", max(1.0, item)),
        ):
            assert (own[first] + own[second]) / 2 == pytest.approx(larger)


def test_a_swinging_arm_moves_alike() -> None:
    """A step of all arm joints, to 6 mrad at any time, 1 mrad at the end; also where drives carry half the weight."""
    share = {"link_gravity_compensation": np.full(len(ROBOT.moving_links), 0.5)}
    for robot in (ROBOT, with_constants(ROBOT, share)):
        start = at(IN_THE_AIR)
        target = start.joint_target + torch.from_numpy(np.where(ROBOT.is_hand, 0.0, 0.3))
        moved = []
        for backend in both(robot=robot, collisions=False):
            drive(backend, start)
            backend.set_joint_targets(target)
            rows = []
            for _ in range(100):
                backend.step(10)
                rows.append(backend.state.joint_position[0, ROBOT.command_index].clone())
            moved.append(torch.stack(rows))
        assert float((moved[0][-1] - moved[0][0]).abs().max()) > 0.2
        assert float((moved[0] - moved[1]).abs().max()) < 0.006
        assert float((moved[0][-1] - moved[1][-1]).abs().max()) < 0.001


def test_a_pressed_finger_gives_way_alike() -> None:
    """Where fingers stop that close on a block agrees to 0.2 rad, some 10 mm: at full torque MuJoCo's sink into it."""
    start, free = at(IN_THE_AIR), build(MUJOCO, 1)
    drive(free, start)
    palm, rotation = free.state.palm_pose[0, 0].split([3, 9])
    normal, _, fingers = rotation.reshape(3, 3).T
    x, y, z = (palm + 0.025 * fingers + 0.035 * normal).tolist()
    block = Table(size=(0.12, 0.06, 0.06), position=(x, y, z + 0.03))
    closed = torch.from_numpy(np.where(ROBOT.is_hand, ROBOT.closed_position, start.joint_target[0].numpy()))
    reached = []
    for backend in both(table=block):
        drive(backend, start)
        backend.set_joint_targets(closed[None])
        backend.step(500)
        reached.append(backend.state.joint_position[0, ROBOT.command_index][7:13].clone())
    assert float((closed[7:13] - reached[0]).abs().min()) > 0.5  # all are held up
    assert float((reached[0] - reached[1]).abs().max()) < 0.2


# -- processes ---------------------------------------------------------------------------------------------------------


def test_processes_change_no_number() -> None:
    moved = []
    for threads in (1, 2):
        backend = build(replace(PHYSX, threads=threads), 3)
        mass = torch.tensor([[0.1], [0.2], [0.4]]).double()
        backend.set_parameters(torch.tensor([2, 0]), {"object_mass": mass[[2, 0]]})
        drive(backend, at((0.5, 0.0, 0.05), num_envs=3))
        backend.reset(torch.tensor([2]), at((0.45, 0.1, 0.06)))
        backend.apply_wrench(torch.tensor([0.5, 0.0, 0.0, 0.0, 0.0, 0.01]).repeat(3, 1, 1))
        backend.step(20)
        rolled = backend.rollout(at(IN_THE_AIR, num_envs=3).joint_target[:, None].repeat(1, 4, 1) + 0.1)
        moved.append([*fields(backend.state).values(), rolled.joint_position, rolled.joint_effort])
    for ours, theirs in zip(*moved, strict=True):
        assert torch.equal(ours, theirs)


def test_a_process_that_dies_is_one_clear_line() -> None:
    backend: Any = build(replace(PHYSX, threads=2), 2)
    drive(backend, at((0.5, 0.0, 0.05), num_envs=2))
    os.kill(backend._workers[1]._process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"a process of the backend physx ended by itself \(exit code -9\)"):
        backend.step(1)


def test_parameters_change_while_it_runs() -> None:
    """The motion goes on with them; nothing else changes."""
    backend = build(PHYSX, 1)
    drive(backend, at(IN_THE_AIR))
    backend.apply_wrench(torch.tensor([[[0.2, 0.0, 0.0, 0.0, 0.0, 1e-3]]]))
    backend.step(50)
    before = fields(backend.state)
    backend.set_parameters(
        torch.tensor([0]), {"object_mass": 2 * parameters.nominal(backend.scene)["object_mass"][None]}
    )
    for name, value in fields(backend.state).items():
        assert torch.allclose(value.double(), before[name].double(), atol=1e-5), name
    backend.step(50)
    gained = fields(backend.state)["object_velocity"][0, 0, 0] - before["object_velocity"][0, 0, 0]
    assert float(gained) == pytest.approx(0.2 / (2 * BOX.mass) * 0.1, rel=1e-3)


def test_a_saturated_drive_is_braked_by_its_friction_as_in_mujoco() -> None:
    """An elbow whose drive gives all it can, 3 N m, with 1 N m of friction: speeds agree to 10% after 60 ms."""
    elbow = ROBOT.commands.index("left_elbow_pitch_joint")
    speeds = []
    for friction in (0.0, 1.0):
        effort = np.array([ROBOT.joint(name).effort for name in ROBOT.commands])
        effort[elbow] = 3.0
        rubbing = np.where(np.arange(26) == elbow, friction, 0.0)
        robot = with_constants(
            ROBOT, {"joint_effort": effort, "joint_friction": rubbing, "joint_lag": np.full(26, 1e-4)}
        )
        for backend in both(robot=robot, collisions=False):
            start = at(IN_THE_AIR)
            drive(backend, start)
            target = start.joint_target.clone()
            target[:, elbow] -= 1.0
            backend.set_joint_targets(target)
            backend.step(30)
            speeds.append(abs(float(backend.state.joint_velocity[0, ROBOT.command_index[elbow]])))
    free, same_free, braked, same_braked = speeds
    assert same_free == pytest.approx(free, rel=0.1)
    assert same_braked == pytest.approx(braked, rel=0.1)
    assert braked < 0.75 * free


def test_contacts_stay_known_when_parameters_change() -> None:
    backend = build(PHYSX, 1)
    drive(backend, at((0.5, 0.0, 0.04)))
    backend.step(20)
    assert backend.state.contact.tolist() == [[True, False, False]]
    backend.set_parameters(torch.tensor([0]), {"object_mass": torch.tensor([[0.3]]).double()})
    assert backend.state.contact.tolist() == [[True, False, False]]
    backend.set_state(backend.get_state())
    assert backend.state.contact.tolist() == [[True, False, False]]


def test_a_wrench_acts_in_a_rollout_until_it_is_set_again() -> None:
    speeds = []
    for backend in both():
        start = at(IN_THE_AIR)
        drive(backend, start)
        backend.apply_wrench(torch.tensor([[[0.5, 0.0, 0.0, 0.0, 0.0, 0.0]]]))
        held = start.joint_target[:, None].repeat(1, 20, 1)
        backend.rollout(held)
        backend.apply_wrench(torch.zeros(1, 1, 6))
        backend.rollout(held)
        speeds.append(float(backend.state.object_velocity[0, 0, 0]))
    assert speeds == pytest.approx([0.5 / BOX.mass * 20 * PHYSX.timestep] * 2, rel=1e-3)


def test_a_delay_that_begins_while_it_runs_brings_no_old_target_back() -> None:
    backend, elbow = build(PHYSX, 1), ROBOT.commands.index("left_elbow_pitch_joint")
    start = at(IN_THE_AIR)
    drive(backend, start)
    target = start.joint_target.clone()
    target[:, elbow] -= 0.3
    backend.set_joint_targets(target)
    backend.step(500)
    before = backend.state.joint_position.clone()
    backend.set_parameters(torch.tensor([0]), {"joint_delay": torch.full((1, 26), 0.1).double()})
    backend.step(40)
    assert float((backend.state.joint_position - before).abs().max()) < 2e-3


def test_an_error_in_one_process_leaves_no_answer_behind() -> None:
    backend: Any = build(replace(PHYSX, threads=2), 2)
    drive(backend, at((0.5, 0.0, 0.05), num_envs=2))
    with pytest.raises(RuntimeError, match="in a process of the backend physx:"):
        backend._each("rebuild", (np.array([5]),), (np.array([1]),))
    assert backend.step(1).tolist() == [False, False]
    process = backend._workers[0]._process
    os.kill(process.pid, signal.SIGINT)  # Ctrl-C in a shell reaches every process
    assert backend.step(1).tolist() == [False, False]
    backend.close()
    assert not process.is_alive()


def test_more_copies_than_it_is_for_are_refused() -> None:
    with pytest.raises(UserError, match="num_envs = 1000000000000: must be at most 4096 on physx"):
        build(PHYSX, 10**12)
