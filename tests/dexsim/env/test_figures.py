"""What an evaluation measures beside an environment: how joints follow, and slip."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

import tasks
from dexsim.env.env import Env
from dexsim.env.figures import EpisodeFigures
from dexsim.rl.evaluation import run_episodes
from dexsim.robots import load
from dexsim.scene import ContactPair, ObjectSpec
from tests.simulated import make, random_actions

BIAS = 0.01
PAIRS = (ContactPair("left", "L_hand_base_link", "box"), ContactPair("right", "R_hand_base_link", "box"))


def acting(env: Env, part: str) -> torch.Tensor:
    hands = torch.tensor(env.robot.is_hand)
    return hands if part == "hands" else ~hands


@pytest.mark.parametrize("part", ["arms", "hands"])
def test_tracking_is_the_error_between_the_steps_of_an_episode(part: str) -> None:
    env = make(num_envs=3)
    figures, squares, actions = env.recorder(), [], random_actions(6, 3)
    env.reset()
    for action in actions:
        figures.look()
        env.step(action)
        error = env.joint_target - env.world.state.joint_position[:, env.world.tensors.command_index]
        squares.append(error[:, acting(env, part)].square().mean(dim=1))
    # The start is no error, and the last state is seen only before a next step.
    wanted = torch.stack(squares[:-1]).mean(dim=0).sqrt()
    found = figures.figures(torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(found[f"tracking_{part}_rad"], wanted)
    assert float(wanted.min()) > 1e-4


def test_encoders_that_are_off_are_in_what_is_measured(tmp_path: Any) -> None:
    robot = load("gr1t2")
    biased = {name: BIAS for name, hand in zip(robot.commands, robot.is_hand, strict=True) if hand}
    content = {"format": 1, "robot": "gr1t2", "constants": {"joint_bias": biased}}
    (tmp_path / "tuned.yaml").write_text(yaml.safe_dump(content))
    env = tasks.make_env({"name": "box_lift"}, {"name": "gr1t2", "tuned": str(tmp_path / "tuned.yaml")}, {"threads": 1})
    figures = env.recorder()
    env.reset()
    for _ in range(4):
        env.step(torch.zeros(1, env.num_actions))
        figures.look()
    found = figures.figures(torch.zeros(1, dtype=torch.bool))
    assert float(found["measured_arms_rad"]) == float(found["tracking_arms_rad"])
    assert abs(float(found["measured_hands_rad"]) - float(found["tracking_hands_rad"])) > 0.3 * BIAS


def test_episodes_have_the_figures_and_start_from_nothing() -> None:
    def run(count: int) -> list[dict[str, Any]]:
        env = tasks.make_env({"name": "box_lift", "episode_s": 0.5, "hold_s": 0.1}, {"name": "gr1t2"}, {"threads": 1})
        return run_episodes(env, lambda obs: obs.new_full((1, env.num_actions), 0.3), count, env.recorder())

    one, (first, second) = run(1), run(2)
    assert one[0]["metric_tracking_arms_rad"] == first["metric_tracking_arms_rad"]
    assert 0.5 < second["metric_tracking_arms_rad"] / first["metric_tracking_arms_rad"] < 2


def test_a_joint_that_the_policy_does_not_move_does_not_count() -> None:
    env = tasks.make_env({"name": "grasp_and_reach"}, {"name": "gr1t2"}, {"threads": 1}, num_envs=8)
    figures = env.recorder()
    env.reset()
    sides = {bool(side) for side in env.world.mirrored}
    assert sides == {False, True}
    env.step(torch.zeros(8, env.num_actions))
    before = {name: value.clone() for name, value in _tracking(figures).items()}
    still = torch.tensor([env.robot.joint(name).side == "left" for name in env.robot.commands])  # the right one acts
    mirrored = env.world.mirrored[:, None]
    env.world.joint_target += torch.where(mirrored, ~still, still).float()  # the idle side's targets are far off
    assert all(torch.equal(value, before[name]) for name, value in _tracking(figures).items())
    env.world.joint_target += 1.0
    assert all(bool((value > 0.9).all()) for value in _tracking(figures).values())


def _tracking(figures: EpisodeFigures) -> dict[str, torch.Tensor]:
    figures.look()
    found = figures.figures(torch.ones(8, dtype=torch.bool))
    return {name: value for name, value in found.items() if name.startswith("tracking")}


class Held:
    """Two environments' box at the right palm, which moves and turns; no simulator."""

    num_envs, device, dt = 2, torch.device("cpu"), 0.1

    def __init__(self) -> None:
        self.robot = load("gr1t2")
        self.joints = self.robot.commands
        box = ObjectSpec("box", "box", (0.1, 0.1, 0.1), mass=0.1)
        scene = SimpleNamespace(robot=self.robot, objects=(box,), contacts=PAIRS)
        self.backend = SimpleNamespace(scene=scene)
        self.task = SimpleNamespace(stage_names=("picked_up",), stages=lambda world: {"picked_up": self.picked})
        self.picked = torch.zeros(2, dtype=torch.bool)
        self.step = 0

    def put(self, offset: torch.Tensor, touched: bool, picked: bool) -> None:
        """Turn and move the palm, and put the boxes at offsets (2, 3) in its frame."""
        self.step += 1
        angle = torch.tensor(0.3 * self.step, dtype=torch.float64)
        cosine, sine, one = angle.cos(), angle.sin(), angle.new_ones(())
        matrix = torch.stack([cosine, -sine, 0 * one, sine, cosine, 0 * one, 0 * one, 0 * one, one]).view(3, 3)
        palm = torch.tensor([0.1 * self.step, 0.2, 0.3], dtype=torch.float64)
        pose = torch.cat([palm, matrix.flatten()]).expand(2, 2, 12)
        joints = torch.zeros(2, len(self.robot.commands), dtype=torch.float64)
        contact = torch.tensor([[False, touched]]).expand(2, 2)
        state = SimpleNamespace(joint_position=joints, palm_pose=pose, contact=contact)
        self.picked = torch.full((2,), picked)
        self.world = SimpleNamespace(
            step=torch.full((2,), self.step),
            mirrored=torch.zeros(2, dtype=torch.bool),
            joint_target=joints,
            measured=SimpleNamespace(joint_position=joints),
            tensors=SimpleNamespace(command_index=torch.arange(len(self.robot.commands))),
            state=state,
            object_position=palm + offset.double() @ matrix.T,
        )


