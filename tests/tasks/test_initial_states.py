"""The bank of box lift's initial states: as shipped, and made anew."""

from __future__ import annotations

import itertools
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from dexsim.backends.mujoco_model import build_spec
from dexsim.robots import ROBOTS, RobotSpec, load
from dexsim.scene import ObjectSpec, Scene
from tasks import initial_states
from tasks.initial_states import BOX_CENTRE, GAP, TOLERANCE, Bank, beside_box, load_bank, save_bank


@pytest.fixture(params=ROBOTS)
def robot(request: pytest.FixtureRequest) -> RobotSpec:
    return load(request.param)


def assert_beside_the_box(robot: RobotSpec, bank: Bank, rows: range) -> None:
    """Palms beside the box and facing it, nothing touches it wherever Table 4 puts it, joints within limits."""
    box = ObjectSpec("box", "box", (0.189, 0.252, 0.168), mass=0.1, position=(0.4, 0.0, 0.085))
    model = build_spec(Scene(robot, objects=(box,))).compile()
    data = mujoco.MjData(model)  # type: ignore[attr-defined]
    low, high = torch.from_numpy(robot.command_limits).T
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
            assert abs(x) < 0.02 + TOLERANCE
            assert abs(z) < 0.02 + TOLERANCE
            assert GAP[0] - TOLERANCE <= y * outward <= GAP[1] + TOLERANCE
            normal, fingers = site.xmat.reshape(3, 3)[:, 0], site.xmat.reshape(3, 3)[:, 2]
            assert normal @ np.array([0.0, -outward, 0.0]) > 0.9
            assert fingers[0] > 0.9


def test_a_new_bank_has_the_palms_beside_the_box(robot: RobotSpec, tmp_path: Path) -> None:
    states = beside_box(robot, count=4, seed=1)
    path = tmp_path / "new.npz"
    save_bank(path, robot, states)
    bank = load_bank(str(path), robot)
    assert len(bank) == 4
    assert torch.allclose(bank.joint_target, torch.from_numpy(states), atol=1e-6)
    assert_beside_the_box(robot, bank, range(4))
    assert len({tuple(row) for row in states.round(3)}) == 4


def test_a_box_out_of_reach_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initial_states, "BOX_CENTRE", (2.0, 0.0, 0.08))
    monkeypatch.setattr(initial_states, "ATTEMPTS", 2)
    with pytest.raises(RuntimeError, match="only 0 of 1 states in 2 tries"):
        beside_box(load("gr1t2"), count=1)


def test_the_same_seed_makes_the_same_bank(robot: RobotSpec) -> None:
    assert np.array_equal(beside_box(robot, count=1, seed=2), beside_box(robot, count=1, seed=2))


def test_the_shipped_bank_has_the_palms_beside_the_box(robot: RobotSpec) -> None:
    bank = load_bank("box_lift", robot)
    assert len(bank) == 200
    assert_beside_the_box(robot, bank, range(0, 200, 10))


def test_the_shipped_bank_is_what_the_code_makes(robot: RobotSpec) -> None:
    """Changing the robot or the inverse kinematics means writing the banks anew."""
    assert np.allclose(beside_box(robot, count=2), load_bank("box_lift", robot).joint_target[:2].numpy(), atol=1e-3)
