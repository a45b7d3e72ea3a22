"""The bank of box lift's initial states: as shipped, and made anew."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

import tasks
from dexsim.backends.mujoco.model import build_spec
from dexsim.env.draws import EpisodeDraws
from dexsim.errors import UserError
from dexsim.paths import assets_dir
from dexsim.robots import ROBOTS, RobotSpec, load
from dexsim.scene import ObjectSpec, Scene
from tasks.banks import FIELDS, Bank, load_bank, save_bank
from tasks.recording import reach as initial_states
from tasks.recording.reach import BOX_BANKS, BOX_CENTRE, TOLERANCE, beside_box
from tasks.starts import StartStates


@pytest.fixture(params=ROBOTS)
def robot(request: pytest.FixtureRequest) -> RobotSpec:
    return load(request.param)


def assert_beside_the_box(robot: RobotSpec, bank: Bank, rows: range, name: str = "box_lift") -> None:
    """Palms beside the box and facing it, nothing touches it wherever Table 4 puts it, joints within limits."""
    box = ObjectSpec("box", "box", (0.189, 0.252, 0.168), mass=0.1, position=(0.4, 0.0, 0.085))
    model: mujoco.MjModel = build_spec(Scene(robot, objects=(box,))).compile()
    data = mujoco.MjData(model)  # type: ignore[attr-defined]
    low, high = torch.from_numpy(robot.command_limits).T
    approach = BOX_BANKS[name]
    assert (bank.joint_target >= low - 1e-6).all()
    assert (bank.joint_target <= high + 1e-6).all()
    assert torch.equal(bank.joint_position[:, robot.command_index], bank.joint_target)
    for i in rows:
        data.qpos[:-7] = bank.joint_position[i].numpy()
        for x, y, yaw in itertools.product((-0.02, 0.02), (-0.02, 0.02), (-0.75, 0.0, 0.75)):
            data.qpos[-7:] = [0.4 + x, y, 0.085, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
            mujoco.mj_forward(model, data)  # type: ignore[attr-defined]
            assert data.ncon == 0
        for side, outward in (("left", 1.0), ("right", -1.0)):
            site = data.site(f"palm_{side}")
            x, y, z = site.xpos - BOX_CENTRE
            assert abs(x) < approach.spread[0] + TOLERANCE
            assert abs(z + approach.drop) < approach.spread[1] + TOLERANCE
            assert approach.gap[0] - TOLERANCE <= y * outward <= approach.gap[1] + TOLERANCE
            normal, fingers = site.xmat.reshape(3, 3)[:, 0], site.xmat.reshape(3, 3)[:, 2]
            assert normal @ np.array([0.0, -outward, 0.0]) > 0.9
            assert fingers[0] > 0.9


def test_a_new_bank_has_the_palms_beside_the_box(robot: RobotSpec, tmp_path: Path) -> None:
    made = beside_box(robot, 4, BOX_BANKS["box_lift"], seed=1)
    path = tmp_path / "new.npz"
    save_bank(path, robot, made, "box_lift")
    bank = load_bank(str(path), robot, "box_lift")
    assert len(bank) == 4
    for name in FIELDS:
        assert torch.equal(getattr(bank, name), getattr(made, name))
    assert_beside_the_box(robot, bank, range(4))
    assert len({tuple(row) for row in bank.joint_target.numpy().round(3)}) == 4


def test_a_box_out_of_reach_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initial_states, "BOX_CENTRE", (2.0, 0.0, 0.08))
    monkeypatch.setattr(initial_states, "ATTEMPTS", 2)
    with pytest.raises(RuntimeError, match="only 0 of 1 states in 2 tries"):
        beside_box(load("gr1t2"), 1, BOX_BANKS["box_lift"])


def test_the_same_seed_makes_the_same_bank(robot: RobotSpec) -> None:
    first, again = (beside_box(robot, 1, BOX_BANKS["box_lift"], seed=2) for _ in range(2))
    assert torch.equal(first.joint_target, again.joint_target)


@pytest.mark.parametrize("name", BOX_BANKS)
def test_the_shipped_bank_has_the_palms_beside_the_box(robot: RobotSpec, name: str) -> None:
    bank = load_bank(name, robot, "box_lift")
    assert len(bank) == 200
    assert_beside_the_box(robot, bank, range(0, 200, 10), name)


def test_the_shipped_bank_is_what_the_code_makes(robot: RobotSpec) -> None:
    """Changing the robot or the inverse kinematics means writing the banks anew."""
    made, shipped = beside_box(robot, 2, BOX_BANKS["box_lift"]), load_bank("box_lift", robot, "box_lift")
    assert np.allclose(made.joint_target, shipped.joint_target[:2], atol=1e-3)


BANKS = {"box_lift": "box_lift", "box_lift_low": "box_lift", "grasp_and_reach": "grasp_and_reach"}


@pytest.mark.parametrize("name", [*BANKS, "bimanual_handover"])
def test_no_state_of_a_shipped_bank_is_inside_something(robot: RobotSpec, name: str) -> None:
    """Arms are clear of table and object; where nothing is held the hands are too, and the robot of itself."""
    if not (assets_dir() / "banks" / f"{name}_{robot.name}.npz").is_file():
        pytest.skip("no bank")
    bank = load_bank(name, robot, BANKS.get(name, name))
    shape = "cylinder" if name == "grasp_and_reach" else "box"
    parts = {
        f"{link.name}_{i}": primitive.region for link in robot.links for i, primitive in enumerate(link.primitives)
    }
    deep = []
    for size in bank.object_size[:, 0].unique(dim=0):
        scene = Scene(robot, objects=(ObjectSpec("object", shape, tuple(size.tolist()), mass=0.1),))
        model: mujoco.MjModel = build_spec(scene).compile()
        data = mujoco.MjData(model)  # type: ignore[attr-defined]
        for row in (bank.object_size[:, 0] == size).all(dim=1).nonzero()[:, 0].tolist():
            data.qpos[:] = torch.cat([bank.joint_position[row], bank.object_pose[row, 0]]).numpy()
            mujoco.mj_forward(model, data)  # type: ignore[attr-defined]
            for contact in data.contact:
                regions = {parts.get(model.geom(int(geom)).name, "") for geom in contact.geom}
                counts = regions != {""} and (int(bank.stage[row]) == 0 or bool(regions & {"arm", "forearm"}))
                if counts and contact.dist < -1e-3:
                    deep.append((row, regions, contact.dist))
    assert not deep, f"{len(deep)} contacts, such as {deep[:3]}"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 1}, "has version 1; allowed: 3"),
        ({"task": "juggle"}, "was made for task 'juggle', not 'box_lift'"),
        ({"robot": load("gr1t2_inspire").table()}, "made for robot 'gr1t2_inspire'"),
    ],
)
def test_a_bank_that_does_not_fit_is_refused(tmp_path: Path, header: dict[str, Any], message: str) -> None:
    robot, path = load("gr1t2"), tmp_path / "bank.npz"
    save_bank(path, robot, load_bank("box_lift", robot, "box_lift"), "box_lift")
    with np.load(path) as data:
        arrays = dict(data)
    arrays["header"] = np.array(json.dumps({**json.loads(str(arrays["header"])), **header}))
    np.savez_compressed(path, **arrays)
    with pytest.raises(UserError, match=message):
        load_bank(str(path), robot, "box_lift")


@pytest.mark.parametrize("task", ["box_lift", "grasp_and_reach", "bimanual_handover"])
def test_hands_at_rest_touch_nothing(robot: RobotSpec, task: str) -> None:
    """`init=default`: objects as in the bank, hands at the robot's sides."""
    if not (assets_dir() / "banks" / f"{task}_{robot.name}.npz").is_file():
        pytest.skip("no bank")
    env = tasks.make_env({"name": task, "init": "default"}, {"name": robot.name}, {"threads": 1}, num_envs=4)
    env.reset()
    banked = load_bank(task, robot, task)
    assert torch.isin(env.world.state.object_pose[:, 0, 0], banked.object_pose[:, 0, 0]).all()
    before = env.world.state.object_pose.clone()
    for _ in range(3):
        env.step(torch.zeros(4, env.num_actions))
    assert not env.world.state.contact.any()
    assert (env.world.state.object_pose - before).abs().max() < 1e-3
    palms = env.world.state.palm_pose[:, :, 1]
    assert palms[:, 0].min() > 0.2
    assert palms[:, 1].max() < -0.2


