"""The batched environment: a task on a backend, with randomization, noise, lags, resets and bookkeeping."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dexsim import __version__, parameters
from dexsim.backends import Backend
from dexsim.control import observations
from dexsim.control.actions import ActionMap, ControlSettings
from dexsim.control.symmetry import Mirror, mirrors
from dexsim.env.draws import EpisodeDraws
from dexsim.env.perturbation import Perturbation, PerturbationSettings
from dexsim.env.randomization import RandomForce, RandomizationSettings, draw_parameters
from dexsim.env.task import Task, weighted_sum
from dexsim.env.world import RobotTensors, World
from dexsim.errors import UserError, require
from dexsim.files import atomic_path
from dexsim.robots import RobotSpec

log = logging.getLogger(__name__)
Tensors = dict[str, Tensor]


class StepResult(NamedTuple):
    """What a step returns; N environments.

    Attributes:
        obs: "obs" (N, num_obs) and "states" (N, num_states) float32; a finished environment's are of its new episode.
        reward: (N,) float32.
        terminated: (N,) bool, the episode was lost; not to be bootstrapped.
        truncated: (N,) bool, time was up; to be bootstrapped.
        info: reward_terms, and where an episode ended its terminal observation ("final_obs", "final_states") and
            success, picked_up, stages and metrics, return, length, whether it started in a later stage, parameters.
    """

    obs: Tensors
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    info: dict[str, Any]


class Env:
    """N copies of a task, stepped together; finished ones start anew by themselves.

    A step is: noise and lag on the action, physics, terminate, reward, terminal observation, reset, observe. All
    tensors are on the CPU. What an episode starts with depends on (seed, environment, episode) only; the noise of the
    steps comes from one generator that draws the same amount in each step, whoever resets.

    Args:
        task: the task.
        backend: the simulator, holding the task's scene.
        control: rates and action mode.
        randomization: what varies.
        seed: of everything random.
        dump_dir: where the state of a non-finite environment is written, once; None for nowhere.
        perturbation: what disturbs the object, in an evaluation.
    """

    def __init__(
        self,
        task: Task,
        backend: Backend,
        control: ControlSettings,
        randomization: RandomizationSettings,
        seed: int = 0,
        dump_dir: Path | None = None,
        perturbation: PerturbationSettings | None = None,
    ) -> None:
        missing = task.capabilities - backend.capabilities
        if missing:
            raise UserError(f"task {task.name!r} needs {', '.join(sorted(missing))}, which this backend has not")
        self.task, self.backend, self.control, self.randomization = task, backend, control, randomization
        self.dump_dir, self.nonfinite_count = dump_dir, 0
        self.robot: RobotSpec = backend.scene.robot
        self.num_envs = backend.num_envs
        self.joints = tuple(self.robot.commands if task.joints is None else task.joints)
        self.num_actions = len(self.joints)
        self.dt = 1.0 / control.policy_hz
        self.max_episode_length = round(task.episode_s * control.policy_hz)
        self._hold_steps = max(1, round(task.hold_s * control.policy_hz))
        self._substeps = control.substeps(backend.scene.timestep)
        self.action_map = ActionMap(self.robot, control, self.joints)
        width = observations.widths(self.robot, len(backend.scene.objects))
        self.obs_layout = observations.layout(task.actor, width)
        self.state_layout = observations.layout(task.critic, width)
        self.num_obs, self.num_states = observations.size_of(self.obs_layout), observations.size_of(self.state_layout)
        self._mirror = mirrors(self.robot, self.obs_layout, self.state_layout) if task.two_sided else None
        self._obs_noise = self._noise_scale()
        self._nominal, self._choices = parameters.nominal(backend.scene), parameters.Choices(backend.scene)
        disturbing = perturbation or PerturbationSettings()
        self._perturbation = Perturbation(disturbing, self.num_envs, task.episode_s, self.dt)
        self._allocate()
        self.seed(seed)

    # -- building ------------------------------------------------------------------------------------------------------

    def _noise_scale(self) -> Tensor | None:
        """(num_obs,) standard deviation of the actor's observation noise, None for no noise at all."""
        scale = torch.zeros(self.num_obs)
        for name, sigma in (
            ("joint_position", self.randomization.joint_noise),
            ("object_position", self.randomization.object_position_noise),
        ):
            if name in self.obs_layout:
                scale[self.obs_layout[name]] = sigma
        return scale if bool(scale.any()) else None

    def _allocate(self) -> None:
        count, objects = self.num_envs, len(self.backend.scene.objects)
        actions = (count, self.num_actions)
        self._target = torch.zeros(count, len(self.robot.commands))  # as the policy sees it: maybe in the mirror
        self._applied = torch.zeros(actions)
        self._frame = torch.zeros(count, self.num_obs)
        self._episode = torch.full((count,), -1, dtype=torch.long)
        self._held = torch.zeros(count, dtype=torch.long)
        self._return = torch.zeros(count)
        self._later = torch.zeros(count, dtype=torch.bool)
        self._force = RandomForce(self.randomization, (count, objects), self.dt)
        self._world = World(
            robot=self.robot,
            tensors=RobotTensors(self.robot),
            state=self.backend.state,
            parameters=parameters.repeat(self._nominal, count),
            nominal=self._nominal,
            goals=torch.zeros(count, self.task.phases, 3, dtype=torch.float64),
            phase=torch.zeros(count, dtype=torch.long),
            initial_object=torch.zeros(count, objects, 7, dtype=torch.float64),
            step=torch.zeros(count, dtype=torch.long),
            action=torch.zeros(actions),
            previous_action=torch.zeros(actions),
            dt=self.dt,
            mirrored=torch.zeros(count, dtype=torch.bool),
        )
        self._stages: Tensors = {name: torch.zeros(count, dtype=torch.bool) for name in self.task.stage_names}

    # -- public --------------------------------------------------------------------------------------------------------

    def seed(self, seed: int) -> None:
        """Start all random numbers anew; takes effect on the next `reset`."""
        require(0 <= seed < 2**63, "seed", seed, "0 or more")
        self._seed = seed
        self._generator = torch.Generator().manual_seed(seed)

    def reset(self) -> Tensors:
        """Start the first episode of this seed in every environment; return the observations."""
        self._generator.manual_seed(self._seed)
        self._episode.fill_(-1)
        self.reset_envs(torch.arange(self.num_envs))
        return self._observe(torch.ones(self.num_envs, dtype=torch.bool))

    def reset_envs(self, env_ids: Tensor) -> None:
        """Start the next episode of some environments; no other environment changes.

        Args:
            env_ids: (n,) int64.
        """
        world = self._world
        self._episode[env_ids] += 1
        draws = EpisodeDraws(self._seed, env_ids, self._episode[env_ids])
        values = draw_parameters(self.randomization, self._nominal, draws, self._choices)
        if self.randomization.changes_parameters or self._choices.any:
            self.backend.set_parameters(env_ids, values)
        for name, value in values.items():
            world.parameters[name][env_ids] = value
        start = self.task.start(draws, values, self.randomization)
        self.backend.reset(env_ids, start.state)
        world.goals[env_ids], world.initial_object[env_ids] = start.goals, start.state.object_pose
        world.phase[env_ids] = 0 if start.phase is None else start.phase
        self._later[env_ids] = False if start.later is None else start.later
        target = start.state.joint_target.float()
        if start.mirrored is not None:
            world.mirrored[env_ids] = start.mirrored
            target = self._seen("commands", target, start.mirrored)
        self._target[env_ids] = target
        for buffer in (world.step, world.action, world.previous_action, self._applied, self._held, self._return):
            buffer[env_ids] = 0
        self._force.wrench[env_ids] = 0
        if self._perturbation.active:
            self._perturbation.draw(env_ids, draws)
        for reached in self._stages.values():
            reached[env_ids] = False
        world.state = self.backend.state

    def step(self, actions: Tensor) -> StepResult:
        """Apply actions (N, num_actions) in [-1, 1] for one policy period."""
        world = self._world
        self._act(actions)
        bad = self._simulate() | ~torch.isfinite(world.action).all(dim=1)
        world.step += 1
        if self.task.phases > 1:
            world.phase = self.task.next_phase(world)
        success = self._judge(bad)
        reward, terms = weighted_sum(self.task.rewards, world)
        reward = reward.float()
        terminated = self.task.failure(world) | bad
        truncated = (world.step >= self.max_episode_length) & ~terminated
        if bool(bad.any()):
            reward, terms = self._discard(bad, reward, terms)
        self._return += reward
        done = terminated | truncated
        info: dict[str, Any] = {"reward_terms": terms}
        if bool(done.any()):
            info.update(self._finish(done, success & truncated))
        return StepResult(self._observe(done), reward, terminated, truncated, info)

    def spec_table(self) -> dict[str, Any]:
        """Everything that a policy is matched against: joints, rates, units, observation layout."""
        return {
            "version": __version__,
            "task": self.task.name,
            "robot": self.robot.table(),
            "policy_hz": self.control.policy_hz,
            "action_mode": self.control.action_mode,
            "action": "values in [-1, 1], one for each of action_joints; hands 0 (open) .. 1 (closed) if normalized",
            "action_joints": list(self.joints),
            "two_sided": self.task.two_sided,
            "observation": {name: [s.start, s.stop] for name, s in self.obs_layout.items()},
            "state": {name: [s.start, s.stop] for name, s in self.state_layout.items()},
            "units": {"joint_position": "fraction of range, -1 .. 1", "object_position": "m", "joint_target": "rad"},
        }

    def mirrors(self) -> dict[str, Mirror] | None:
        """Mirror images of "obs", "states" and "actions", or None where the task is not left-right symmetric."""
        if not self.task.symmetric:
            return None
        return mirrors(self.robot, self.obs_layout, self.state_layout)

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here."""
        world = self._world
        return {
            "backend": self.backend.get_state(),
            "generator": self._generator.get_state(),
            "seed": self._seed,
            "nonfinite_count": self.nonfinite_count,
            "buffers": {name: getattr(self, name).clone() for name in _BUFFERS},
            "wrench": self._force.wrench.clone(),
            "perturbation": self._perturbation.get_state(),
            "world": {name: getattr(world, name).clone() for name in _WORLD_BUFFERS},
            "parameters": {name: value.clone() for name, value in world.parameters.items()},
            "stages": {name: value.clone() for name, value in self._stages.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `get_state()` of an environment built the same way."""
        self.backend.set_state(state["backend"])
        self._seed, self.nonfinite_count = state["seed"], state["nonfinite_count"]
        self._generator.set_state(state["generator"])
        self._force.wrench.copy_(state["wrench"])
        self._perturbation.set_state(state["perturbation"])
        for owner, names, key in ((self, _BUFFERS, "buffers"), (self._world, _WORLD_BUFFERS, "world")):
            for name in names:
                getattr(owner, name).copy_(state[key][name])
        for ours, key in ((self._world.parameters, "parameters"), (self._stages, "stages")):
            for name, value in state[key].items():
                ours[name].copy_(value)
        self._world.state = self.backend.state

    def close(self) -> None:
        """Nothing to release; the simulator goes with its owner."""

    @property
    def joint_target(self) -> Tensor:
        """(N, 26) joint targets in rad."""
        return self._seen("commands", self._target)

    @property
    def world(self) -> World:
        """What the terms see now."""
        return self._world

    # -- inside a step -------------------------------------------------------------------------------------------------

    def _act(self, actions: Tensor) -> None:
        """Lag and noise, then the targets (Table 4)."""
        world, setting = self._world, self.randomization
        world.previous_action, world.action = world.action, actions.detach().clamp(-1.0, 1.0)
        applied = world.action
        if setting.action_lag:
            late = torch.rand(self.num_envs, 1, generator=self._generator) < setting.action_lag
            # An episode starts without a last action: zero is one too, and in absolute mode far from the target.
            applied = torch.where(late & (world.step[:, None] > 0), self._applied, applied)
        self._applied = applied
        if setting.action_noise:
            applied = applied + setting.action_noise * torch.randn(applied.shape, generator=self._generator)
        measured = self._seen("commands", world.measured_position.float())
        self._target = self.action_map(applied, self._target, measured)

    def _simulate(self) -> Tensor:
        self.backend.set_joint_targets(self.joint_target)
        if self._force.active or self._perturbation.active:
            self.backend.apply_wrench(self._wrench())
        bad = self.backend.step(self._substeps)
        self._world.state = self.backend.state
        return bad

    def _wrench(self) -> Tensor:
        """What acts on the objects during the next policy step, (N, K, 6)."""
        wrench = self._force.wrench
        if self._force.active:
            wrench = self._force.step(self._world.parameters["object_mass"], self._generator)
        if self._perturbation.active:
            wrench = wrench.clone()
            wrench[:, 0, :3] += self._perturbation.force(self._world.step)
        return wrench

    def _judge(self, bad: Tensor) -> Tensor:
        """Update what the episode has reached; return whether success has been held long enough."""
        met = self.task.success(self._world) & ~bad
        self._held = (self._held + 1) * met
        for name, reached in self.task.stages(self._world).items():
            self._stages[name] |= reached & ~bad
        return self._held >= self._hold_steps

    def _discard(self, bad: Tensor, reward: Tensor, terms: Tensors) -> Any:
        """Count and log non-finite environments, and keep their numbers from everything else."""
        ids = bad.nonzero().flatten().tolist()
        if self.nonfinite_count == 0:
            self._dump(ids)
        self.nonfinite_count += len(ids)
        log.warning(
            "non-finite simulation or action in environments %s (%d so far): ended and reset", ids, self.nonfinite_count
        )
        zero = torch.zeros(())
        return torch.where(bad, zero, reward), {name: torch.where(bad, zero.to(v), v) for name, v in terms.items()}

    def _dump(self, ids: list[int]) -> None:
        if self.dump_dir is None:
            return
        path = self.dump_dir / "nonfinite.pt"
        with atomic_path(path) as temporary:
            torch.save({"env_ids": ids, "state": self.get_state()}, temporary)
        log.warning("state of the first non-finite environment written to %s", path)

    def _finish(self, done: Tensor, success: Tensor) -> dict[str, Any]:
        """Terminal observations and episode facts, then the reset; entries are valid where `done`."""
        world = self._world
        info: dict[str, Any] = {
            "final_obs": self._group("obs").nan_to_num(),
            "final_states": self._group("states").nan_to_num(),
            "success": success,
            "picked_up": self._stages["picked_up"].clone(),
            "stages": {name: reached.clone() for name, reached in self._stages.items()},
            "metrics": {name: value.nan_to_num() for name, value in self.task.metrics(world).items()},
            "episode_return": self._return.clone(),
            "episode_length": world.step.clone(),
            "later_start": self._later.clone(),
            "episode_parameters": {name: value.clone() for name, value in world.parameters.items() if "object" in name},
        }
        self.reset_envs(done.nonzero().flatten())
        return info

    def _observe(self, fresh: Tensor) -> Tensors:
        """Both groups; noise and frame lag on the actor's. `fresh` (N,) marks new episodes: they have no last frame."""
        frame = self._group("obs")
        if self._obs_noise is not None:
            frame = frame + self._obs_noise * torch.randn(frame.shape, generator=self._generator)
        if self.randomization.frame_lag:
            late = torch.rand(self.num_envs, 1, generator=self._generator) < self.randomization.frame_lag
            frame = torch.where(late & ~fresh[:, None], self._frame, frame)
        self._frame = frame.clone()  # the caller may write to what it was given
        return {"obs": frame, "states": self._group("states")}

    def _group(self, name: str) -> Tensor:
        terms = self.task.actor if name == "obs" else self.task.critic
        return self._seen(name, observations.assemble(terms, self._world))

    def _seen(self, name: str, values: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """Values (n, k) of the robot as the policy sees them, or the other way round: in the mirror where it does."""
        if self._mirror is None:
            return values
        where = self._world.mirrored if mirrored is None else mirrored
        return torch.where(where[:, None], self._mirror[name](values), values)


_BUFFERS = ("_target", "_applied", "_frame", "_episode", "_held", "_return", "_later")
_WORLD_BUFFERS = ("goals", "phase", "initial_object", "step", "action", "previous_action", "mirrored")
