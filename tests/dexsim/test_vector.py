"""The environment as gymnasium knows it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dexsim.env.env import Env
from dexsim.errors import UserError
from dexsim.vector import SingleEnv, VectorEnv
from tests.simulated import PAPER, make

ID = "dexsim/BoxLift-v0"
SHORT: dict[str, Any] = {"episode_s": 0.5, "hold_s": 0.5}
ONE_THREAD = {"threads": 1}


def vector(num_envs: int = 3, **options: Any) -> VectorEnv:
    made = gymnasium.make_vec(
        ID, num_envs=num_envs, **{"backend": ONE_THREAD, "task": SHORT, "randomization": "paper", **options}
    )
    assert isinstance(made, VectorEnv)
    return made


def single(**options: Any) -> SingleEnv:
    made = gymnasium.make(ID, **{"backend": ONE_THREAD, "task": SHORT, "randomization": "paper", **options}).unwrapped
    assert isinstance(made, SingleEnv)
    return made


def inside(env: VectorEnv) -> Env:
    assert isinstance(env.torch_env, Env)
    return env.torch_env


def random_actions(steps: int, num_envs: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (steps, num_envs, 26)).astype(np.float32)


def rollout(env: VectorEnv, steps: int, **reset: Any) -> list[Any]:
    return [env.reset(**reset), *(env.step(action) for action in random_actions(steps, env.num_envs))]


# -- the single environment --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("randomization", ["none", "paper"])
def test_gymnasium_s_check_finds_nothing(randomization: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(single(randomization=randomization), skip_render_check=randomization == "none")


def test_single_env_does_not_reset_itself() -> None:
    env, vec = single(randomization="none"), vector(1, randomization="none")
    env.reset(seed=4)
    vec.reset(seed=4)
    pairs = [(env.step(action[0]), vec.step(action)) for action in random_actions(5, 1)]
    assert all(ours[1] == theirs[1][0] for ours, theirs in pairs)
    (obs, _, terminated, truncated, info), (*_, infos) = pairs[-1]
    assert truncated
    assert not terminated
    assert np.array_equal(obs, infos["final_obs"][0])
    assert np.array_equal(info["states"], infos["final_info"]["states"][0])
    assert info["episode_length"] == 5
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(env.action_space.sample())
    env.reset()
    env.step(env.action_space.sample())


def test_single_env_takes_one_copy() -> None:
    with pytest.raises(ValueError, match="1 copy, not 2"):
        SingleEnv(make(2))


# -- the vector environment --------------------------------------------------------------------------------------------


def test_spaces_are_the_actor_s_and_contain_what_comes() -> None:
    env = vector()
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.metadata["render_fps"] == 10
    assert env.single_action_space == gymnasium.spaces.Box(-1, 1, (26,), np.float32)
    assert env.action_space.shape == (3, 26)
    assert env.single_observation_space.shape == (29,)
    assert env.single_observation_space.dtype == np.float32
    assert env.observation_space.shape == (3, 29)
    obs, infos = env.reset(seed=0)
    assert obs in env.observation_space
    assert infos["states"].shape == (3, 100)
    assert infos["_states"].all()
    for _ in range(12):
        obs, rewards, terminated, truncated, infos = env.step(env.action_space.sample())
        assert obs in env.observation_space
        assert isinstance(obs, np.ndarray)
        assert obs.dtype == infos["states"].dtype == np.float32
        assert (rewards.shape, rewards.dtype) == ((3,), np.float64)
        assert terminated.dtype == truncated.dtype == np.bool_
        for i in np.flatnonzero(terminated | truncated):
            assert infos["final_obs"][i] in env.single_observation_space


def test_an_exploded_observation_is_still_within_the_space() -> None:
    env = vector(randomization="none")
    env.reset(seed=0)
    inside(env).world.state.object_pose[1, 0, :3] = 1e6
    obs, _, terminated, _, infos = env.step(np.zeros((3, 26), np.float32))
    assert terminated.tolist() == [False, True, False]
    assert obs in env.observation_space
    assert infos["final_obs"][1] in env.single_observation_space


def test_seeds_fix_all_that_follows() -> None:
    first, second = vector(), vector()
    assert data_equivalence(rollout(first, 12, seed=7), rollout(second, 12, seed=7), exact=True)
    # Without a seed it goes on with new numbers, and these follow from the last seed.
    again = rollout(first, 6)
    assert not data_equivalence(again[0][0], rollout(vector(), 0, seed=7)[0][0])
    assert data_equivalence(again, rollout(second, 6), exact=True)
    assert not data_equivalence(again[0][0], first.reset()[0])
    assert not data_equivalence(again[0][0], first.reset(seed=8)[0])
    assert data_equivalence(first.reset(seed=7, options={})[0], rollout(second, 0, seed=7)[0][0], exact=True)


def test_the_seed_argument_is_that_of_the_first_reset() -> None:
    env = vector(seed=7)
    first = env.reset()
    assert data_equivalence(first, vector().reset(seed=7), exact=True)
    assert not data_equivalence(env.reset()[0], first[0])
    unseeded = [vector().reset()[0] for _ in range(2)]
    assert not np.array_equal(unseeded[0], unseeded[1])
    assert data_equivalence(single(seed=3).reset(), single().reset(seed=3), exact=True)


def test_it_is_the_torch_environment_in_numpy() -> None:
    env, ours = vector(), make(3, seed=5, randomization=PAPER, **SHORT)
    obs, infos = env.reset(seed=5)
    theirs = ours.reset()
    ended = 0
    for action in random_actions(12):
        assert np.array_equal(obs, theirs["obs"].numpy())
        assert np.array_equal(infos["states"], theirs["states"].numpy())
        obs, rewards, terminated, truncated, infos = env.step(action)
        result = ours.step(torch.from_numpy(action))
        theirs = result.obs
        assert np.array_equal(rewards, result.reward.double().numpy())
        assert np.array_equal(terminated, result.terminated.numpy())
        assert np.array_equal(truncated, result.truncated.numpy())
        done = terminated | truncated
        assert ("final_obs" in infos) == ("final_info" in infos) == done.any()
        for i in np.flatnonzero(done):
            ended += 1
            facts: dict[str, Any] = infos["final_info"]
            assert np.array_equal(infos["final_obs"][i], result.info["final_obs"][i].numpy())
            assert np.array_equal(facts["states"][i], result.info["final_states"][i].numpy())
            for name in ("success", "picked_up", "episode_return", "episode_length"):
                assert facts[name][i] == result.info[name][i].item(), name
    assert ended == 6


def shape_of(infos: Any) -> Any:
    """Keys, types and sizes of nested infos."""
    if isinstance(infos, dict):
        return {key: shape_of(value) for key, value in infos.items()}
    return infos.shape, infos.dtype


def test_infos_are_formed_as_gymnasium_forms_them() -> None:
    """The same two environments, once stepped by gymnasium's own SyncVectorEnv."""
    theirs = SyncVectorEnv(
        [lambda: single(randomization="none"), lambda: single(randomization="none", task={**SHORT, "episode_s": 0.7})],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    ours = vector(2, randomization="none")
    pairs: list[Any] = [(theirs.reset(seed=0), ours.reset(seed=0))]
    pairs += [(theirs.step(action), ours.step(action)) for action in random_actions(5, 2)]
    for expected, got in pairs[:-1]:
        assert [shape_of(x) for x in got] == [shape_of(x) for x in expected]
    expected, got = pairs[-1]
    assert expected[3].tolist() == [True, False]
    assert got[3].tolist() == [True, True]
    assert [shape_of(x) for x in got] == [shape_of(x) for x in expected]
    # What an environment has not is None in the object array and zero in the others.
    inside(ours).reset_envs(torch.tensor([1]))
    for action in random_actions(4, 2):
        got = ours.step(action)
    inside(ours).reset_envs(torch.tensor([1]))
    got = ours.step(random_actions(1, 2)[0])
    assert got[-1]["_final_obs"].tolist() == got[-1]["_final_info"].tolist() == [True, False]
    assert got[-1]["final_obs"][1] is None
    facts = got[-1]["final_info"]
    assert facts["_success"].tolist() == [True, False]
    assert facts["episode_length"].tolist() == [5, 0]
    assert not facts["states"][1].any()


def test_what_was_returned_is_not_written_to_again() -> None:
    env = vector()
    kept = rollout(env, 6, seed=0)
    copies = [np.array(step[0]) for step in kept]
    states = [np.array(step[-1]["states"]) for step in kept]
    for action in random_actions(6):
        env.step(action)
    for step, obs, state in zip(kept, copies, states, strict=True):
        assert np.array_equal(step[0], obs)
        assert np.array_equal(step[-1]["states"], state)


def test_render_draws_each_environment_only_if_asked_to() -> None:
    assert vector(2).render() is None
    assert single().render() is None
    env = vector(2, render_mode="rgb_array")
    env.reset(seed=0)
    frames = env.render()
    assert frames is not None
    assert [(frame.shape, frame.dtype) for frame in frames] == [((240, 320, 3), np.uint8)] * 2
    assert not np.array_equal(frames[0], frames[1])
    with pytest.raises(UserError, match="render_mode = 'human': must be rgb_array or None"):
        single(render_mode="human")


# -- making one --------------------------------------------------------------------------------------------------------


def test_settings_reach_the_environment() -> None:
    env = vector(
        2,
        robot="gr1t2_inspire",
        randomization={"object_mass": [0.05, 0.06]},
        control={"policy_hz": 5.0},
        task={"placement": "bottom_edges", "weights": {"goal": 9.0}},
        backend={"threads": 1, "timestep": 0.005},
    )
    built = inside(env)
    assert built.robot.name == "gr1t2_inspire"
    assert built.randomization.object_mass == (0.05, 0.06)
    assert env.metadata["render_fps"] == 5
    assert built.backend.scene.timestep == 0.005
    assert built.task.rewards["goal"][0] == 9.0
    assert "contact_left" in built.task.rewards  # the weights that were not given stay
    assert built.task.settings.placement == "bottom_edges"  # type: ignore[attr-defined]
    env.close()
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"robot": "gr1t3"}, r"robot = 'gr1t3': no such config; allowed: gr1t2, gr1t2_inspire, gr1t2_tuned"),
        (
            {"randomization": "papr"},
            r"randomization = 'papr': no such config; allowed: .*none, paper.*did you mean 'paper'",
        ),
        ({"randomization": {"frame_lag": 2.0}}, r"randomization.frame_lag = 2.0: must be 0 to 1"),
        ({"control": {"hz": 5}}, r"unknown key 'control.hz' = 5"),
        ({"task": {"plcement": 1}}, r"unknown key 'task.plcement' = 1; .*did you mean 'placement'"),
        ({"backend": {"name": "bullet"}}, r"backend.name = 'bullet': must be one of mujoco"),
    ],
)
def test_mistakes_are_named(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        vector(**options)


def test_importing_dexsim_registers_and_imports_neither_torch_nor_tasks() -> None:
    code = (
        "import dexsim, sys, gymnasium\n"
        f"spec = gymnasium.spec({ID!r})\n"
        "assert spec.entry_point == spec.vector_entry_point == 'dexsim.registration:BoxLift-v0', spec\n"
        "heavy = {'torch', 'mujoco', 'omegaconf', 'tasks'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_without_gymnasium_nothing_is_registered_and_nothing_fails() -> None:
    code = "import sys; sys.modules['gymnasium'] = None; import dexsim; assert dexsim.__version__"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# -- the contract's other arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_one", [single, vector])
def test_what_has_no_effect_is_refused(make_one: Any) -> None:
    env = make_one()
    with pytest.raises(UserError, match=r"options = \{'reset_mask': 1\}: must be None or empty"):
        env.reset(options={"reset_mask": 1})
    env.reset(options={})
    with pytest.raises(UserError, match=r"actions = 'an array of shape \(2, 26\)': must be of shape \((3, )?26,?\)"):
        env.step(np.zeros((2, 26)))
    env.step(np.zeros(env.action_space.shape))  # a refused step has left nothing behind
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError):
        env.step(np.zeros(env.action_space.shape))


def test_a_vector_environment_wants_one_seed_and_a_reset() -> None:
    env = vector()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((3, 26)))
    with pytest.raises(UserError, match=r"seed = \[1, 2, 3\]: must be a whole number or None: one fixes all copies"):
        env.reset(seed=[1, 2, 3])  # type: ignore[arg-type]


def test_the_number_of_steps_can_be_limited() -> None:
    env = vector(max_episode_steps=2)
    env.reset(seed=0)
    assert [env.step(action)[3].all() for action in random_actions(4)] == [False, True, False, True]
    with pytest.raises(UserError, match="max_episode_steps = 0: must be at least 1, or None"):
        vector(max_episode_steps=0)
    with pytest.raises(UserError, match="num_envs = 0: must be at least 1"):
        vector(num_envs=0)


def test_robots_are_those_of_the_configs() -> None:
    tuned = single(robot="gr1t2_tuned")
    assert isinstance(tuned.torch_env, Env)
    nominal = single().torch_env
    assert isinstance(nominal, Env)
    assert tuned.torch_env.robot != nominal.robot
    assert single(robot={"name": "gr1t2"}).torch_env.spec_table() == nominal.spec_table()