def test_slip_is_what_an_object_moves_in_the_hand_that_holds_it() -> None:
    env: Any = Held()
    figures = EpisodeFigures(env)
    still, slid = torch.tensor([0.0, 0.0, 0.05]), torch.tensor([0.0, 0.004, 0.05])

    def look(second: torch.Tensor, touched: bool = True, picked: bool = True) -> None:
        env.put(torch.stack([still, second]), touched, picked)
        figures.look()

    look(3 * slid, picked=False)  # pushed before it was picked up
    look(still)
    look(slid)
    look(slid)
    look(9 * slid, touched=False)  # let go
    look(still)
    none = torch.zeros(2, dtype=torch.bool)
    rigid, slipped = figures.figures(none)["slip_mm_s"].tolist()
    assert rigid == pytest.approx(0.0, abs=1e-9)
    assert slipped == pytest.approx(4.0 / (2 * 0.1))  # 4 mm in the two steps that it was held
    figures.figures(~none)
    assert figures.figures(none)["slip_mm_s"].isnan().all()


def test_a_task_that_tells_of_no_pick_up_has_no_slip() -> None:
    env: Any = Held()
    env.task.stage_names = ()
    assert "slip_mm_s" not in EpisodeFigures(env).figures(torch.zeros(2, dtype=torch.bool))
