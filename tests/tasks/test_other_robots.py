"""Tasks with robots that are not the shipped ones: calibrated in everything, or with other names throughout."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tasks
from dexsim import settings
from dexsim.errors import UserError
from dexsim.paths import assets_dir
from dexsim.rl import checkpoint as checkpoints
from dexsim.robots import RobotSpec, constants, load, load_robot
from dexsim.robots.constants import CONSTANTS
from dexsim.robots.description import read_description
from dexsim.robots.tuned import write_tuned
from dexsim.runs import RunFolder
from tasks.banks import load_bank
from tasks.verbs import evaluate, train
from tests.fakes import ppo_section, run_verb

ROBOT = load("gr1t2")
TASKS = ("box_lift", "grasp_and_reach", "bimanual_handover")
SMALL = {"units": [32], "mini_epochs": 1}
RL = ppo_section(actor=SMALL, critic=SMALL, horizon=8)
EPOCH = 4 * 8  # steps of four environments


def training(robot: dict[str, Any], task: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "task": task, "robot": robot, "backend": {"threads": 1}, "randomization": {}, "control": {}, "rl": RL,
        "num_envs": 4, "frames": 2 * EPOCH, "wandb": "disabled", **more,
    }  # fmt: skip


# -- calibrated in everything ------------------------------------------------------------------------------------------


def calibrated(robot: RobotSpec) -> dict[str, np.ndarray]:
    """Every constant, changed by a little."""
    rng, own = np.random.default_rng(0), constants(robot)
    values = {name: value * rng.uniform(0.95, 1.05, value.shape) for name, value in own.items()}
    shifts = {
        "joint_lower": 0.05, "joint_upper": 0.05, "joint_bias": 0.01, "joint_origin": 1e-3, "link_com": 1e-3,
        "link_origin": 1e-3, "coupling_k": 0.05, "coupling_b": 0.05,
    }  # fmt: skip
    for name, size in shifts.items():
        values[name] = own[name] + size * rng.uniform(-1.0, 1.0, own[name].shape)
    for name, size in (("joint_delay", 0.03), ("joint_lag", 0.03), ("joint_friction", 0.05)):
        values[name] = size * rng.uniform(0.2, 1.0, own[name].shape)
    return values


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Config section of a robot tuned in all that autotune knows."""
    values, path = calibrated(ROBOT), tmp_path_factory.mktemp("robot") / "tuned.yaml"
    assert set(values) == set(CONSTANTS)
    write_tuned(path, ROBOT, values, {})
    robot, own = constants(load_robot({"name": "gr1t2", "tuned": str(path)})), constants(ROBOT)
    assert all((robot[name] != own[name]).any() for name in CONSTANTS)
    return {"name": "gr1t2", "tuned": str(path)}


@pytest.mark.parametrize("task", TASKS)
def test_a_robot_tuned_in_everything_trains_is_evaluated_and_resumes(
    tmp_path: Path, tuned: dict[str, Any], task: str
) -> None:
    config = training(tuned, {"name": task})
    first = run_verb(train, tmp_path, **config)
    measured = {"checkpoint": str(first.path), "episodes": 2, "num_envs": 2}
    run_verb(evaluate, tmp_path, **measured)
    run_verb(evaluate, tmp_path, **measured, robot={"tuned": None})  # on the robot as documented
    again = {"resume": str(first.path), "frames": 3 * EPOCH}
    resumed = run_verb(train, tmp_path, given=tuple(again), **{**config, **again})
    assert checkpoints.load(resumed.path).frame == 3 * EPOCH


def test_a_policy_of_the_documented_robot_is_evaluated_on_a_tuned_one(tmp_path: Path, tuned: dict[str, Any]) -> None:
    run = run_verb(train, tmp_path, **training({"name": "gr1t2"}, {"name": "box_lift"}, frames=EPOCH))
    measured = {"checkpoint": str(run.path), "episodes": 2, "num_envs": 2}
    run_verb(evaluate, tmp_path, **measured, robot={"tuned": tuned["tuned"]})
    with pytest.raises(UserError, match=r"does not fit: robot\.robot is gr1t2_inspire, but was gr1t2"):
        run_verb(evaluate, tmp_path, **measured, robot={"name": "gr1t2_inspire"})


