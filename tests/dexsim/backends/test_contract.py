"""What every backend promises, on each one that is installed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dexsim import parameters
from dexsim.backends import Backend, BackendSettings, InitialState
from dexsim.backends.make import make_backend
from dexsim.errors import UserError
from dexsim.robots import ROBOTS, constants, load
from dexsim.scene import ObjectSpec, Scene, Table
from tests.dexsim.backends.scenes import BOX, IN_THE_AIR, MIXED, ROBOT, TIMESTEP, at, build, drive, fields

# -- state -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROBOTS)
def test_state_has_the_promised_shapes_right_after_a_reset(engine: BackendSettings, name: str) -> None:
    robot = load(name)
    objects = (BOX, replace(BOX, name="ball", shape="sphere", size=(0.06, 0.06, 0.06), position=(0.6, 0.3, 0.03)))
    backend = make_backend(Scene(robot, objects=objects, timestep=engine.timestep), 3, engine)
    joints = len(robot.joint_names)
    commands = np.array(robot.open_position) * robot.is_hand
    pose = torch.tensor([[0.5, 0.0, 0.04, 1, 0, 0, 0], [0.6, 0.3, 0.03, 1, 0, 0, 0]]).double().repeat(3, 1, 1)
    start = torch.from_numpy(robot.expand_coupled(commands)).repeat(3, 1)
    backend.reset(torch.arange(3), InitialState(start, torch.from_numpy(commands).repeat(3, 1), pose))
    shapes = {name: tuple(value.shape) for name, value in fields(backend.state).items()}
    assert shapes == {
        "joint_position": (3, joints),
        "joint_velocity": (3, joints),
        "object_pose": (3, 2, 7),
        "object_velocity": (3, 2, 6),
        "fingertip_position": (3, len(robot.fingertips), 3),
        "palm_pose": (3, 2, 12),
        "contact": (3, 0),
    }
    state = backend.state
    assert torch.equal(state.joint_position, start)
    assert torch.equal(state.object_pose, pose)
    assert not state.joint_velocity.any()
    assert not state.object_velocity.any()
    # Posture and robot are symmetric, but for 1 cm between the vendor's two Inspire hands. Left is at +y.
    left, right = state.fingertip_position[:, :5], state.fingertip_position[:, 5:]
    assert (left[..., 1] > 0.1).all()
    assert torch.allclose(left * torch.tensor([1.0, -1.0, 1.0]), right, atol=0.011)
    rotation = state.palm_pose[..., 3:].reshape(3, 2, 3, 3)
    assert torch.allclose(rotation @ rotation.transpose(-1, -2), torch.eye(3).double().expand(3, 2, 3, 3), atol=1e-6)


def test_object_velocity_is_in_the_world_frame(engine: BackendSettings) -> None:
    cube = replace(BOX, size=(0.1, 0.1, 0.1))
    backend = build(engine, 1, cube)
    drive(backend, at(IN_THE_AIR, yaw=np.pi / 2))
    backend.apply_wrench(torch.tensor([[[0.0, 0.0, 0.0, 1e-3, 0.0, 0.0]]]))
    backend.step(20)
    inertia = cube.mass * 0.1**2 / 6
    angular = backend.state.object_velocity[0, 0, 3:]
    assert torch.allclose(
        angular, torch.tensor([1e-3 * 20 * TIMESTEP / inertia, 0.0, 0.0]).double(), rtol=1e-3, atol=1e-4
    )


# -- resets ------------------------------------------------------------------------------------------------------------


def test_partial_reset_touches_only_its_ids(engine: BackendSettings) -> None:
    backend, twin = build(engine, 4), build(engine, 4)
    random = torch.Generator().manual_seed(0)
    low, high = torch.from_numpy(ROBOT.command_limits).T
    for each in (backend, twin):
        drive(each, at((0.5, 0.0, 0.05), num_envs=4))
    for round_ in range(4):
        targets = low + (high - low) * torch.rand(4, 26, generator=random)
        if round_ == 2:
            backend.reset(torch.tensor([1, 3]), at((0.45, 0.1, 0.06), num_envs=2))
            for name, value in fields(backend.state).items():
                assert torch.equal(value[[0, 2]], fields(twin.state)[name][[0, 2]]), name
            assert torch.equal(backend.state.object_pose[[1, 3]], at((0.45, 0.1, 0.06), num_envs=2).object_pose)
        for each in (backend, twin):
            each.set_joint_targets(targets)
            each.step(10)
    for name, value in fields(backend.state).items():
        assert torch.equal(value[[0, 2]], fields(twin.state)[name][[0, 2]]), name
        assert name == "contact" or not torch.equal(value[[1, 3]], fields(twin.state)[name][[1, 3]]), name


def test_a_reset_forgets_the_wrench_and_the_past(engine: BackendSettings) -> None:
    """The same start gives the same future, whatever happened before."""
    backend = build(engine, 1)
    futures = []
    for push in (0.0, 0.7):
        drive(backend, at((0.5, 0.0, 0.041)))
        backend.step(20)
        futures.append(fields(backend.state))
        backend.apply_wrench(torch.tensor([[[push, 0.0, 0.3, 0.0, 0.0, 0.0]]]))
        backend.set_joint_targets(at(IN_THE_AIR).joint_target + 0.3)
        backend.step(20)
    for name, value in futures[0].items():
        assert torch.equal(value, futures[1][name]), name


def test_non_finite_is_reported_of_its_environment_alone(
    engine: BackendSettings, tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log there
    backend, twin = build(engine, 3), build(engine, 3)
    for each in (backend, twin):
        drive(each, at((0.5, 0.0, 0.04), num_envs=3))
    backend.reset(torch.tensor([1]), at((float("nan"), 0.0, 0.04)))
    for each, expected in ((backend, [False, True, False]), (twin, [False] * 3)):
        assert each.step(10).tolist() == expected
    backend.reset(torch.tensor([1]), at((0.5, 0.0, 0.04)))
    assert backend.step(10).tolist() == [False] * 3
    twin.step(10)
    for name, value in fields(backend.state).items():
        assert torch.equal(value[[0, 2]], fields(twin.state)[name][[0, 2]]), name
        assert torch.isfinite(value).all(), name


def test_state_is_restored_to_the_last_bit(engine: BackendSettings) -> None:
    backend, other = build(engine, 2), build(engine, 2)
    if "exact_state" not in backend.capabilities:
        pytest.skip("this backend does not promise it")
    values = {"object_mass": [[0.1], [0.4]], "object_size": [[0.1, 0.12, 0.08], [0.2, 0.1, 0.1]]}
    stiffness = parameters.nominal(backend.scene)["joint_stiffness"] * torch.tensor([[0.5], [1.5]])
    drawn = {name: torch.tensor(value).double() for name, value in values.items()}
    backend.set_parameters(torch.arange(2), {**drawn, "joint_stiffness": stiffness})
    drive(backend, at((0.5, 0.0, 0.06), num_envs=2))
    backend.apply_wrench(torch.tensor([0.3, 0.1, 0.0, 0.0, 0.0, 0.01]).repeat(2, 1, 1))
    backend.set_joint_targets(at(IN_THE_AIR, num_envs=2).joint_target + 0.4)
    backend.step(30)
    kept = backend.get_state()
    futures = []
    for each in (backend, other):
        each.set_state(kept)
        each.step(30)
        futures.append(fields(each.state))
    backend.set_state(kept)
    backend.step(30)
    for name, value in fields(backend.state).items():
        assert torch.equal(value, futures[0][name]), name
        assert torch.equal(value, futures[1][name]), f"{name} in another backend"


# -- forces and parameters ---------------------------------------------------------------------------------------------


def test_wrench_accelerates_by_force_over_mass(engine: BackendSettings) -> None:
    backend = build(engine, 3)
    mass = torch.tensor([[0.1], [0.2], [1.0]]).double()
    backend.set_parameters(torch.arange(3), {"object_mass": mass})
    drive(backend, at(IN_THE_AIR, num_envs=3))
    wrench = torch.tensor([0.5, 0.0, 0.0, 0.0, 0.0, 1e-3]).repeat(3, 1, 1)
    backend.apply_wrench(wrench)
    backend.step(20)  # the wrench is held until set again
    time = 20 * TIMESTEP
    velocity = backend.state.object_velocity[:, 0]
    assert torch.allclose(velocity[:, 0], 0.5 / mass[:, 0] * time, rtol=1e-4)
    assert torch.allclose(velocity[:, 2], torch.tensor(-9.81 * time).double(), rtol=1e-4)
    inertia = mass[:, 0] * (BOX.size[0] ** 2 + BOX.size[1] ** 2) / 12
    assert torch.allclose(velocity[:, 5], 1e-3 * time / inertia, rtol=1e-3)
    backend.apply_wrench(torch.zeros(3, 1, 6))
    backend.step(20)
    assert torch.allclose(backend.state.object_velocity[:, 0, 0], velocity[:, 0], rtol=1e-4)


def test_inertia_follows_size(engine: BackendSettings) -> None:
    backend = build(engine, 2)
    size = torch.tensor([BOX.size, (0.2, 0.24, 0.08)]).double()
    backend.set_parameters(torch.arange(2), {"object_size": size})
    drive(backend, at(IN_THE_AIR, num_envs=2))
    backend.apply_wrench(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1e-3]).repeat(2, 1, 1))
    backend.step(20)
    spin = backend.state.object_velocity[:, 0, 5]
    assert float(spin[0] / spin[1]) == pytest.approx(4.0, rel=1e-3)


@pytest.mark.parametrize("shape", ["box", "cylinder", "sphere"])
def test_object_rests_at_half_its_height(engine: BackendSettings, shape: str) -> None:
    height = 0.08
    item = replace(BOX, shape=shape, size=(height, height, height))
    backend = build(engine, 3, item)
    scale = torch.tensor([[1.0], [0.5], [2.0]]).double()
    backend.set_parameters(torch.arange(3), {"object_size": height * scale.expand(3, 3)})
    start = at((0.5, 0.0, 0.0), num_envs=3)
    start.object_pose[:, 0, 2] = height * scale[:, 0] / 2 + 0.005
    drive(backend, start)
    backend.step(120)
    assert torch.allclose(backend.state.object_pose[:, 0, 2], height * scale[:, 0] / 2, atol=1.5e-3)


def test_object_friction_decides_whether_it_slides(engine: BackendSettings) -> None:
    """Pushed on a slippery table with 0.5 of its weight, above what one side grips and below what the other does."""
    backend = build(engine, 2, table=Table(friction=0.1))
    backend.set_parameters(torch.arange(2), {"object_friction": torch.tensor([[0.25], [1.0]]).double()})
    drive(backend, at((0.4, 0.0, 0.04), num_envs=2))
    backend.apply_wrench(torch.tensor([0.5 * 9.81 * BOX.mass, 0, 0, 0, 0, 0]).repeat(2, 1, 1))
    backend.step(80)
    moved = backend.state.object_pose[:, 0, 0] - 0.4
    free = 0.5 * (0.5 - 0.25) * 9.81 * (80 * TIMESTEP) ** 2
    assert float(moved[0]) == pytest.approx(free, rel=0.2)
    assert float(moved[1]) < 0.02


def test_hand_friction_decides_whether_it_slips(engine: BackendSettings) -> None:
    """A cube pressed onto a palm and pulled along it, with half of the force that presses."""
    cube = replace(BOX, size=(0.03, 0.03, 0.03), mass=0.02, friction=0.05)
    backend = build(engine, 2, cube)
    backend.set_parameters(torch.arange(2), {"hand_friction": torch.tensor([[0.1], [1.5]]).double()})
    drive(backend, at(IN_THE_AIR, num_envs=2))
    rotation = backend.state.palm_pose[0, 0, 3:].reshape(3, 3)  # columns: normal, side, fingers
    palm = backend.state.palm_pose[0, 0, :3].clone()
    start = at(tuple((palm + 0.03 * rotation[:, 2]).tolist()), num_envs=2)
    drive(backend, start)
    press = torch.cat([-4.0 * rotation[:, 0], torch.zeros(3).double()])
    backend.apply_wrench(press.repeat(2, 1, 1))
    backend.step(60)
    before = backend.state.object_pose[:, 0, :3].clone()
    backend.apply_wrench((press + torch.cat([2.0 * -rotation[:, 2], torch.zeros(3).double()])).repeat(2, 1, 1))
    backend.step(20)
    slipped = (backend.state.object_pose[:, 0, :3] - before) @ -rotation[:, 2]
    assert float(slipped[0]) > 0.02
    assert float(slipped[1]) < 0.005


def test_a_grown_object_touches_with_all_of_it(engine: BackendSettings) -> None:
    """Far outside of what it was, which a stale bounding volume would rule out."""
    backend = build(engine, 2)
    if "contacts" not in backend.capabilities:
        pytest.skip("this backend reports none")
    backend.set_parameters(torch.tensor([1]), {"object_size": torch.tensor([[0.6, 0.05, 0.05]]).double()})
    drive(backend, at(IN_THE_AIR, num_envs=2))
    x, y, z = backend.state.fingertip_position[0, 2].tolist()
    drive(backend, at((x + 0.28, y, z), num_envs=2))
    assert backend.state.contact[:, 1].tolist() == [False, True]


@pytest.mark.parametrize("name", ["joint_stiffness", "joint_damping"])
def test_gains_change_how_targets_are_tracked(engine: BackendSettings, name: str) -> None:
    backend = build(engine, 3)
    factor = (
        torch.tensor([[1.0], [0.25], [1.0]]).double()
        if name == "joint_stiffness"
        else torch.tensor([[1.0], [4.0], [1.0]])
    )
    backend.set_parameters(torch.arange(3), {name: parameters.nominal(backend.scene)[name] * factor})
    start = at(IN_THE_AIR, num_envs=3)
    drive(backend, start)
    index = ROBOT.commands.index("left_elbow_pitch_joint")
    target = start.joint_target.clone()
    target[:, index] -= 0.5
    backend.set_joint_targets(target)
    backend.step(20)
    moved = -backend.state.joint_position[:, ROBOT.command_index[index]]
    assert float(moved[0]) == float(moved[2])
    assert float(moved[1]) < 0.7 * float(moved[0])
    backend.step(400)
    # A drive of any gain ends at its target: the arm's weight is carried.
    assert torch.allclose(backend.state.joint_position[:, ROBOT.command_index[index]], target[:, index], atol=0.02)


def test_parameters_of_the_others_stay(engine: BackendSettings) -> None:
    backend, twin = build(engine, 3), build(engine, 3)
    known = {name: torch.from_numpy(value) for name, value in constants(ROBOT).items()}
    known |= {name: torch.tensor([value]).double() for name, value in parameters.CONTACT.items()}
    other = {name: 0.9 * value[None] for name, value in {**known, **parameters.nominal(backend.scene)}.items()}
    assert set(other) == set(parameters.PARAMETERS)
    for name in backend.unknown:
        with pytest.raises(UserError, match=name):
            backend.set_parameters(torch.tensor([1]), {name: other[name]})
    backend.set_parameters(torch.tensor([1]), {name: other[name] for name in other.keys() - backend.unknown})
    for each in (backend, twin):
        drive(each, at((0.5, 0.0, 0.05), num_envs=3))
        each.apply_wrench(torch.tensor([0.5, 0, 0, 0, 0, 0]).repeat(3, 1, 1))
        each.step(20)
    for name in ("joint_position", "object_pose"):
        ours, theirs = fields(backend.state)[name], fields(twin.state)[name]
        assert torch.equal(ours[[0, 2]], theirs[[0, 2]]), name
        assert not torch.equal(ours[1], theirs[1]), name


def test_unknown_parameters_and_impossible_values_are_refused(engine: BackendSettings) -> None:
    backend = build(engine, 1)
    with pytest.raises(UserError, match=r"unknown physical parameter 'object_mas'; allowed: .*object_mass"):
        backend.set_parameters(torch.tensor([0]), {"object_mas": torch.ones(1, 1)})
    for wrong in (-1.0, float("nan")):
        with pytest.raises(UserError, match=r"object_mass from .*; allowed: 0.001 to 50 kg"):
            backend.set_parameters(torch.tensor([0]), {"object_mass": torch.full((1, 1), wrong)})


# -- couplings, contacts -----------------------------------------------------------------------------------------------


def test_coupled_joints_follow_after_a_reset_and_in_motion(engine: BackendSettings) -> None:
    backend = build(engine, 1)
    rows = [(ROBOT.joint_names.index(c.joint), ROBOT.joint_names.index(c.source), c.k, c.b) for c in ROBOT.couplings]
    joint, source = [r[0] for r in rows], [r[1] for r in rows]
    k, b = torch.tensor([r[2] for r in rows]).double(), torch.tensor([r[3] for r in rows]).double()

    def error() -> float:
        position = backend.state.joint_position[0]
        return float((position[joint] - (k * position[source] + b)).abs().max())

    half = np.where(ROBOT.is_hand, 0.5 * np.array(ROBOT.closed_position), np.clip(0.0, *ROBOT.command_limits.T))
    drive(backend, at(IN_THE_AIR, commands=half))
    assert error() < 1e-6
    closed = np.where(ROBOT.is_hand, np.array(ROBOT.closed_position), half)
    errors = []
    for target in (closed, half):
        backend.set_joint_targets(torch.from_numpy(target)[None])
        for _ in range(10):
            backend.step(4)
            errors.append(error())
    assert max(errors) < 0.08  # rad, while the fingers move at several rad/s
    backend.step(200)
    assert error() < 0.02
    reached = backend.state.joint_position[0, ROBOT.command_index][ROBOT.is_hand]
    assert torch.allclose(reached, torch.from_numpy(half[ROBOT.is_hand]), atol=0.05)


def test_contacts_are_reported_by_pair_and_at_once(engine: BackendSettings) -> None:
    backend = build(engine, 3)
    if "contacts" not in backend.capabilities:
        pytest.skip("this backend reports none")
    drive(backend, at(IN_THE_AIR, num_envs=3))
    assert backend.state.contact.tolist() == [[False] * 3] * 3
    assert backend.state.contact.dtype == torch.bool
    # A fingertip is below the palm: the pair counts what hangs on its link.
    tip = backend.state.fingertip_position[0, 5 + 2].tolist()
    backend.reset(torch.tensor([1]), at((0.5, 0.0, 0.0399)))
    backend.reset(torch.tensor([2]), at(tuple(tip)))
    assert backend.state.contact.tolist() == [[False] * 3, [True, False, False], [False, False, True]]
    backend.reset(torch.tensor([2]), at((0.5, 0.0, 0.06)))
    assert not backend.state.contact[2].any()
    backend.step(60)
    assert backend.state.contact.tolist() == [[False] * 3, [True, False, False], [True, False, False]]


def test_an_environment_s_choice_of_object_decides_its_shape(engine: BackendSettings) -> None:
    """A box, a ball and a can in one batch: each rests at its own height, and only the ball rolls."""
    ball = ObjectSpec("ball", "sphere", (0.06, 0.06, 0.06), mass=0.1)
    can = ObjectSpec("can", "cylinder", (0.07, 0.07, 0.12), mass=0.3)
    item = replace(BOX, alternatives=(ball, can))
    backend = build(engine, 3, item)
    choice = torch.tensor([[0], [1], [2]])
    values = parameters.Choices(backend.scene).values(choice)
    assert torch.equal(values["object_size"], torch.tensor([BOX.size, ball.size, can.size], dtype=torch.float64))
    backend.set_parameters(torch.arange(3), values)
    drive(backend, at((0.5, 0.0, 0.065), num_envs=3))
    backend.step(200)
    height = torch.tensor([0.04, 0.03, 0.06], dtype=torch.float64)
    assert torch.allclose(backend.state.object_pose[:, 0, 2], height, atol=1e-3)
    push = torch.zeros(3, 1, 6)
    push[:, 0, 0] = 0.2 * 9.81 * values["object_mass"][:, 0]
    backend.apply_wrench(push)
    backend.step(60)
    moved = backend.state.object_pose[:, 0, 0] - 0.5
    assert moved[1] > 0.05
    assert moved[[0, 2]].abs().max() < 0.01


@pytest.mark.parametrize("where", ["table", "air", "hand"])
def test_objects_of_several_shapes_in_one_batch_move_as_each_does_in_a_batch_of_its_own(
    engine: BackendSettings, where: str
) -> None:
    """Dropped onto the table, spun in the air, and pressed onto a hand that closes."""
    count = len(MIXED)
    mixed = build(engine, count, replace(BOX, alternatives=MIXED[1:]))
    mixed.set_parameters(torch.arange(count), parameters.Choices(mixed.scene).values(torch.arange(count)[:, None]))
    ours = _moved(mixed, where)
    touched = []
    for number, item in enumerate(MIXED):
        # Twice the same to choose from: a body whose shape can never change is rounded otherwise by the engine, and an
        # upright cylinder's few contact points then lie elsewhere on its rim.
        item = replace(item, name="box", alternatives=(item,))
        theirs = _moved(build(engine, 1, item), where)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(
                mine[number], other[0], rtol=0, atol=1e-7, msg=lambda m, i=item: f"{i.size}: {m}"
            )
        touched.append(theirs[-1][0].any(dim=0).tolist())
    expected = {"table": [True, False, False], "air": [False] * 3, "hand": [False, True, False]}[where]
    # Fingers may slap one away between two looks.
    assert touched.count(expected) >= count - (where == "hand")


def _moved(backend: Backend, where: str) -> list[torch.Tensor]:
    """Pose (N, 20, 7), velocity (N, 20, 6), joints (N, 20, J) and contacts (N, 20, P) of 20 times 3 physics steps."""
    count = backend.num_envs
    start, push, target = at(IN_THE_AIR, 0.3, count), torch.zeros(6).double(), None
    if where == "table":
        start = at((0.5, 0.0, 0.07), 0.3, count)
    if where == "air":
        push = torch.tensor([0.1, 0.2, 0.3, 1e-3, 2e-3, 1e-3]).double()
    if where == "hand":
        drive(backend, start)
        palm, rotation = backend.state.palm_pose[0, 0].split([3, 9])
        normal, _, fingers = rotation.reshape(3, 3).T
        start = at(tuple((palm + 0.05 * fingers + 0.07 * normal).tolist()), 0.3, count)
        push = torch.cat([-3.0 * normal, torch.zeros(3).double()])
        target = torch.from_numpy(np.where(ROBOT.is_hand, ROBOT.closed_position, start.joint_target[0]))
    drive(backend, start)
    backend.apply_wrench(push.repeat(count, 1, 1))
    if target is not None:
        backend.set_joint_targets(target.repeat(count, 1))
    rows: list[list[torch.Tensor]] = []
    for _ in range(20):
        backend.step(3)
        now = fields(backend.state)
        rows.append([now["object_pose"][:, 0], now["object_velocity"][:, 0], now["joint_position"], now["contact"]])
    return [torch.stack(column, dim=1) for column in zip(*rows, strict=True)]
