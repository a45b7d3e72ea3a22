"""The CPU backend: MuJoCo's batch engine. State fields are live views of the batch's rows, without a copy."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dexsim import parameters
from dexsim.backends.base import InitialState, Rollout, SimState
from dexsim.backends.mujoco.messages import report_warnings
from dexsim.backends.mujoco.model import build_spec, compile_spec
from dexsim.backends.mujoco.object_fields import ObjectGeoms
from dexsim.backends.mujoco.robot_fields import RobotFields, set_friction
from dexsim.backends.mujoco.settings import MujocoSettings
from dexsim.errors import UserError, one_line, require
from dexsim.robots.constants import check, constants
from dexsim.rotations import quat_rotate
from dexsim.scene import Scene

# What makes an object what it is: written together.
OBJECT = ("object_choice", "object_size", "object_mass")


class MujocoBackend:
    """`dexsim.backends.Backend` on `mujoco.batch.Batch`.

    Args:
        scene: what to simulate.
        num_envs: how many copies.
        threads: simulation threads, 0 for one a core; results do not depend on it.
        solver: how contact forces are found; None for what ships.
    """

    capabilities = frozenset({"parameters", "wrench", "contacts", "exact_state"})
    fixed_at_build: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    device = torch.device("cpu")

    def __init__(self, scene: Scene, num_envs: int, threads: int = 0, solver: MujocoSettings | None = None) -> None:
        """See the class."""
        import mujoco
        from mujoco.batch import Batch

        self.scene, self.num_envs = scene, num_envs
        report_warnings()
        self.model: mujoco.MjModel = compile_spec(build_spec(scene, solver=solver), scene)
        set_friction(self.model, scene.robot)
        # Persistent, a batch goes on from the velocity stage that each step ends with, instead of computing it again.
        # Long rollouts of robots alone have no use for that, and are quicker without data of their own.
        try:
            self.batch = Batch(self.model, num_envs, threads, persistent=scene.collisions)
        except (MemoryError, ValueError) as error:
            if "alloc" not in str(error):
                raise
            raise UserError(
                f"num_envs = {num_envs}: the engine cannot make so many copies ({one_line(error)})"
            ) from None
        self._stale = np.zeros(num_envs, dtype=bool)  # whose parameters have changed since that stage
        self._state: SimState | None = None
        stages = mujoco.mjtStage
        self._stage = (stages.mjSTAGE_VEL if scene.collisions else stages.mjSTAGE_POS).value
        self._none = stages.mjSTAGE_NONE.value
        self._num_joints = len(scene.robot.joint_names)
        self._index_names()
        self._bind_views()
        self._expand()
        self.batch.forward(stage=self._stage)
        self._stale[:] = False

    # -- building ------------------------------------------------------------------------------------------------------

    def _index_names(self) -> None:
        model, robot = self.model, self.scene.robot
        names = [model.joint(i).name for i in range(self._num_joints)]
        if names != list(robot.joint_names):
            raise RuntimeError("the compiled joint order differs from the robot's tree order")
        self._tips = [model.site(f"tip_{tip.name}").id for tip in robot.fingertips]
        self._palms = [model.site(f"palm_{palm.side}").id for palm in robot.palms]
        hand = {link.name for link in robot.links if any(p.region == "hand" for p in link.primitives)}
        self._hand_geoms = np.array([g for g in range(model.ngeom) if model.body(model.geom_bodyid[g]).name in hand])
        movable = [model.body(item.name).id for item in self.scene.objects]
        objects = np.flatnonzero(np.isin(model.geom_bodyid, movable))
        self._touching = np.concatenate([self._hand_geoms, objects, [model.geom("table").id]])

    def _bind_views(self) -> None:
        batch, joints, objects = self.batch, self._num_joints, len(self.scene.objects)
        qpos, qvel = torch.from_numpy(batch.bind("qpos")), torch.from_numpy(batch.bind("qvel"))
        self._qpos, self._qvel = qpos, qvel
        self._joint_position, self._joint_velocity = qpos[:, :joints], qvel[:, :joints]
        self._object_pose = qpos[:, joints:].view(self.num_envs, objects, 7)
        self._object_twist = qvel[:, joints:].view(self.num_envs, objects, 6)
        self._ctrl = torch.from_numpy(batch.bind("ctrl"))
        self._commanded = torch.from_numpy(self.scene.robot.command_index)
        self._effort = torch.from_numpy(constants(self.scene.robot)["joint_effort"])
        self._writable = tuple(view.numpy() for view in (self._joint_position, self._object_pose, self._ctrl))
        self._dynamic = self.model.na > 0
        self._before: Tensor | None = None
        if self._dynamic:
            self._act = torch.from_numpy(batch.bind("act"))
            # A buffer a drive: two words of its own, then times, then as many targets.
            history = torch.from_numpy(batch.bind("history")).view(self.num_envs, self.model.nu, -1)
            self._sent = history[..., 2 + int(self.model.actuator_history[0, 0]) :]
        velocities = dict.fromkeys(("qvel", "qacc", "qfrc_gravcomp"), self.model.nv)
        self._recorded = {"qpos": self.model.nq, **velocities, **({"act": self.model.na} if self._dynamic else {})}
        self._time = torch.from_numpy(batch.bind("time"))
        self._wrench = batch.bind("xfrc_applied")
        self._site_position, self._site_rotation = batch.bind("site_xpos"), batch.bind("site_xmat")
        self._contact = batch.bind("sensordata")

    def _expand(self) -> None:
        """Give every parameter its per-environment values, at nominal."""
        batch = self.batch
        self._robot = RobotFields(self.model, batch, self.scene.robot)
        self._friction = batch.expand("geom_friction")
        self._objects = ObjectGeoms(self.model, batch, self.scene.objects)
        self._bodies = self._objects.bodies
        nominal = parameters.nominal(self.scene, self.device)
        self.values = {name: value.repeat(self.num_envs, 1) for name, value in nominal.items()}
        self._arrays = {name: value.numpy() for name, value in self.values.items()}  # the same memory
        self.set_parameters(torch.arange(self.num_envs, device=self.device), dict(self.values))

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> SimState:
        """The current state; float64 views but for what has to be put together."""
        if self._state is None:
            self._state = SimState(
                joint_position=self._joint_position,
                joint_velocity=self._joint_velocity,
                object_pose=self._object_pose,
                object_velocity=self._object_velocity,
                fingertip_position=lambda: torch.from_numpy(self._site_position[:, self._tips]),
                palm_pose=self._palm_pose,
                contact=lambda: torch.from_numpy(self._contact > 0),
            )
        return self._state

    def _object_velocity(self) -> Tensor:
        # MuJoCo keeps a free body's angular velocity in the body's own frame.
        angular = quat_rotate(self._object_pose[..., 3:], self._object_twist[..., 3:])
        return torch.cat([self._object_twist[..., :3], angular], dim=-1)

    def _palm_pose(self) -> Tensor:
        poses = [self._site_position[:, self._palms], self._site_rotation[:, self._palms]]
        return torch.from_numpy(np.concatenate(poses, axis=-1))

    def set_joint_targets(self, targets: Tensor) -> None:
        """See `Backend`."""
        self._before = self._ctrl.clone() if self._dynamic and self._robot.late.any() else None
        self._writable[2][:] = targets.numpy()

    def apply_wrench(self, wrench: Tensor) -> None:
        """See `Backend`."""
        self._wrench[:, self._bodies] = wrench.numpy()

    def step(self, substeps: int) -> Tensor:
        """See `Backend`."""
        self._state = None
        self._refresh()
        failed: list[int] = []
        if self._before is not None:
            failed += self._first_step(self._before, self._none if substeps > 1 else self._stage)
            substeps -= 1
        if substeps:
            failed += self._advance(substeps, self._stage)
        # The sum of squares is non-finite where any entry is, and also catches what is about to overflow.
        velocity = self._qvel.numpy()
        bad = ~np.isfinite(np.einsum("ij,ij->i", velocity, velocity) + self._qpos.numpy().sum(axis=1))
        bad[failed] = True
        return torch.from_numpy(bad)

    def _refresh(self) -> None:
        if self._stale.any():
            self.batch.forward(np.flatnonzero(self._stale).astype(np.int32), stage=self._stage)
            self._stale[:] = False

    def _first_step(self, before: Tensor, stage: int) -> list[int]:
        """The first physics step after new targets, with their mean over it where a delay ends within."""
        self._before = None
        target = self._ctrl.clone()
        self._ctrl.copy_(torch.lerp(target, before, torch.from_numpy(self._robot.late)))
        failed = self._advance(1, stage)
        self._ctrl.copy_(target)
        return failed

    def _advance(self, substeps: int, stage: int) -> list[int]:
        from mujoco.batch import SimulationError

        try:
            self.batch.step(nstep=substeps, stage=stage)
        except SimulationError as error:
            return [int(i) for i in error.ids]
        return []

    def rollout(self, targets: Tensor) -> Rollout:
        """See `Backend`."""
        self._state = None
        self._refresh()
        from mujoco import mjtState
        from mujoco.batch import SimulationError

        before = self._ctrl if self._before is None else self._before
        previous = torch.cat([before[:, None], targets[:, :-1]], dim=1)
        control = torch.lerp(targets, previous, torch.from_numpy(self._robot.late)[:, None])
        steps, began, spec = targets.shape[1], self._time.clone(), mjtState.mjSTATE_CTRL.value
        out = {name: np.empty((self.num_envs, steps, size)) for name, size in self._recorded.items()}
        with contextlib.suppress(SimulationError):  # those that raise do not advance at all
            self.batch.rollout(steps, control.numpy(), spec, record=tuple(out), out=out)  # pyright: ignore
        self._before = None
        self._ctrl.copy_(targets[:, -1])
        names = ("qpos", "qvel", "qacc", "qfrc_gravcomp")
        position, *motion, compensation = (torch.from_numpy(out[name])[..., self._commanded] for name in names)
        applied = torch.from_numpy(out["act"]) if self._dynamic else control
        effort = self._drive_effort(applied, position, *motion)
        # The engine stops where a simulation becomes non-finite.
        diverged = self._time < began + (steps - 0.5) * self.model.opt.timestep
        return Rollout(position, effort + compensation, diverged)

    def _drive_effort(self, target: Tensor, position: Tensor, velocity: Tensor, acceleration: Tensor) -> Tensor:
        """(N, S, 26) torques of the drives, all arguments of that shape."""
        if self._dynamic:  # the engine's velocities are half a step older than its positions
            velocity = velocity + acceleration * (self.model.opt.timestep / 2)
        stiffness, damping = (self.values[name][:, None] for name in ("joint_stiffness", "joint_damping"))
        limit = self.values["joint_effort"][:, None] if "joint_effort" in self.values else self._effort
        return torch.clamp(stiffness * (target - position) - damping * velocity, -limit, limit)

    def reset(self, env_ids: Tensor, initial: InitialState) -> None:
        """See `Backend`."""
        self._state = None
        ids = env_ids.numpy()
        rows = ids.astype(np.int32)
        self.batch.reset(rows, stage=self._none)
        joints, objects, control = self._writable
        joints[ids], objects[ids] = initial.joint_position.numpy(), initial.object_pose.numpy()
        target = initial.joint_target.numpy()
        control[ids] = target
        if self._before is not None:
            self._before.numpy()[ids] = target
        if self._dynamic:  # it has been there for long
            self._act.numpy()[ids], self._sent.numpy()[ids] = target, target[..., None]
        self.batch.forward(rows, stage=self._stage)
        self._stale[ids] = False

    # -- parameters ----------------------------------------------------------------------------------------------------

    def set_parameters(self, env_ids: Tensor, values: Mapping[str, Tensor]) -> None:
        """See `Backend`."""
        arrays = {name: value.numpy() for name, value in values.items()}
        check(arrays, parameters.PARAMETERS)
        if "contact_time" in arrays:  # the engine takes shorter ones for this without a word
            shortest, least = float(arrays["contact_time"].min(initial=1.0)), 2 * self.model.opt.timestep
            require(shortest >= least, "contact_time", shortest, f"two physics steps, {least:g} s, or more")
        self._state = None  # sizes and places of links are seen in it
        ids = env_ids.numpy()
        self._stale[ids] = True
        for name, value in arrays.items():
            self._array(name)[ids] = value
        column = ids[:, None]
        robot = {name: value[ids] for name, value in self._arrays.items() if name in self._robot}
        deriving = self._robot.write(ids, values, robot)
        if "hand_friction" in arrays:
            self._friction[column, self._hand_geoms, 0] = arrays["hand_friction"]
        if "object_friction" in arrays:
            for item, geoms in enumerate(self._objects.geoms):
                self._friction[column, geoms, 0] = arrays["object_friction"][:, item : item + 1]
        if not arrays.keys().isdisjoint(parameters.CONTACT):
            self._set_contacts(ids)
        if not arrays.keys().isdisjoint(OBJECT):
            choice, size, mass = (self._arrays[name][ids] for name in OBJECT)
            self._objects.write(ids, choice, size.reshape(len(ids), -1, 3), mass)
        elif not deriving:
            return
        self.batch.set_const(ids.astype(np.int32))  # the costly part of a reset: once for all
        self._objects.derived(ids)
        if deriving:
            self._robot.derived(ids, robot)

    def _array(self, name: str) -> np.ndarray:
        """(N, k) current values of a parameter; one that was never set is at nominal everywhere."""
        if name not in self._arrays:
            known = parameters.CONTACT[name] if name in parameters.CONTACT else constants(self.scene.robot)[name]
            self.values[name] = torch.tensor(known, dtype=torch.float64).view(1, -1).repeat(self.num_envs, 1)
            self._arrays[name] = self.values[name].numpy()  # the same memory
        return self._arrays[name]

    def _set_contacts(self, ids: np.ndarray) -> None:
        """Stiffness and damping of what hands, objects and table touch: a contact takes the mean of its two geoms."""
        columns = [self._array(name)[ids] for name in parameters.CONTACT]
        self.batch.expand("geom_solref")[ids[:, None], self._touching] = np.concatenate(columns, axis=1)[:, None]

    # -- the rest ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """See `Backend`; the batch goes with its owner."""

    def get_state(self) -> dict[str, Any]:
        """Engine rows (with warm starts) and parameters of every environment."""
        return {
            "rows": torch.from_numpy(self.batch.state.copy()),
            "values": {name: value.clone() for name, value in self.values.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Backend`."""
        self.set_parameters(torch.arange(self.num_envs, device=self.device), state["values"])
        self._state = None
        self.batch.state[:] = state["rows"].numpy()
        self.batch.forward(stage=self._stage)
        self._stale[:] = False
