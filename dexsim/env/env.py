"""The batched environment: a task on a backend, with randomization, noise, lags, resets and bookkeeping."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dexsim import __version__, parameters
from dexsim.backends.base import Backend
from dexsim.control.actions import ActionMap, ControlSettings
from dexsim.control.measured import RobotTensors
from dexsim.control.observations import ObservationGroup
from dexsim.control.symmetry import Mirror, mirror_actions, mirror_commands, mirror_group
from dexsim.env.contract import StepResult, Tensors
from dexsim.env.draws import Columns, EpisodeDraws
from dexsim.env.drives import DriveDraws
from dexsim.env.figures import EpisodeFigures
from dexsim.env.perturbation import Perturbation, PerturbationSettings
from dexsim.env.randomization import RandomForce, RandomizationSettings, draw_parameters
from dexsim.env.task import Task, weighted_sum
from dexsim.env.world import World
from dexsim.errors import UserError, require
from dexsim.files import atomic_path
from dexsim.robots import RobotSpec

log = logging.getLogger(__name__)

OBJECT = frozenset({"object_choice", "object_size"})
# What `Env.get_state` keeps of its own and of its world's tensors.
_BUFFERS = ("_target", "_applied", "_frame", "_episode", "_held", "_return", "_later", "_reached")
_WORLD_BUFFERS = ("goals", "phase", "initial_object", "step", "action", "joint_target", "mirrored")


class Env:
    """N copies of a task, stepped together; finished ones start anew by themselves (`dexsim.env.contract.LearnerEnv`).

    A step is: noise and lag on the action, physics, terminate, reward, terminal observation, reset, observe. All
    tensors are on the backend's device. What an episode starts with depends on (seed, environment, episode) only; the
    noise of the steps comes from one generator that draws the same amount in each step, whoever resets.

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
        self.num_envs, self.device = backend.num_envs, backend.device
        self.joints = tuple(self.robot.commands if task.joints is None else task.joints)
        self.num_actions = len(self.joints)
        self.dt = 1.0 / control.policy_hz
        self.max_episode_length = round(task.episode_s * control.policy_hz)
        self._hold_steps = max(1, round(task.hold_s * control.policy_hz))
        self._substeps = control.substeps(backend.scene.timestep)
        self.action_map = ActionMap(self.robot, control, self.joints, self.device)
        self._nominal = parameters.nominal(backend.scene, self.device)
        self._choices = parameters.Choices(backend.scene, self.device)
        self._drives = DriveDraws(randomization, self.robot, self.device)
        self._columns = Columns(self.device, self.num_envs)
        self._perturbation = Perturbation(
            perturbation or PerturbationSettings(), self.num_envs, task.episode_s, self.dt, self.device
        )
        self._fixed, self._fixed_set = backend.fixed_at_build, False
        self._missing: frozenset[str] = frozenset()
        if self._fixed & OBJECT:  # what an object is and how large must be drawn together
            self._fixed |= OBJECT
        self._allocate()
        world = self._world
        self._actor = ObservationGroup(task.actor, world.measured, world)
        self._critic = ObservationGroup(task.critic, world.measured, world)
        self.num_obs, self.num_states = self._actor.size, self._critic.size
        self._mirrors = self._make_mirrors() if task.two_sided or task.symmetric else {}
        self._obs_noise = self._noise_scale()
        self.seed(seed)

    # -- building ------------------------------------------------------------------------------------------------------

    def _make_mirrors(self) -> dict[str, Mirror]:
        entries = {
            "obs": mirror_group(self._actor, self.robot),
            "states": mirror_group(self._critic, self.robot),
            "commands": mirror_commands(self.robot),
            "actions": mirror_actions(self.robot),
        }
        return {name: Mirror(each, self.device) for name, each in entries.items()}

    def _noise_scale(self) -> Tensor | None:
        """(num_obs,) standard deviation of the actor's observation noise, None for no noise at all."""
        scale = torch.zeros(self.num_obs, device=self.device)
        for term in self._actor.terms:
            scale[self._actor.layout[term.name]] = getattr(self.randomization, term.noise) if term.noise else 0.0
        return scale if bool(scale.any()) else None

    def _allocate(self) -> None:
        count, objects, device = self.num_envs, len(self.backend.scene.objects), self.device

        def zeros(*shape: int, dtype: torch.dtype | None = None) -> Tensor:
            return torch.zeros(count, *shape, dtype=dtype, device=device)

        # As the policy sees it: maybe in the mirror, where `World.joint_target` is not.
        self._target = zeros(len(self.robot.commands))
        self._applied = zeros(self.num_actions)
        self._frame = torch.zeros(0, device=device)
        self._episode = zeros(dtype=torch.long) - 1
        self._held = zeros(dtype=torch.long)
        self._return = zeros()
        self._later = zeros(dtype=torch.bool)
        self._reached = zeros(len(self.task.stage_names), dtype=torch.bool)
        self._force = RandomForce(self.randomization, (count, objects), self.dt, device)
        self._everyone = torch.arange(count, device=device)
        self._world = World(
            robot=self.robot,
            tensors=RobotTensors(self.robot, device),
            backend=self.backend,
            nominal=self._nominal,
            goals=zeros(self.task.phases, 3, dtype=torch.float64),
            phase=zeros(dtype=torch.long),
            initial_object=zeros(objects, 7, dtype=torch.float64),
            step=zeros(dtype=torch.long),
            action=zeros(self.num_actions),
            joint_target=zeros(len(self.robot.commands)),
            dt=self.dt,
            mirrored=zeros(dtype=torch.bool),
        )
        self._mirrored = self._world.mirrored[:, None]

    # -- public --------------------------------------------------------------------------------------------------------

    @property
    def obs_layout(self) -> dict[str, slice]:
        """Where each of the actor's terms lies."""
        return self._actor.layout

    @property
    def state_layout(self) -> dict[str, slice]:
        """Where each of the critic's terms lies."""
        return self._critic.layout

    @property
    def joint_target(self) -> Tensor:
        """(N, 26) joint targets that the drives have, rad."""
        return self._world.joint_target

    @property
    def world(self) -> World:
        """What the terms see now."""
        return self._world

    def seed(self, seed: int) -> None:
        """Start all random numbers anew; takes effect on the next `reset`."""
        require(0 <= seed < 2**63, "seed", seed, "0 to 9223372036854775807")
        self._seed = seed
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def reset(self) -> Tensors:
        """Start the first episode of this seed in every environment; return the observations."""
        self._generator.manual_seed(self._seed)
        self._episode.fill_(-1)
        if self._fixed and not self._fixed_set:
            self._set_fixed()
        self.reset_envs(self._everyone)
        return self._observe(torch.ones_like(self._later))

    def reset_envs(self, env_ids: Tensor) -> None:
        """Start the next episode of some environments; no other environment changes.

        Args:
            env_ids: (n,) int64.
        """
        world, task = self._world, self.task
        episodes = self._episode[env_ids] + 1
        self._episode[env_ids] = episodes
        draws = EpisodeDraws(self._seed, env_ids, episodes, self._columns)
        values = self._draw_parameters(draws)
        values = {name: value for name, value in values.items() if name not in self._fixed}
        if values:
            self.backend.set_parameters(env_ids, values)
        start = task.start(draws, _Rows(self.backend.values, env_ids), self.randomization)
        self.backend.reset(env_ids, start.state)
        world.goals[env_ids], world.initial_object[env_ids] = start.goals, start.state.object_pose
        if task.phases > 1:
            world.phase[env_ids] = torch.zeros_like(episodes) if start.phase is None else start.phase
        if start.later is not None:
            self._later[env_ids] = start.later
        target = start.state.joint_target.float()
        world.joint_target[env_ids] = target
        if start.mirrored is not None:
            world.mirrored[env_ids] = start.mirrored
            target = self._mirrors["commands"].where(start.mirrored[:, None], target)
        self._target[env_ids] = target
        for buffer in (world.step, world.action, self._held, self._return, self._reached):
            buffer.index_fill_(0, env_ids, 0)
        if self._force.active:
            self._force.wrench.index_fill_(0, env_ids, 0)
        if self._perturbation.active:
            self._perturbation.draw(env_ids, draws)
        world.changed("episode")

    def step(self, actions: Tensor) -> StepResult:
        """Apply actions (N, num_actions) in [-1, 1] for one policy period."""
        world, task = self._world, self.task
        self._act(actions)
        # Clamped, an action that is not finite is not a number.
        bad = self._simulate() | world.action.sum(dim=1).isnan()
        world.step += 1
        if task.phases > 1:
            world.phase = task.next_phase(world)
            world.changed("phase")
        self._judge(~bad)
        reward, terms = weighted_sum(task.rewards, world)
        reward = reward.float()
        terminated = task.failure(world) | bad
        truncated = (world.step >= self.max_episode_length) & ~terminated
        done = terminated | truncated
        ended = bool(done.any())
        broken = ended and bool(bad.any())
        if broken:
            reward, terms = self._discard(bad, reward, terms)
        self._return += reward
        info: dict[str, Any] = {"reward_terms": terms}
        if ended:
            info.update(self._finish(done, truncated, broken))
        return StepResult(self._observe(done), reward, terminated, truncated, info)

    def recorder(self) -> EpisodeFigures:
        """What measures tracking and slip while episodes are evaluated."""
        return EpisodeFigures(self)

    def spec_table(self) -> dict[str, Any]:
        """Everything that a policy is matched against: joints, rates, units, observation layout."""
        return {
            "version": __version__,
            "task": self.task.name,
            "robot": self.robot.table(),
            "policy_hz": self.control.policy_hz,
            "action_mode": self.control.action_mode,
            "action_joints": list(self.joints),
            "two_sided": self.task.two_sided,
            "observation": {name: [s.start, s.stop] for name, s in self.obs_layout.items()},
            "state": {name: [s.start, s.stop] for name, s in self.state_layout.items()},
            "units": {term.name: term.unit for term in self._actor.terms},
        }

    def mirrors(self) -> dict[str, Mirror] | None:
        """Mirror images of "obs", "states" and "actions", or None where the task is not left-right symmetric."""
        return self._mirrors if self.task.symmetric else None

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
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `get_state()` of an environment built the same way."""
        self.backend.set_state(state["backend"])
        self._seed, self.nonfinite_count = state["seed"], state["nonfinite_count"]
        self._generator.set_state(state["generator"])
        self._force.wrench.copy_(state["wrench"])
        self._perturbation.set_state(state["perturbation"])
        self._frame = torch.empty_like(state["buffers"]["_frame"], device=self.device)
        for owner, names, key in ((self, _BUFFERS, "buffers"), (self._world, _WORLD_BUFFERS, "world")):
            for name in names:
                getattr(owner, name).copy_(state[key][name])
        self._world.changed("episode")

    def close(self) -> None:
        """Let go of the simulator."""
        self.backend.close()

    # -- inside a step -------------------------------------------------------------------------------------------------

    def _act(self, actions: Tensor) -> None:
        """Lag and noise, then the targets (Table 4)."""
        world, setting = self._world, self.randomization
        world.action = actions.detach().clamp(-1.0, 1.0)
        applied = world.action
        if setting.action_lag:
            late = self._rand() < setting.action_lag
            # An episode starts without a last action: zero is one too, and in absolute mode far from the target.
            applied = torch.where(late & (world.step[:, None] > 0), self._applied, applied)
        self._applied = applied
        if setting.action_noise:
            applied = applied + setting.action_noise * self._randn(applied)
        measured = self._seen("commands", world.measured.joint_position.float())
        self._target = self.action_map(applied, self._target, measured)
        world.joint_target = self._seen("commands", self._target)

    def _simulate(self) -> Tensor:
        self.backend.set_joint_targets(self._world.joint_target)
        if self._force.active or self._perturbation.active:
            self.backend.apply_wrench(self._wrench())
        bad = self.backend.step(self._substeps)
        self._world.changed()
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

    def _judge(self, sound: Tensor) -> None:
        """Update what the episode has reached; `sound` (N,) says where the simulation is finite."""
        self._held = (self._held + 1) * (self.task.success(self._world) & sound)
        stages = self.task.stages(self._world)
        if tuple(stages) != self.task.stage_names:
            wanted = f"stage_names = {list(self.task.stage_names)}"
            raise UserError(f"task {self.task.name!r}: stages() names {list(stages)}; allowed: {wanted}")
        if stages:
            self._reached |= torch.stack(list(stages.values()), dim=1) & sound[:, None]

    def _discard(self, bad: Tensor, reward: Tensor, terms: Tensors) -> Any:
        """Count and log non-finite environments, and keep their numbers from everything else."""
        ids = bad.nonzero().flatten().tolist()
        if self.nonfinite_count == 0:
            self._dump(ids)
        self.nonfinite_count += len(ids)
        log.warning(
            "non-finite simulation or action in environments %s (%d so far): ended and reset", ids, self.nonfinite_count
        )
        return reward.masked_fill(bad, 0.0), {name: value.masked_fill(bad, 0) for name, value in terms.items()}

    def _dump(self, ids: list[int]) -> None:
        if self.dump_dir is None:
            return
        path = self.dump_dir / "nonfinite.pt"
        with atomic_path(path) as temporary:
            torch.save({"env_ids": ids, "state": self.get_state()}, temporary)
        log.warning("state of the first non-finite environment written to %s", path)

    def _finish(self, done: Tensor, truncated: Tensor, broken: bool) -> dict[str, Any]:
        """Terminal observations and episode facts, then the reset; entries are valid where `done`."""
        world = self._world
        final = {"final_obs": self._group("obs"), "final_states": self._group("states")}
        # A metric may be a view of the simulator's memory, which the reset writes to.
        metrics = {name: value.clone() for name, value in self.task.metrics(world).items()}
        if broken:  # finite all the same
            final = {name: value.nan_to_num() for name, value in final.items()}
            metrics = {name: value.nan_to_num() for name, value in metrics.items()}
        stages = dict(zip(self.task.stage_names, self._reached.clone().unbind(dim=1), strict=True))
        info: dict[str, Any] = {
            **final,
            "success": (self._held >= self._hold_steps) & truncated,
            **({"picked_up": stages["picked_up"]} if "picked_up" in stages else {}),
            "stages": stages,
            "metrics": metrics,
            "episode_return": self._return.clone(),
            "episode_length": world.step.clone(),
            "later_start": self._later.clone(),
            "episode_parameters": {name: value.clone() for name, value in world.parameters.items() if "object" in name},
        }
        self.reset_envs(done.nonzero().flatten())
        return info

    def _set_fixed(self) -> None:
        """Draw what the engine cannot change any more, once an environment: before the first episode, never again."""
        first = EpisodeDraws(self._seed, self._everyone, torch.zeros_like(self._everyone), self._columns)
        values = self._draw_parameters(first)
        self.backend.set_parameters(self._everyone, {name: values[name] for name in self._fixed & values.keys()})
        self._fixed_set = True

    def _draw_parameters(self, draws: EpisodeDraws) -> dict[str, Tensor]:
        """Physical parameters of some episodes, of those that vary."""
        values = draw_parameters(self.randomization, self._nominal, draws, self._choices)
        values = self._drives.add_to(values, draws)
        missing = self.backend.unknown & values.keys()
        if missing and not self._missing:
            log.warning("%s do not vary: this simulator has nothing for them", ", ".join(sorted(missing)))
            self._missing = missing
        return {name: value for name, value in values.items() if name not in missing}

    def _observe(self, fresh: Tensor) -> Tensors:
        """Both groups; noise and frame lag on the actor's. `fresh` (N,) marks new episodes: they have no last frame."""
        frame = self._group("obs")
        if self._obs_noise is not None:
            frame = frame + self._obs_noise * self._randn(frame)
        if self.randomization.frame_lag:
            late = self._rand() < self.randomization.frame_lag
            if self._frame.shape == frame.shape:
                frame = torch.where(late & ~fresh[:, None], self._frame, frame)
            self._frame = frame.clone()  # the caller may write to what it was given
        return {"obs": frame, "states": self._group("states")}

    def _group(self, name: str) -> Tensor:
        group = self._actor if name == "obs" else self._critic
        return self._seen(name, group(self._world.measured, self._world))

    def _seen(self, name: str, values: Tensor) -> Tensor:
        """Values (N, k) of the robot as the policy sees them, or the other way round: in the mirror where it does."""
        return self._mirrors[name].where(self._mirrored, values) if self.task.two_sided else values

    def _rand(self) -> Tensor:
        return torch.rand(self.num_envs, 1, generator=self._generator, device=self.device)

    def _randn(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self._generator, device=self.device)


class _Rows(Mapping[str, Tensor]):
    """Some environments' parameters, looked up when they are asked for."""

    def __init__(self, values: Mapping[str, Tensor], env_ids: Tensor) -> None:
        self._values, self._ids = values, env_ids

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name][self._ids]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
