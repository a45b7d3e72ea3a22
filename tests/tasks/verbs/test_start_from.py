"""`dexsim train from=`: a new run with the networks of another one, on another robot or with more randomization."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dexsim import cli
from dexsim.errors import UserError
from dexsim.rl import checkpoint as checkpoints
from dexsim.rl.agent import PpoAgent

SMALL = [
    "rl=cpu", "rl.horizon=2", "rl.actor.units=[8]", "rl.critic.units=[8]", "num_envs=16", "rl.actor.minibatches=1",
    "rl.critic.minibatches=1", "backend.threads=1", "wandb=disabled", "seed=3",
]  # fmt: skip
EPOCH = 32


@pytest.fixture(autouse=True, scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of grasp-and-reach, whose folder is the current one in all these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        yield cli.run("train", [*SMALL, "task=grasp_and_reach", "task.later_starts=[0.2,0.1]", f"frames={2 * EPOCH}"])


def start(*overrides: str, source: object = "runs/train/grasp_and_reach") -> checkpoints.Checkpoint:
    return checkpoints.load(cli.run("train", [f"from={source}", f"frames={EPOCH}", *overrides]))


def assert_same(a: Any, b: Any, path: str = "") -> None:
    if isinstance(a, Mapping):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, list):
        assert len(a) == len(b), path
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same(one, other, f"{path}.{i}")
    elif not path.endswith(".lr"):  # its schedule starts anew
        assert a == b, path


def test_networks_normalizers_and_optimizers_are_kept(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[dict[str, Any]] = []
    learn = PpoAgent.learn

    def spy(agent: PpoAgent) -> bool:
        agent.init_tensors()
        weights = {**agent.get_weights(), "optimizer": agent.optimizer.state_dict()}
        weights["assymetric_vf_nets"] = agent.central_value_net.state_dict()
        weights["assymetric_vf_optimizer"] = agent.central_value_net.optimizer.state_dict()
        began.append(
            {**checkpoints.best_part(weights), "frame": agent.frame, "rate": agent.optimizer.param_groups[0]["lr"]}
        )
        return learn(agent)

    monkeypatch.setattr(PpoAgent, "learn", spy)
    ended = checkpoints.load(first).state
    new = start("robot.tuned=gr1t2_tuned.yaml", "randomization=drives")
    for part in ("model", "optimizer", "assymetric_vf_nets", "assymetric_vf_optimizer"):
        assert_same(ended[part], began[0][part], part)
    assert any("running_mean" in name for name in ended["model"])
    assert began[0]["frame"] == 0
    assert began[0]["rate"] == new.config["rl"]["actor"]["learning_rate"]
    assert new.frame == EPOCH


def test_the_robot_is_another_and_the_rest_is_the_checkpoint_s(first: Path) -> None:
    old = checkpoints.load(first).config
    new = start("robot.tuned=gr1t2_tuned.yaml", "randomization=drives", "task.objects=[can,stick]", "task.beta=3")
    assert new.path.parents[1].parent == Path("runs/train/grasp_and_reach_next")
    config = new.config
    assert config["robot"]["tuned"]["constants"]["joint_lag"]
    assert config["randomization"]["joint_lag"] == [0.0, 0.07]
    changed = {"robot", "randomization", "task", "frames", "from", "resume"}
    assert {key: value for key, value in config.items() if key not in changed} == {
        key: value for key, value in old.items() if key not in changed
    }
    assert config["task"] == {**old["task"], "objects": ["can", "stick"], "beta": 3}
    assert config["task"]["later_starts"] == [0.2, 0.1]
    assert yaml.safe_load((new.path.parents[1] / "config.yaml").read_text())["from"] == "runs/train/grasp_and_reach"
    lag = new.state["env_state"]["backend"]["values"]["joint_lag"]
    assert lag.std() > 0
    # A run that was started so goes on as any other does.
    again = checkpoints.load(
        cli.run("train", [f"resume={new.path.parents[1]}", f"frames={2 * EPOCH}", "wandb=disabled"])
    )
    assert again.frame == 2 * EPOCH
    assert again.config["robot"] == config["robot"]
    assert again.path.parents[2] == new.path.parents[2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("control.policy_hz=5", r"does not fit: policy_hz is 5\.0, but was 10\.0"),
        ("control=absolute", r"does not fit: action_mode is absolute, but was relative"),
        ("robot=gr1t2_inspire", r"does not fit: robot\.robot is gr1t2_inspire, but was gr1t2"),
        ("task=box_lift", r"task\.name = 'box_lift': must be grasp_and_reach, the task of the checkpoint"),
        ("rl.actor.units=[16]", r"rl\.actor\.units = \[16\]: must be \[8\], as in the checkpoint that it starts from"),
        ("rl.normalize_input=false", r"rl\.normalize_input = False: must be True, as in "),
        ("init=default", r"init cannot be given with from="),
        ("resume=runs/train/grasp_and_reach", r"from=.* and resume=.* cannot be given together"),
        ("from=nothing", r"no checkpoint nothing: "),
        ("robot.tuned=no.yaml", r"robot\.tuned = 'no\.yaml': no such file"),
        ("randomization=tuned", r"randomization\.robot_intervals = 1: robot 'gr1t2' is as documented"),
        ("task.no_such_key=1", r"unknown key 'task\.no_such_key' = 1"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_runs(
    given: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here = sorted(Path("runs").rglob("*"))
    source = [] if given.startswith("from=") else ["from=runs/train/grasp_and_reach"]
    with pytest.raises(UserError, match=message):
        cli.run("train", [*source, given])
    assert cli.main(["train", "-m", *source, given, "seed=0,1"]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert [path for path in sorted(Path("runs").rglob("*")) if path not in here and "sweep" in str(path)] == []


def test_a_sweep_of_robots_starts_from_one_checkpoint() -> None:
    given = ["from=runs/train/grasp_and_reach", "robot.tuned=null,gr1t2_tuned.yaml", f"frames={EPOCH}", "name=swept"]
    assert cli.main(["train", "-m", *given]) == 0
    runs = [checkpoints.load(path).config for path in sorted(Path("runs/train/swept").iterdir())]
    assert [config["robot"]["tuned"] is None for config in runs] == [True, False]
    assert [config["task"]["name"] for config in runs] == ["grasp_and_reach"] * 2


def test_a_policy_is_measured_on_drives_that_it_never_saw(first: Path) -> None:
    given = [f"checkpoint={first}", "episodes=4", "num_envs=4", "threads=1", "randomization=drives"]
    for robot in ([], ["robot.tuned=gr1t2_tuned.yaml"]):
        run = cli.run("evaluate", [*given, *robot])
        evaluated = yaml.safe_load((run / "evaluated.yaml").read_text())
        assert evaluated["randomization"]["link_gravity_compensation"] == [0.5, 1.0]
        assert (evaluated["robot"]["tuned"] is None) == (not robot)
