"""The environment's promises, on box lift and MuJoCo."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from dexsim.backends import InitialState
from dexsim.backends.mujoco.backend import MujocoBackend
from dexsim.env.env import Env, StepResult
from dexsim.errors import UserError
from tests.simulated import PAPER, freeze, make, random_actions, roll


def same(ours: StepResult, theirs: StepResult, rows: list[int]) -> bool:
    """Whether some environments' results are equal to the last bit."""
    pairs = [(ours.obs[key], theirs.obs[key]) for key in ("obs", "states")]
    pairs += [(getattr(ours, key), getattr(theirs, key)) for key in ("reward", "terminated", "truncated")]
    return all(torch.equal(a[rows], b[rows]) for a, b in pairs)


def put(env: Env, env_id: int, position: tuple[float, ...]) -> None:
    """Put an environment's box somewhere, without the environment's knowledge; its robot stays where it is."""
    state = env.backend.state
    pose = torch.tensor([[[*position, 1.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    command = state.joint_position[env_id : env_id + 1, env.world.tensors.command_index]
    initial = InitialState(state.joint_position[env_id : env_id + 1].clone(), command.clone(), pose)
    env.backend.reset(torch.tensor([env_id]), initial)


# -- determinism -------------------------------------------------------------------------------------------------------


def test_same_seed_gives_the_same_bits_whatever_the_thread_count() -> None:
    count, steps = 16, 300
    actions = random_actions(steps, count)
    one, two = (make(count, seed=3, randomization=PAPER, threads=threads) for threads in (1, 2))
    for key, value in one.reset().items():
        assert torch.equal(value, two.reset()[key])
    ended = 0
    for step in range(steps):
        a, b = one.step(actions[step]), two.step(actions[step])
        assert same(a, b, list(range(count))), f"step {step}"
        ended += int((a.terminated | a.truncated).sum())
    assert ended > 3 * count


def test_another_seed_gives_another_world() -> None:
    first, second = make(seed=0, randomization=PAPER), make(seed=1, randomization=PAPER)
    assert not torch.equal(first.reset()["states"], second.reset()["states"])


def test_reset_starts_the_same_episodes_again() -> None:
    env = make(randomization=PAPER)
    first = env.reset()
    for action in random_actions(20):
        env.step(action)
    again = env.reset()
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    env.seed(5)
    assert not torch.equal(env.reset()["states"], first["states"])
    with pytest.raises(UserError, match=r"seed = -1: must be 0 to 9223372036854775807"):
        env.seed(-1)


def test_a_partial_reset_changes_no_other_environment() -> None:
    """Bit for bit, and with it all noise, lag and forces that come later."""
    env, twin = make(randomization=PAPER), make(randomization=PAPER)
    env.reset()
    twin.reset()
    for step, action in enumerate(random_actions(60)):
        if step == 10:
            env.reset_envs(torch.tensor([1]))
        assert same(env.step(action), twin.step(action), [0, 2, 3]), f"step {step}"
    assert not torch.equal(env.world.state.joint_position[1], twin.world.state.joint_position[1])


def test_state_is_restored_to_the_last_bit() -> None:
    env = make(randomization=PAPER)
    env.reset()
    actions = random_actions(120)
    for action in actions[:30]:
        env.step(action)
    env.nonfinite_count = 3
    kept, held = env.get_state(), env.world.action.clone()
    future = [env.step(action) for action in actions[30:]]  # over the end of the first episodes
    for other in (env, make(seed=9, randomization=PAPER)):
        other.set_state(kept)
        assert torch.equal(other.world.action, held)
        assert other.nonfinite_count == 3
        for step, action in enumerate(actions[30:]):
            assert same(other.step(action), future[step], [0, 1, 2, 3]), f"step {step}"


def test_evaluation_episodes_are_fixed_by_the_seed_whatever_the_policy() -> None:
    def episodes(policy_seed: int, stop: list[int]) -> dict[tuple[int, int], Tensor]:
        env = make(randomization=PAPER, episode_s=0.5, hold_s=0.5)
        seen: dict[tuple[int, int], Tensor] = {}
        env.reset()
        for step, action in enumerate(random_actions(25, seed=policy_seed)):
            if step in stop:  # as a policy that fails would
                env.reset_envs(torch.tensor([step % 4]))
            world = env.world
            facts = torch.cat([world.initial_object[:, 0], world.goal, *world.parameters.values()], dim=1)
            for i, episode in enumerate(env.get_state()["buffers"]["_episode"].tolist()):
                seen.setdefault((i, episode), facts[i].clone())
            env.step(action)
        return seen

    first, second = episodes(0, []), episodes(1, [2, 5, 7, 14])
    shared = set(first) & set(second)
    assert len(shared) >= 16
    assert all(torch.equal(first[key], second[key]) for key in shared)
    assert len({tuple(value.tolist()) for value in first.values()}) == len(first)


# -- ends of episodes --------------------------------------------------------------------------------------------------


def test_terminal_observation_is_the_one_before_the_reset() -> None:
    env, longer = make(episode_s=1.0), make(episode_s=2.0)
    env.reset()
    longer.reset()
    ours, theirs = roll(env, random_actions(10)), roll(longer, random_actions(10))
    assert ours.truncated.all()
    assert not theirs.truncated.any()
    for final, key in (("final_obs", "obs"), ("final_states", "states")):
        assert torch.equal(ours.info[final], theirs.obs[key])
        assert not torch.isclose(ours.info[final], ours.obs[key]).all(dim=1).any()
    assert torch.equal(ours.reward, theirs.reward)
    assert ours.info["episode_length"].tolist() == [10] * 4
    assert not env.world.step.any()


def test_a_time_out_is_truncation_and_a_failure_is_termination() -> None:
    env = make(episode_s=1.0)
    env.reset()
    zero = torch.zeros(4, 26)
    for step in range(1, 11):
        if step in (4, 10):
            put(env, 1 if step == 4 else 2, (0.4, 1.0, 0.5))  # beside the table
        result = env.step(zero)
        failed = {4: [1], 10: [2]}.get(step, [])
        assert result.terminated.nonzero().flatten().tolist() == failed
        # A failure in the last step is a failure, and the environment that failed before has time left.
        assert result.truncated.nonzero().flatten().tolist() == ([0, 3] if step == 10 else [])
        if step == 10:
            assert result.info["episode_length"][[0, 2, 3]].tolist() == [10, 10, 10]
            assert not result.info["success"].any()


def test_returns_and_terms_add_up() -> None:
    env = make(episode_s=1.0)
    env.reset()
    results = [env.step(action) for action in random_actions(10)]
    for result in results:
        assert torch.allclose(sum(result.info["reward_terms"].values(), torch.zeros(4)).float(), result.reward)
    result, total = results[-1], torch.stack([result.reward for result in results]).sum(dim=0)
    assert torch.allclose(result.info["episode_return"], total)
    assert list(result.info["reward_terms"]) == list(env.task.rewards)


@pytest.mark.parametrize("poke", ["simulation", "action"])
def test_a_non_finite_environment_is_ended_counted_logged_dumped_once_and_reset(
    poke: str, tmp_path: Any, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log there
    env, twin = make(randomization=PAPER, dump_dir=tmp_path / "run"), make(randomization=PAPER)
    env.reset()
    twin.reset()
    dump = tmp_path / "run" / "nonfinite.pt"
    caplog.set_level(logging.WARNING)
    written = b""
    for step, action in enumerate(random_actions(30)):
        theirs = twin.step(action)
        if step in (5, 12):
            caplog.clear()
            action = action.clone()
            if poke == "action":
                action[2, 7] = float("nan")
            else:
                put(env, 2, (float("nan"), 0.0, 0.1))
        ours = env.step(action)
        assert same(ours, theirs, [0, 1, 3]), f"step {step}"
        assert all(torch.isfinite(value).all() for value in (*ours.obs.values(), ours.reward))
        if step in (5, 12):
            count = 1 if step == 5 else 2
            assert ours.terminated.tolist() == [False, False, True, False]
            assert not ours.truncated.any()
            assert float(ours.reward[2]) == 0.0
            assert all(torch.isfinite(term).all() for term in ours.info["reward_terms"].values())
            assert torch.isfinite(ours.info["final_obs"]).all()
            assert torch.isfinite(ours.info["final_states"]).all()
            assert torch.isfinite(ours.info["episode_return"]).all()
            assert env.nonfinite_count == count
            assert f"environments [2] ({count} so far)" in caplog.text
            assert ("written to" in caplog.text) == (count == 1)
            written = written or dump.read_bytes()
    assert dump.read_bytes() == written
    assert sorted(path.name for path in dump.parent.iterdir()) == [dump.name]
    kept = torch.load(dump, weights_only=False)
    assert kept["env_ids"] == [2]
    assert int(kept["state"]["world"]["step"][2]) == 6


# -- observations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("robot", ["gr1t2", "gr1t2_inspire"])
def test_observation_groups_are_those_of_the_recipe(robot: str) -> None:
    """Section C: the actor sees the object's position and the joints; the critic sees the listed rest as well."""
    env = make(robot=robot, randomization={"object_mass": [0.03, 0.1], "object_scale": [0.95, 1.05]})
    env.reset()
    result = env.step(random_actions(1)[0])
    assert {k: s.stop - s.start for k, s in env.obs_layout.items()} == {"object_position": 3, "joint_position": 26}
    assert {k: s.stop - s.start for k, s in env.state_layout.items()} == {
        "object_position": 3,
        "joint_position": 26,
        "joint_velocity": 26,
        "fingertip_position": 30,
        "object_orientation": 4,
        "object_velocity": 6,
        "randomization_scales": 5,
    }
    assert (env.num_obs, env.num_states) == (29, 100)
    assert result.obs["obs"].shape == (4, 29)
    assert result.obs["states"].shape == (4, 100)
    assert result.obs["obs"].dtype == result.obs["states"].dtype == torch.float32
    state, index = env.backend.state, env.robot.command_index
    low, high = torch.from_numpy(env.robot.command_limits).T
    speed = torch.tensor([env.robot.joint(name).velocity for name in env.robot.commands])
    expected = {
        "object_position": state.object_pose[:, 0, :3],
        "joint_position": (state.joint_position[:, index] - low) / (high - low) * 2 - 1,
        "joint_velocity": state.joint_velocity[:, index] / speed,
        "fingertip_position": state.fingertip_position.reshape(4, -1),
        "object_orientation": state.object_pose[:, 0, 3:],
        "object_velocity": state.object_velocity[:, 0],
        "randomization_scales": torch.cat(
            [
                env.world.parameters["object_mass"] / env.task.settings.box_mass,  # type: ignore[attr-defined]
                torch.ones(4, 1),
                env.world.parameters["object_size"] / torch.tensor(env.task.settings.box_size),  # type: ignore[attr-defined]
            ],
            dim=1,
        ),
    }
    for layout, group in ((env.obs_layout, "obs"), (env.state_layout, "states")):
        for name, where in layout.items():
            value = torch.as_tensor(expected[name]).float()
            assert torch.allclose(result.obs[group][:, where], value, atol=1e-6), (group, name)


def test_what_the_caller_does_to_an_observation_stays_with_the_caller() -> None:
    settings = {"frame_lag": 0.5, "joint_noise": 0.4}
    env, twin = make(randomization=settings), make(randomization=settings)
    ours = env.reset()
    twin.reset()
    for action in random_actions(10):
        for value in ours.values():
            value.zero_()
        result, theirs = env.step(action), twin.step(action)
        assert torch.equal(result.obs["obs"], theirs.obs["obs"])
        ours = result.obs


def test_noise_has_the_table_s_size_and_touches_the_actor_only(monkeypatch: Any) -> None:
    noisy = make(16, randomization={"joint_noise": 0.4, "object_position_noise": 0.02})
    clean = make(16)
    freeze(noisy, monkeypatch)
    freeze(clean, monkeypatch)
    errors = [noisy.reset()["obs"] - clean.reset()["obs"]]
    for action in random_actions(100, 16):
        ours, theirs = noisy.step(action), clean.step(action)
        errors.append(ours.obs["obs"] - theirs.obs["obs"])
        assert torch.equal(ours.obs["states"], theirs.obs["states"])
    error = torch.stack(errors)
    for name, sigma in (("joint_position", 0.4), ("object_position", 0.02)):
        part = error[..., noisy.obs_layout[name]]
        uncertainty = sigma / part.numel() ** 0.5
        assert abs(float(part.mean())) < 4 * uncertainty, name
        assert float(part.std()) == pytest.approx(sigma, abs=4 * uncertainty), name
        kurtosis = float((part**4).mean() / (part**2).mean() ** 2)
        assert kurtosis == pytest.approx(3.0, abs=0.3), f"{name} is not Gaussian"
    joint = error[..., noisy.obs_layout["joint_position"]]
    assert abs(float((joint[1:] * joint[:-1]).mean())) < 0.005, "the noise is not white"


def test_frame_lag_shows_the_last_frame_again_and_never_another_episode_s(monkeypatch: Any) -> None:
    env = make(16, randomization={"frame_lag": 0.1, "joint_noise": 0.4}, episode_s=2.0)
    freeze(env, monkeypatch)
    last = env.reset()["obs"]
    repeated, first = [], []
    for action in random_actions(400, 16):
        result = env.step(action)
        again = (result.obs["obs"] == last).all(dim=1)
        done = result.terminated | result.truncated
        repeated.append(again[~done])
        first.append(again[done])
        last = result.obs["obs"]
    share = torch.cat(repeated).double()
    assert float(share.mean()) == pytest.approx(0.1, abs=4 * 0.3 / len(share) ** 0.5)
    assert not torch.cat(first).any()


# -- actions -----------------------------------------------------------------------------------------------------------


def recorded_targets(env: Env, monkeypatch: Any) -> list[Tensor]:
    targets: list[Tensor] = []
    monkeypatch.setattr(env.backend, "set_joint_targets", lambda target: targets.append(target.clone()))
    return targets


def test_action_lag_acts_again_with_the_last_action_but_not_in_a_new_episode(monkeypatch: Any) -> None:
    env = make(16, randomization={"action_lag": 0.1}, control={"action_mode": "absolute"}, episode_s=2.0)
    freeze(env, monkeypatch)
    targets = recorded_targets(env, monkeypatch)
    env.reset()
    lagged, fresh = [], torch.ones(16, dtype=torch.bool)
    applied = torch.zeros(16, 26)
    for action in random_actions(400, 16):
        result = env.step(action)
        late, on_time = ((targets[-1] == env.action_map(each, each, each)).all(dim=1) for each in (applied, action))
        assert (late ^ on_time).all()
        assert not late[fresh].any()
        lagged.append(late[~fresh])
        applied = torch.where(late[:, None], applied, action)
        fresh = result.terminated | result.truncated
    share = torch.cat(lagged).double()
    assert float(share.mean()) == pytest.approx(0.1, abs=4 * 0.3 / len(share) ** 0.5)


def test_action_noise_has_the_table_s_size_and_is_not_the_policy_s(monkeypatch: Any) -> None:
    env = make(16, randomization={"action_noise": 0.1}, control={"action_mode": "absolute"})
    freeze(env, monkeypatch)
    targets = recorded_targets(env, monkeypatch)
    env.reset()
    action = 0.3 * random_actions(1, 16)[0]
    for _ in range(49):  # one less than an episode
        env.step(action)
    assert torch.equal(env.world.action, action)
    unit = torch.stack([2 * env.action_map.normalize(target) - 1 for target in targets]) - action
    assert float(unit.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(unit.mean())) < 0.003


def test_targets_move_from_where_the_episode_starts(monkeypatch: Any) -> None:
    env = make()
    targets = recorded_targets(env, monkeypatch)
    env.reset()
    start = env.backend.state.joint_position[:, env.robot.command_index].float()
    env.step(torch.zeros(4, 26))
    assert torch.allclose(targets[-1], start, atol=1e-5)


# -- randomization -----------------------------------------------------------------------------------------------------


def test_parameters_and_poses_hit_their_ranges_and_stay_within() -> None:
    env = make(256, randomization=PAPER)
    env.reset()
    world, nominal = env.world, env.world.nominal
    shift = world.initial_object[:, 0, :2] - torch.tensor([0.4, 0.0])
    orientation = world.initial_object[:, 0, 3:]
    drawn = {
        (0.03, 0.1): world.parameters["object_mass"],
        (0.5, 1.5): torch.cat([world.parameters["object_friction"], world.parameters["hand_friction"]]),
        (0.95, 1.05): world.parameters["object_size"] / nominal["object_size"],
        (0.8, 1.1): world.parameters["joint_stiffness"] / nominal["joint_stiffness"],
        (0.7, 1.2): world.parameters["joint_damping"] / nominal["joint_damping"],
        (-0.02, 0.02): shift,
        (-0.75, 0.75): 2 * torch.atan2(orientation[:, 3], orientation[:, 0]),
    }
    for (low, high), values in drawn.items():
        tolerance, span = 1e-9, high - low
        assert float(values.min()) >= low - tolerance, (low, high)
        assert float(values.max()) <= high + tolerance, (low, high)
        assert float(values.min()) < low + 0.05 * span, (low, high)
        assert float(values.max()) > high - 0.05 * span, (low, high)
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.1 * span), (low, high)
    # Each joint's gain and each axis of the box has its own factor.
    for name in ("joint_stiffness", "object_size"):
        factor = world.parameters[name] / nominal[name]
        assert float((factor[:, 0] - factor[:, 1]).abs().min()) > 0, name
    # The box stands on the table, whatever its size, and what was drawn is what is simulated.
    assert torch.allclose(world.initial_object[:, 0, 2], world.parameters["object_size"][:, 2] / 2)
    assert torch.equal(env.backend.state.object_pose, world.initial_object)
    for name, value in env.backend.values.items():  # type: ignore[attr-defined]
        assert torch.equal(value, world.parameters[name]), name


def test_each_episode_draws_anew_and_without_randomization_nothing_varies() -> None:
    env, plain = make(randomization=PAPER, episode_s=0.2, hold_s=0.2), make(episode_s=0.2, hold_s=0.2)
    env.reset()
    plain.reset()
    before = {name: value.clone() for name, value in env.world.parameters.items()}
    for action in random_actions(2):
        env.step(action)
        plain.step(action)
    for name, value in before.items():
        varies = name != "object_choice"  # there is but one object here
        assert (env.world.parameters[name] == value).all(dim=1).any() != varies, name
        assert torch.equal(plain.world.parameters[name], plain.world.nominal[name].expand(4, -1)), name


def test_random_force_reaches_the_object_and_ends_with_the_episode(monkeypatch: Any) -> None:
    force = {"force_scale": 2.0, "force_probability": 0.2, "force_decay": 0.99, "object_mass": [0.03, 0.1]}
    env = make(16, randomization=force, episode_s=2.0)
    freeze(env, monkeypatch)
    wrenches: list[Tensor] = []
    monkeypatch.setattr(env.backend, "apply_wrench", lambda wrench: wrenches.append(wrench.clone()))
    env.reset()
    mass, masses, ends = env.world.parameters["object_mass"].clone(), [], []
    for action in random_actions(400, 16):
        masses.append(mass)
        result = env.step(action)
        ends.append(result.terminated | result.truncated)
        mass = env.world.parameters["object_mass"].clone()
    applied, done = torch.stack(wrenches)[:, :, 0], torch.stack(ends)
    assert applied.shape == (400, 16, 6)
    assert not applied[..., 3:].any()
    push = applied[..., :3]
    decayed = torch.isclose(push[1:], 0.99 * push[:-1], rtol=1e-5, atol=0).all(dim=-1)
    after_end = done[:-1]
    assert not decayed[after_end & (push[1:] != 0).any(dim=-1)].any()
    fresh = ~decayed[~after_end]
    assert float(fresh.double().mean()) == pytest.approx(0.2, abs=4 * 0.4 / len(fresh) ** 0.5)
    # A new force is an acceleration of 2 m/s^2 times N(0, 1) per axis.
    drawn = (push / torch.stack(masses))[1:][~decayed & ~after_end]
    assert float(drawn.std()) == pytest.approx(2.0, rel=0.05)
    # In the first step of an episode there is either a new force or none.
    started = push[1:][after_end]
    none = (started == 0).all(dim=-1).double()
    assert float(none.mean()) == pytest.approx(0.8, abs=4 * 0.4 / len(none) ** 0.5)


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"control.policy_hz = 30: a policy step must be a whole number of physics steps"
    ):
        make(control={"policy_hz": 30.0})
    env = make()
    env.backend.capabilities = frozenset({"parameters"})  # type: ignore[misc]
    with pytest.raises(UserError, match=r"task 'box_lift' needs .*wrench"):
        Env(env.task, env.backend, env.control, env.randomization)


def test_spec_table_says_what_a_policy_is_matched_against() -> None:
    table = make(control={"policy_hz": 5.0}).spec_table()
    assert table["policy_hz"] == 5.0
    assert table["robot"]["commands"][0] == "left_shoulder_pitch_joint"
    assert table["observation"] == {"object_position": [0, 3], "joint_position": [3, 29]}


# -- what the world remembers ------------------------------------------------------------------------------------------


def test_what_an_engine_cannot_change_is_drawn_once_an_environment(monkeypatch: Any) -> None:
    ranges = {"object_scale": [0.9, 1.05], "object_mass": [0.03, 0.1]}
    monkeypatch.setattr(MujocoBackend, "fixed_at_build", frozenset({"object_size"}))
    env = make(8, randomization=ranges)
    env.reset()
    size, mass = (env.world.parameters[name].clone() for name in ("object_size", "object_mass"))
    assert len({float(value) for value in size[:, 0]}) == 8
    env.reset_envs(torch.arange(8))
    assert torch.equal(env.world.parameters["object_size"], size)
    assert not torch.equal(env.world.parameters["object_mass"], mass)
    later: list[str] = []
    monkeypatch.setattr(env.backend, "set_parameters", lambda ids, values: later.extend(values))
    env.seed(5)
    env.reset()
    assert later == ["object_mass"]


def test_metrics_are_of_the_episode_that_ended(monkeypatch: Any) -> None:
    env = make(2, episode_s=0.2, hold_s=0.1)
    monkeypatch.setattr(env.task, "metrics", lambda world: {"height": world.object_position[:, 2]})  # a view
    env.reset()
    env.step(torch.zeros(2, 26))
    put(env, 0, (0.4, 0.0, 0.5))
    env.world.changed()
    result = env.step(torch.zeros(2, 26))
    assert float(result.info["metrics"]["height"][0]) > 0.3
    assert float(env.world.object_position[0, 2]) < 0.1


def test_stages_must_be_those_that_a_task_lists(monkeypatch: Any) -> None:
    env = make(1)
    env.reset()
    monkeypatch.setattr(env.task, "stages", lambda world: {"touched": world.mirrored})
    with pytest.raises(UserError, match=r"stages\(\) names \['touched'\]; allowed: stage_names = \['touched', 'pick"):
        env.step(torch.zeros(1, 26))


def test_facts_follow_the_state_the_episode_and_the_phase() -> None:
    env = make(2, goal_height=[0.1, 0.2])
    env.reset()
    task: Any = env.task
    lifted, goal = task.lifted(env.world).clone(), env.world.goal.clone()
    assert task.lifted(env.world) is task.lifted(env.world), "computed twice"
    put(env, 0, (0.4, 0.0, 0.5))
    env.world.changed()
    assert float(task.lifted(env.world)[0]) == pytest.approx(0.5 - 0.08)
    assert task.lifted(env.world)[1] == lifted[1]
    env.reset_envs(torch.tensor([0]))
    assert env.world.goal[0, 2] != goal[0, 2]
    assert env.world.goal[1, 2] == goal[1, 2]
