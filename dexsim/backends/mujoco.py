"""The CPU backend: MuJoCo's batch engine. State fields are live views of the batch's rows, without a copy."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

import numpy as np
import torch
from torch import Tensor

from dexsim import parameters
from dexsim.backends.base import InitialState, SimState
from dexsim.backends.mujoco_model import build_spec
from dexsim.backends.mujoco_objects import ObjectGeoms
from dexsim.backends.mujoco_robot import RobotFields, set_friction
from dexsim.robots.constants import constants
from dexsim.rotations import quat_rotate
from dexsim.scene import Scene


class MujocoBackend:
    """`dexsim.backends.Backend` on `mujoco.batch.Batch`.

    Args:
        scene: what to simulate.
        num_envs: how many copies.
        threads: simulation threads, 0 for one a core; results do not depend on it.
    """

    capabilities = frozenset({"parameters", "wrench", "contacts", "exact_state"})

    def __init__(self, scene: Scene, num_envs: int, threads: int = 0) -> None:
        """See the class."""
        import mujoco
        from mujoco.batch import Batch

        self.scene, self.num_envs = scene, num_envs
        self.model = build_spec(scene).compile()
        set_friction(self.model, scene.robot)
        self.batch = Batch(self.model, num_envs, threads)
        self._stage = mujoco.mjtStage.mjSTAGE_POS.value
        self._none = mujoco.mjtStage.mjSTAGE_NONE.value
        self._num_joints = len(scene.robot.joint_names)
        self._index_names()
        self._bind_views()
        self._expand()
        self.batch.forward(stage=self._stage)

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

    def _bind_views(self) -> None:
        batch, joints, objects = self.batch, self._num_joints, len(self.scene.objects)
        qpos, qvel = torch.from_numpy(batch.bind("qpos")), torch.from_numpy(batch.bind("qvel"))
        self._qpos, self._qvel = qpos, qvel
        self._joint_position, self._joint_velocity = qpos[:, :joints], qvel[:, :joints]
        self._object_pose = qpos[:, joints:].view(self.num_envs, objects, 7)
        self._object_twist = qvel[:, joints:].view(self.num_envs, objects, 6)
        self._ctrl = torch.from_numpy(batch.bind("ctrl"))
        self._compensation: Optional[Tensor] = None
        self._commanded = torch.from_numpy(self.scene.robot.command_index)
        self._effort = torch.from_numpy(constants(self.scene.robot)["joint_effort"])
        self._dynamic = self.model.na > 0
        self._before: Optional[Tensor] = None
        if self._dynamic:
            self._act = torch.from_numpy(batch.bind("act"))
            self._acceleration = _output(batch.bind("qacc"))
            # A buffer a drive: two words of its own, then times, then as many targets.
            history = torch.from_numpy(batch.bind("history")).view(self.num_envs, self.model.nu, -1)
            self._sent = history[..., 2 + int(self.model.actuator_history[0, 0]) :]
        self._wrench = torch.from_numpy(batch.bind("xfrc_applied"))
        self._site_position = _output(batch.bind("site_xpos"))
        self._contact = _output(batch.bind("sensordata"))
        self._site_rotation = _output(batch.bind("site_xmat"))

    def _expand(self) -> None:
        """Give every parameter its per-environment values, at nominal."""
        batch = self.batch
        self._robot = RobotFields(self.model, batch, self.scene.robot)
        self._friction = batch.expand("geom_friction")
        self._objects = ObjectGeoms(self.model, batch, self.scene.objects)
        self._bodies = self._objects.bodies
        nominal = parameters.nominal(self.scene)
        self.values = parameters.repeat(nominal, self.num_envs)
        self.set_parameters(torch.arange(self.num_envs), parameters.repeat(nominal, self.num_envs))

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> SimState:
        """The current state; float64 views but for what has to be put together."""
        pose, twist = self._object_pose, self._object_twist
        # MuJoCo keeps a free body's angular velocity in the body's own frame.
        angular = quat_rotate(pose[..., 3:], twist[..., 3:])
        palms = [self._site_position[:, self._palms], self._site_rotation[:, self._palms]]
        return SimState(
            joint_position=self._joint_position,
            joint_velocity=self._joint_velocity,
            object_pose=pose,
            object_velocity=torch.cat([twist[..., :3], angular], dim=-1),
            fingertip_position=self._site_position[:, self._tips],
            palm_pose=torch.cat(palms, dim=-1),
            contact=self._contact > 0,
        )

    def set_joint_targets(self, targets: Tensor) -> None:
        """See `Backend`."""
        self._before = self._ctrl.clone() if self._dynamic and self._robot.late.any() else None
        self._ctrl.copy_(targets)

    def apply_wrench(self, wrench: Tensor) -> None:
        """See `Backend`."""
        self._wrench[:, self._bodies] = wrench.to(torch.float64)

    def step(self, substeps: int, joints_only: bool = False) -> Tensor:
        """See `Backend`."""
        failed: List[int] = []
        stage = self._none if joints_only else self._stage
        if self._before is not None:
            failed += self._first_step(self._before, self._none if substeps > 1 else stage)
            substeps -= 1
        if substeps:
            failed += self._advance(substeps, stage)
        # The sum of squares is non-finite where any entry is, and also catches what is about to overflow.
        bad = ~torch.isfinite((self._qvel**2).sum(dim=1) + self._qpos.sum(dim=1))
        if failed:
            bad[failed] = True
        return bad

    def _first_step(self, before: Tensor, stage: int) -> List[int]:
        """The first physics step after new targets, with their mean over it where a delay ends within."""
        self._before = None
        target, late = self._ctrl.clone(), torch.from_numpy(self._robot.late)
        self._ctrl.copy_(late * before + (1.0 - late) * target)
        failed = self._advance(1, stage)
        self._ctrl.copy_(target)
        return failed

    def _advance(self, substeps: int, stage: int) -> List[int]:
        from mujoco.batch import SimulationError

        try:
            self.batch.step(nstep=substeps, stage=stage)
        except SimulationError as error:
            return [int(i) for i in error.ids]
        return []

    def reset(self, env_ids: Tensor, initial: InitialState) -> None:
        """See `Backend`."""
        ids = env_ids.numpy().astype(np.int32)
        self.batch.reset(ids, stage=self._none)
        self._joint_position[env_ids] = initial.joint_position.to(torch.float64)
        self._object_pose[env_ids] = initial.object_pose.to(torch.float64)
        target = initial.joint_target.to(torch.float64)
        self._ctrl[env_ids] = target
        if self._before is not None:
            self._before[env_ids] = target
        if self._dynamic:  # it has been there for long
            self._act[env_ids], self._sent[env_ids] = target, target[..., None]
        self.batch.forward(ids, stage=self._stage)

    # -- parameters ----------------------------------------------------------------------------------------------------

    def set_parameters(self, env_ids: Tensor, values: Mapping[str, Tensor]) -> None:
        """See `Backend`."""
        parameters.check(values)
        ids = env_ids.numpy()
        for name, value in values.items():
            if name not in self.values:
                known = torch.from_numpy(constants(self.scene.robot)[name])
                self.values[name] = known.repeat(self.num_envs, 1)
            self.values[name][env_ids] = value.to(torch.float64)
        column = ids[:, None]
        robot = {name: value.numpy()[ids] for name, value in self.values.items() if name in self._robot}
        self._robot.write(ids, values, robot)
        if "hand_friction" in values:
            self._friction[column, self._hand_geoms, 0] = values["hand_friction"]
        if "object_friction" in values:
            for item, geoms in enumerate(self._objects.geoms):
                self._friction[column, geoms, 0] = values["object_friction"][:, item : item + 1]
        if not values.keys().isdisjoint(("object_mass", "object_size", "object_choice")):
            self._set_objects(ids)

    def _set_objects(self, ids: np.ndarray) -> None:
        choice, size, mass = (
            self.values[name].numpy()[ids] for name in ("object_choice", "object_size", "object_mass")
        )
        self._objects.apply(ids, choice, size.reshape(len(ids), -1, 3), mass)

    def joint_effort(self) -> Tensor:
        """See `Backend`; as of the last physics step for what gravity compensation adds."""
        if self._compensation is None:
            self._compensation = _output(self.batch.bind("qfrc_gravcomp"))
        joints, values = self._commanded, self.values
        target = self._act if self._dynamic else self._ctrl
        torque = values["joint_stiffness"] * (target - self._joint_position[:, joints])
        velocity = self._joint_velocity[:, joints]
        if self._dynamic:  # the engine's velocities are half a step older than its positions
            velocity = velocity + self._acceleration[:, joints] * (self.model.opt.timestep / 2)
        torque = torque - values["joint_damping"] * velocity
        limit = values.get("joint_effort", self._effort)
        return torch.minimum(torch.maximum(torque, -limit), limit) + self._compensation[:, joints]

    # -- the rest ------------------------------------------------------------------------------------------------------

    def get_state(self) -> Dict[str, Any]:
        """Engine rows (with warm starts) and parameters of every environment."""
        return {
            "rows": torch.from_numpy(self.batch.state.copy()),
            "values": {name: value.clone() for name, value in self.values.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Backend`."""
        self.set_parameters(torch.arange(self.num_envs), state["values"])
        self.batch.state[:] = state["rows"].numpy()
        self.batch.forward(stage=self._stage)


def _output(array: np.ndarray) -> Tensor:
    """A tensor over an output of the engine; torch has no read-only tensors, so nobody may write to it."""
    view = array.view()
    view.flags.writeable = True
    return torch.from_numpy(view)
