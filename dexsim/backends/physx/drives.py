"""The drives of one robot, physics step by physics step: late and filtered targets, dry friction, coupled joints."""

from __future__ import annotations

from typing import Any

import numpy as np

from dexsim.robots import constants
from dexsim.robots.spec import RobotSpec

# Dry friction is a drag that grows with speed up to here, rad/s: at rest a joint creeps at a share of it.
CREEP_SPEED = 0.002
# N m: no limit. What holds a coupled joint is no motor.
UNLIMITED = 1e6
# Gains of coupled joints: N m/rad and N m s/rad. Measured on a finger's inertia at 0.5 ms: off by 1 mrad under 0.05 N m
# at rest, by at most 5 mrad in a step of 1 rad of its source.
COUPLING_STIFFNESS, COUPLING_DAMPING = 50.0, 0.1


class Drives:
    """Sends 26 targets to the engine's joints as the drives of the robot would.

    The engine's own drives hold stiffness and damping, implicitly. Dry friction F is added to them as damping of
    F / |velocity|, and moves the limit of their torque: one that gives all it can has F less in motion. Coupled joints
    are driven to k q + b, and -k times the torque acts on their source.

    Args:
        robot: whose constants they have.
        joints: the engine's moving joints, in the robot's tree order.
        order: (J,) index of each among the engine's degrees of freedom.
        timestep: physics step, s.
    """

    def __init__(self, robot: RobotSpec, joints: list[Any], order: np.ndarray, timestep: float) -> None:
        """See the class."""
        values = constants(robot)
        self._joints = [joints[number] for number in robot.command_index]
        self._dofs = order[robot.command_index]
        self.stiffness, self.damping = values["joint_stiffness"], values["joint_damping"]
        self.effort, self._friction = values["joint_effort"], values["joint_friction"]
        self._rubbing = np.flatnonzero(self._friction > 0)
        self._timestep = timestep
        self._limits = robot.command_limits.T
        # Of a first-order filter in one physics step.
        lag = values["joint_lag"]
        self._gained = np.where(lag > 0, -np.expm1(-timestep / np.maximum(lag, 1e-9)), 1.0)
        late = values["joint_delay"] / timestep
        # Of a delay in physics steps, the whole ones and the rest.
        self._steps_late = np.floor(late + 1e-6).astype(int)
        self._rest_late = np.maximum(late - self._steps_late, 0.0)
        self._dynamic = bool((lag > 0).any() or (late > 0).any())
        self._ring = np.zeros((int(self._steps_late.max(initial=0)) + 2, len(self._joints)))  # what was sent, by step
        self._columns = np.arange(len(self._joints))
        self._now = 0
        self._wanted = self.target = np.zeros(len(self._joints))  # what was sent, what the drives regulate to
        self._coupled = [joints[number] for number in robot.coupled_index]
        self._sources = order[[robot.joint_names.index(c.source) for c in robot.couplings]].astype(int)
        self._followers = order[robot.coupled_index].astype(int) if robot.couplings else np.zeros(0, dtype=int)
        self._k, self._b = values["coupling_k"], values["coupling_b"]
        self._before: np.ndarray | None = None  # (J,) where the joints were a step ago
        self._force = np.zeros(len(order), dtype=np.float32)
        for joint, stiffness, damping, effort in zip(
            self._joints, self.stiffness, self.damping, self.effort, strict=True
        ):
            joint.set_drive_properties(float(stiffness), float(damping), float(effort))
        for joint in self._coupled:
            joint.set_drive_properties(COUPLING_STIFFNESS, COUPLING_DAMPING, UNLIMITED)

    def reset(self, target: np.ndarray) -> None:
        """Start at rest at a target (26,) rad, as if it had been there for long."""
        self._wanted = np.clip(target, *self._limits)
        self._ring[:] = self._wanted
        self._before = None
        self._send(self._wanted)

    def take_over(self, other: Drives) -> None:
        """Go on from where the drives of the same robot, with other constants, are."""
        self._ring[:] = other._wanted
        if other._dynamic:  # the others do not keep what was sent before
            back = np.arange(len(self._ring))
            self._now = len(self._ring)
            sent = other._ring[(other._now - 1 - np.minimum(back, len(other._ring) - 1)) % len(other._ring)]
            self._ring[(self._now - 1 - back) % len(self._ring)] = sent
        self._wanted, self._before = other._wanted, None
        self._send(other.target)

    def efforts(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """(26,) torques in N m at positions and velocities of the commanded joints."""
        return np.clip(self._wanted_effort(position, velocity), -self.effort, self.effort)

    def _wanted_effort(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        return self.stiffness * (self.target - position) - self.damping * velocity

    def command(self, target: np.ndarray) -> None:
        """A new target (26,) rad, limited as the drives do; it takes effect with the next `apply`."""
        self._wanted = np.clip(target, *self._limits)
        if not self._dynamic and not np.array_equal(self._wanted, self.target):
            self._send(self._wanted)

    def apply(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Bring the engine's drives up to date for one physics step.

        Args:
            position: (J,) rad, of the engine's degrees of freedom in its own order.
            velocity: (J,) rad/s.

        Returns:
            (J,) torques that act besides the drives, N m, in the engine's order.
        """
        if self._dynamic:
            self._filter()
        if len(self._rubbing):
            self._rub(position[self._dofs], velocity[self._dofs])
        return self._couple(position)

    def _rub(self, position: np.ndarray, velocity: np.ndarray) -> None:
        drag = self._friction / np.maximum(np.abs(velocity), CREEP_SPEED)
        wanted = self._wanted_effort(position, velocity)
        helped = np.sign(wanted) * np.clip(velocity / CREEP_SPEED, -1.0, 1.0)  # 1: friction is against the drive
        damping, limit = (self.damping + drag).tolist(), (self.effort - self._friction * helped).tolist()
        for number in self._rubbing:
            self._joints[number].set_drive_properties(float(self.stiffness[number]), damping[number], limit[number])

    def _filter(self) -> None:
        ring, size = self._ring, len(self._ring)
        ring[self._now % size] = self._wanted
        newer = ring[(self._now - self._steps_late) % size, self._columns]
        older = ring[(self._now - self._steps_late - 1) % size, self._columns]
        self._now += 1
        late = newer + self._rest_late * (older - newer)
        self._send(self.target + self._gained * (late - self.target))

    def _send(self, target: np.ndarray) -> None:
        self.target = target
        for joint, value in zip(self._joints, target.tolist(), strict=True):
            joint.set_drive_target(value)

    def _couple(self, position: np.ndarray) -> np.ndarray:
        if not self._coupled:
            return self._force
        before = position if self._before is None else self._before
        self._before = position
        source, follower = position[self._sources], position[self._followers]
        speed = (source - before[self._sources]) / self._timestep
        wanted, wanted_speed = self._k * source + self._b, self._k * speed
        # The engine's drive looks at the end of the step: aimed at where the source is now, it would trail behind.
        ahead = wanted + wanted_speed * self._timestep
        for joint, value, rate in zip(self._coupled, ahead.tolist(), wanted_speed.tolist(), strict=True):
            joint.set_drive_target(value)
            joint.set_drive_velocity_target(rate)
        slower = wanted_speed - (follower - before[self._followers]) / self._timestep
        torque = COUPLING_STIFFNESS * (wanted - follower) + COUPLING_DAMPING * slower
        self._force[self._sources] = 0.0
        np.subtract.at(self._force, self._sources, (self._k * torque).astype(np.float32))
        return self._force