def test_another_way_to_start_is_refused() -> None:
    with pytest.raises(UserError, match=r"task.init must be one of bank, default|task.init = 'nap'"):
        tasks.make_env({"name": "box_lift", "init": "nap"}, {"name": "gr1t2"})


@pytest.mark.parametrize("task", ["box_lift", "grasp_and_reach"])
def test_episodes_start_where_a_state_was_recorded(task: str, tmp_path: Path) -> None:
    """On the table a recorded object rests and is shifted as Table 4 says; one that is held stays where it is."""
    robot = load("gr1t2")
    shipped = load_bank(task, robot, task)
    turned = [np.cos(0.2), 0.0, 0.0, np.sin(0.2)]
    pose = torch.tensor([[[0.45, -0.15, 0.5, *turned]], [[0.45, -0.15, 0.3, *turned]]])
    section: dict[str, object] = {"name": task, **({"side": "right"} if task != "box_lift" else {})}
    size = tasks.make_env(section, {"name": "gr1t2"}).world.object_size()[None].expand(2, 1, 3)
    two = Bank(shipped.joint_position[:2], shipped.joint_target[:2], pose, size, torch.tensor([0, 2]))
    save_bank(tmp_path / "two.npz", robot, two, task)
    section.update(bank=str(tmp_path / "two.npz"), later_starts=[0.5, 0.5])
    jitter = {"initial_position": 0.02}
    env = tasks.make_env(section, {"name": "gr1t2"}, {"threads": 1}, jitter, num_envs=64, training=True)
    env.reset()
    start = env.world.initial_object[:, 0]
    held = start[:, 2] == 0.3
    assert 0 < int(held.sum()) < 64
    assert torch.allclose(start[held], pose[1, 0])
    assert torch.allclose(start[~held, 2], env.world.object_size()[~held, 2] / 2)
    assert (start[~held, :2] - pose[0, 0, :2]).abs().max() <= 0.02
    assert torch.allclose(start[:, 3:], pose[0, 0, 3:].expand(64, 4))
    # What starts in the air is not lost when it is put down.
    world = env.world
    world.state.object_pose[:, 0, 2] = env.world.object_size()[:, 2] / 2
    assert not env.task.failure(world).any()
    # A measurement starts at the beginning, and nothing starts in a hand that held something else.
    measured = tasks.make_env(section, {"name": "gr1t2"}, {"threads": 1}, jitter, num_envs=64)
    measured.reset()
    assert (measured.world.initial_object[:, 0, 2] < 0.3).all()
    other = Bank(two.joint_position, two.joint_target, pose, 1.1 * size, two.stage)
    save_bank(tmp_path / "two.npz", robot, other, task)
    unlike = tasks.make_env(section, {"name": "gr1t2"}, {"threads": 1}, jitter, num_envs=64, training=True)
    unlike.reset()
    assert (unlike.world.initial_object[:, 0, 2] < 0.3).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": np.array([2, 3])}, "none of its 2 states is of the first stage"),
        ({"object_pose": np.zeros((2, 0, 7))}, "object_pose is"),
        ({"joint_target": np.full((2, 26), np.nan)}, "joint_target is .* finite"),
        ({"joint_position": np.zeros((2, 5))}, "joint_position is"),
    ],
)
def test_a_bank_that_nothing_can_start_from_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    robot, path = load("gr1t2"), tmp_path / "bank.npz"
    save_bank(path, robot, load_bank("box_lift", robot, "box_lift"), "box_lift")
    with np.load(path) as data:
        arrays = {name: values if name == "header" else values[:2] for name, values in data.items()}
    np.savez_compressed(path, **{**arrays, **change})
    with pytest.raises(UserError, match=message):
        load_bank(str(path), robot, "box_lift")


def test_every_later_stage_starts_as_often_as_the_others() -> None:
    """However many states each has; and of a stage every state has its turn."""
    stage = torch.tensor([0, 3, 0, 2, 3, 3, 3])
    count = len(stage)
    empty, size = torch.zeros(count, 1), torch.ones(count, 1, 3)
    bank = Bank(empty, empty, torch.zeros(count, 1, 7), size, stage)
    starts = StartStates(bank, load("gr1t2"), (1.0, 0.0), 4)
    chosen = [
        starts.choose(EpisodeDraws(0, torch.arange(4000), torch.full((4000,), episode)), torch.ones(4000, 3))
        for episode in (0, 2, 4)
    ]
    share = [torch.bincount(states, minlength=count) / 4000 for states in chosen]
    assert share[0] == pytest.approx([0, 1 / 8, 0, 1 / 2, 1 / 8, 1 / 8, 1 / 8], abs=0.03)
    assert share[1] == pytest.approx([1 / 4, 1 / 16, 1 / 4, 1 / 4, 1 / 16, 1 / 16, 1 / 16], abs=0.03)
    assert share[2] == pytest.approx([1 / 2, 0, 1 / 2, 0, 0, 0, 0], abs=0.03)