@pytest.mark.parametrize("task", TASKS)
def test_start_states_come_into_the_limits_of_a_tuned_robot(tuned: dict[str, Any], task: str) -> None:
    robot = load_robot(tuned)
    bank, shipped = load_bank(task, robot, task), load_bank(task, ROBOT, task)
    low, high = torch.from_numpy(robot.command_limits).T
    commanded = bank.joint_position[:, robot.command_index]
    for position, before in ((bank.joint_target, shipped.joint_target),):
        assert ((position >= low) & (position <= high)).all()
        inside = (before >= low) & (before <= high)
        assert torch.equal(position[inside], before[inside])
        assert not inside.all()
    assert ((commanded >= low) & (commanded <= high)).all()
    exact = torch.from_numpy(robot.expand_coupled(commanded.numpy()))
    first = bank.stage == 0
    assert torch.equal(bank.joint_position[first], exact[first])
    recorded = shipped.joint_position
    pressed = recorded - torch.from_numpy(ROBOT.expand_coupled(recorded[:, ROBOT.command_index].numpy()))
    assert torch.allclose((bank.joint_position - exact)[~first], pressed[~first], atol=1e-12)


def test_a_bank_is_not_touched_for_the_robot_it_was_made_with() -> None:
    bank = load_bank("grasp_and_reach", ROBOT, "grasp_and_reach")
    with np.load(assets_dir() / "banks" / "grasp_and_reach_gr1t2.npz") as data:
        assert np.array_equal(bank.joint_position.numpy(), data["joint_position"])
        assert np.array_equal(bank.joint_target.numpy(), data["joint_target"])


# -- other names -------------------------------------------------------------------------------------------------------


def renamed(content: dict[str, Any]) -> dict[str, Any]:
    """A description whose joints and links bear numbers, without the vendor's meshes, which go by names."""
    joints = {row["name"]: f"j{i:02d}" for i, row in enumerate(content["joints"])}
    every = dict.fromkeys([*content["links"], *(row[end] for row in content["joints"] for end in ("parent", "child"))])
    links = {name: f"body_{i}" for i, name in enumerate(every)}
    rows = [
        {**row, "name": joints[row["name"]], "parent": links[row["parent"]], "child": links[row["child"]]}
        for row in content["joints"]
    ]
    for row in rows:
        if "mimic" in row:
            row["mimic"] = {**row["mimic"], "joint": joints[row["mimic"]["joint"]]}
    return {
        **content,
        "name": "numbered",
        "urdf": "",
        "commands": [joints[name] for name in content["commands"]],
        "links": {links[name]: row for name, row in content["links"].items()},
        "joints": rows,
        **{key: [{**row, "link": links[row["link"]]} for row in content[key]] for key in ("fingertips", "palms")},
        "postures": {n: {joints[j]: angle for j, angle in each.items()} for n, each in content["postures"].items()},
    }


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("robot") / "numbered.json"
    content = renamed(read_description(assets_dir() / "robots" / "gr1t2.json"))
    path.write_text(json.dumps(content))
    names = [*content["commands"], *content["links"]]
    assert not any(word in name for name in names for word in ("left", "right", "L_", "R_", "hand", "thumb"))
    return path


def rewritten_bank(task: str, robot: RobotSpec, path: Path) -> str:
    """The shipped bank of a task, as if it had been made with a robot."""
    with np.load(assets_dir() / "banks" / f"{task}_gr1t2.npz") as data:
        arrays = dict(data)
    arrays["header"] = np.array(json.dumps({**json.loads(str(arrays["header"])), "robot": robot.table()}))
    np.savez_compressed(path, **arrays)
    return str(path)


def curve(run: RunFolder) -> list[dict[str, str]]:
    with (run.path / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds" and not k.startswith("time/")} for row in rows]


@pytest.mark.parametrize("task", ["box_lift", "grasp_and_reach"])
def test_names_mean_nothing_to_what_is_learned(tmp_path: Path, numbered: Path, task: str) -> None:
    more = {
        "randomization": settings.shipped("randomization", "paper"),
        "rl": settings.shipped("rl", "cpu"),
        "num_envs": 16,
        "frames": 768,
    }
    bank = rewritten_bank(task, load(str(numbered)), tmp_path / "bank.npz")
    shipped = run_verb(train, tmp_path, **training({"name": "gr1t2"}, {"name": task}, **more))
    own = run_verb(train, tmp_path, **training({"name": str(numbered)}, {"name": task, "bank": bank}, **more))
    assert len(curve(shipped)) == 3
    assert any(key.startswith("reward/") for key in curve(shipped)[0])
    assert curve(own) == curve(shipped)
    assert checkpoints.load(own.path).config["robot"]["name"] == "numbered"
    run_verb(evaluate, tmp_path, checkpoint=str(own.path), episodes=2, num_envs=2)


def test_the_bank_of_another_robot_is_refused_by_its_names(numbered: Path) -> None:
    bank = str(assets_dir() / "banks" / "box_lift_gr1t2.npz")
    with pytest.raises(
        UserError, match=r"made for robot 'gr1t2', does not fit: .*left_shoulder_pitch_joint is missing"
    ):
        tasks.make_env({"name": "box_lift", "bank": bank}, {"name": str(numbered)})
