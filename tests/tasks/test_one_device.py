"""Every tensor is made where the backend's are: a proof that needs no GPU.

With "meta" as torch's default device, a tensor that is made without saying where has no values, and the first thing
that mixes it with the simulator's fails.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import tasks
from dexsim import settings
from dexsim.env.env import Env
from dexsim.env.perturbation import PerturbationSettings

TASKS = {
    "box_lift": {"goal_height": [0.1, 0.2]},
    "grasp_and_reach": {"objects": ["all", "jug"]},
    "bimanual_handover": {"episode_s": 3.0},
}


@pytest.fixture(autouse=True)
def nowhere() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


def make(task: str, randomization: str, disturbed: bool = False) -> Env:
    return tasks.make_env(
        {"name": task, **TASKS[task]},
        {"name": "gr1t2"},
        {"threads": 1},
        settings.shipped("randomization", randomization),
        num_envs=4,
        training=True,
        perturbation=PerturbationSettings("push", 4.0) if disturbed else None,
    )


@pytest.mark.parametrize("randomization", ["none", "paper"])
@pytest.mark.parametrize("task", TASKS)
def test_whole_episodes_are_on_the_backend_s_device(task: str, randomization: str) -> None:
    env = make(task, randomization, disturbed=randomization == "paper")
    generator = torch.Generator("cpu").manual_seed(0)
    groups, ended = env.reset(), 0
    for _ in range(env.max_episode_length + 2):
        actions = torch.randn(4, env.num_actions, generator=generator, device="cpu")
        result = env.step(actions)
        groups = result.obs
        ended += int((result.terminated | result.truncated).sum())
    assert ended >= 4
    assert all(value.device.type == "cpu" and value.isfinite().all() for value in groups.values())
    assert env.task.marker_positions(env.world).device.type == "cpu"
    kept = env.get_state()
    make(task, randomization).set_state(kept)


def test_a_tensor_without_a_device_does_not_pass() -> None:
    env = make("box_lift", "none")
    env.reset()
    with pytest.raises((RuntimeError, NotImplementedError)):
        env.step(torch.zeros(4, env.num_actions))


def test_mirror_images_are_on_the_backend_s_device() -> None:
    env = make("box_lift", "none")
    mirrors = env.mirrors()
    assert mirrors is not None
    obs = env.reset()
    assert all(mirrors[name](obs[name]).device.type == "cpu" for name in ("obs", "states"))
