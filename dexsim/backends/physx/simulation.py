"""One environment: an engine scene of its own, built anew whenever it starts or its parameters change.

Building takes as long as some tens of physics steps. In return nothing is left of an earlier episode, not even in the
engine's caches of contacts, and every parameter of the robot and of the objects can differ from episode to episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexsim.backends.physx.drives import Drives
from dexsim.backends.physx.engine import MAX_STEP, make_scene, materials
from dexsim.backends.physx.objects import add_objects, add_table
from dexsim.backends.physx.robot import add_robot, pose
from dexsim.robots import with_constants
from dexsim.robots.constants import CONSTANTS
from dexsim.rotations import quat_rotate
from dexsim.scene import Scene

# Sliding friction of what has none of its own to set: arms and torso.
ROBOT_FRICTION = 1.0
# s, of the step that finds the contacts of a start; nothing moves in it.
INSTANT = 1e-6


@dataclass
class Row:
    """What one environment shows; arrays that are written in place, shapes as of `SimState` without N."""

    joint_position: np.ndarray
    joint_velocity: np.ndarray
    object_pose: np.ndarray
    object_velocity: np.ndarray
    fingertip_position: np.ndarray
    palm_pose: np.ndarray
    contact: np.ndarray


class Simulation:
    """One environment of `PhysxBackend`.

    Args:
        scene: what to simulate.
        row: where its state is shown.
    """

    def __init__(self, scene: Scene, row: Row) -> None:
        """See the class."""
        self._described, self._row = scene, row
        self._engine_steps = max(1, int(np.ceil(scene.timestep / MAX_STEP - 1e-9)))  # in a physics step of the scene
        self._timestep = scene.timestep / self._engine_steps
        self._target = np.zeros(len(scene.robot.commands))
        self._wrench = np.zeros((len(scene.objects), 6))
        self._broken = False
        self._below = {pair.first: self._subtree(pair.first) for pair in scene.contacts}
        self._carried_links = [self._subtree(scene.robot.joint(name).child) for name in scene.robot.commands]

    def _subtree(self, link: str) -> set[str]:
        """A link with all below it; an object alone."""
        found = {link}
        for joint in self._described.robot.joints:  # parents come first
            if joint.parent in found:
                found.add(joint.child)
        return found

    # -- building ------------------------------------------------------------------------------------------------------

    def build(self, values: Mapping[str, np.ndarray]) -> None:
        """Make the scene of some parameters, name -> (k,); the robot stands and the objects lie where they were."""
        described = self._described
        self.robot = with_constants(described.robot, {name: v for name, v in values.items() if name in CONSTANTS})
        hand, items = float(values["hand_friction"][0]), values["object_friction"].tolist()
        friction = materials(hand, items, described.table.friction, ROBOT_FRICTION)
        self._scene = make_scene(self._timestep)
        self._system = self._scene.physx_system
        self._made = add_robot(self._scene, self.robot, friction, described.collisions)
        if described.collisions:
            add_table(self._scene, described.table, friction.table)
        self._objects = add_objects(self._scene, described, values, friction.items)
        self.drives = Drives(self.robot, self._made.joints, self._made.order, self._timestep)
        self._inverse = np.argsort(self._made.order)
        lifts = self._made.lifts
        self._carried = [[lift for lift in lifts if lift.body.name in links] for links in self._carried_links]
        self._partly = [lift for lift in self._made.lifts if not lift.whole]
        self._tips = [(self._made.links[tip.link], np.array(tip.position) + self._origin(tip.link))
                      for tip in self.robot.fingertips]  # fmt: skip
        self._palms = [(self._made.links[p.link], np.array(p.position) + self._origin(p.link),
                        np.stack([np.array(p.normal), np.cross(p.fingers, p.normal), np.array(p.fingers)], axis=1))
                       for p in self.robot.palms]  # fmt: skip

    def _origin(self, link: str) -> np.ndarray:
        return np.array(self.robot.link(link).origin)

    def rebuild(self, values: Mapping[str, np.ndarray]) -> None:
        """Other parameters while it runs: the same motion goes on."""
        row, drives = self._row, self.drives
        position, velocity = row.joint_position.copy(), row.joint_velocity.copy()
        poses, twists = row.object_pose.copy(), row.object_velocity.copy()
        self.build(values)
        if not self._broken:
            self._place(position, poses)
            self._made.articulation.set_qvel(velocity[self._inverse].astype(np.float32))
            for body, (linear, angular) in zip(self._objects, twists.reshape(-1, 2, 3), strict=True):
                body.set_linear_velocity(linear + np.cross(angular, self._centre(body)))
                body.set_angular_velocity(angular)
            self.drives.take_over(drives)
            self._read(contacts=False)  # the engine finds them in its next step; until then they are as they were
            row.joint_position[:], row.object_pose[:] = position, poses

    def reset(self, joint_position: np.ndarray, joint_target: np.ndarray, object_pose: np.ndarray,
              values: Mapping[str, np.ndarray]) -> None:  # fmt: skip
        """Start anew, at rest; arguments as of `InitialState`, without N."""
        row = self._row
        self.build(values)
        self._wrench[:] = 0
        self._target[:] = joint_target
        self._broken = not (np.isfinite(joint_position).all() and np.isfinite(object_pose).all())
        if self._broken:  # the engine would not survive it
            for array in (row.joint_position, row.joint_velocity, row.object_pose, row.object_velocity):
                array[:] = np.nan
            return
        self.drives.reset(joint_target)
        self._place(joint_position, object_pose)
        if self._described.contacts:
            self._system.set_timestep(INSTANT)
            self._system.step()
            self._find_contacts(touching_only=False)
            self._system.set_timestep(self._timestep)
            self._place(joint_position, object_pose)
        self._read(contacts=False)
        row.joint_position[:], row.object_pose[:] = joint_position, object_pose  # to the last bit
        row.joint_velocity[:], row.object_velocity[:] = 0.0, 0.0

    def _place(self, joint_position: np.ndarray, object_pose: np.ndarray) -> None:
        articulation = self._made.articulation
        position = joint_position[self._inverse].astype(np.float32)
        articulation.set_qpos(position)
        articulation.set_qvel(np.zeros_like(position))
        for body, where in zip(self._objects, object_pose, strict=True):
            body.entity.set_pose(pose(where[:3], where[3:]))
            body.set_linear_velocity(np.zeros(3))
            body.set_angular_velocity(np.zeros(3))

    # -- running -------------------------------------------------------------------------------------------------------

    def step(self, target: np.ndarray, wrench: np.ndarray, substeps: int) -> bool:
        """Advance by physics steps of the scene; return whether the simulation is broken."""
        self._target[:], self._wrench[:] = target, wrench
        if not self._broken:
            self._advance(substeps * self._engine_steps)
            self._read()
        return self._broken

    def rollout(self, targets: np.ndarray, wrench: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """Targets (S, 26) of their own for each physics step; positions and efforts (S, 26), and whether it broke."""
        self._wrench[:] = wrench
        shape = targets.shape
        positions, efforts = np.zeros(shape), np.zeros(shape)
        commanded = self._made.order[self.robot.command_index]
        articulation = self._made.articulation
        for number, target in enumerate(targets):
            if self._broken:
                break
            self._target[:] = target
            self._advance(self._engine_steps)
            positions[number] = articulation.get_qpos()[commanded]
            efforts[number] = self.drives.efforts(positions[number], articulation.get_qvel()[commanded])
            efforts[number] += self._weight()
            self._broken |= not np.isfinite(positions[number]).all()
        self._target[:] = targets[-1]
        self._read()
        return positions, efforts, self._broken

    def _advance(self, steps: int) -> None:
        articulation, system, drives = self._made.articulation, self._system, self.drives
        drives.command(self._target)
        pushed = [(body, w[:3], w[3:]) for body, w in zip(self._objects, self._wrench, strict=True) if w.any()]
        nothing = np.zeros(3)
        for _ in range(steps):
            articulation.set_qf(drives.apply(articulation.get_qpos(), articulation.get_qvel()))
            for lift in self._partly:
                lift.body.add_force_torque(lift.force, nothing)
            for body, force, torque in pushed:
                body.add_force_torque(force, torque)
            system.step()

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self, contacts: bool = True) -> None:
        row, order = self._row, self._made.order
        row.joint_position[:] = self._made.articulation.get_qpos()[order]
        row.joint_velocity[:] = self._made.articulation.get_qvel()[order]
        for number, body in enumerate(self._objects):
            where = body.entity.get_pose()
            row.object_pose[number, :3], row.object_pose[number, 3:] = where.p, where.q
            angular = np.asarray(body.angular_velocity, dtype=float)
            row.object_velocity[number, :3] = body.linear_velocity - np.cross(angular, self._centre(body))
            row.object_velocity[number, 3:] = angular
        for number, (body, point) in enumerate(self._tips):
            where = body.entity.get_pose()
            row.fingertip_position[number] = where.p + quat_rotate(np.asarray(where.q, dtype=float), point)
        for number, (body, point, rotation) in enumerate(self._palms):
            where = body.entity.get_pose().to_transformation_matrix().astype(float)
            row.palm_pose[number, :3] = where[:3, :3] @ point + where[:3, 3]
            row.palm_pose[number, 3:] = (where[:3, :3] @ rotation).ravel()
        if contacts:
            self._find_contacts()
        self._broken |= not (np.isfinite(row.joint_position).all() and np.isfinite(row.object_pose).all())

    def _centre(self, body: Any) -> np.ndarray:
        """From a body's origin to its centre of mass, world frame, m."""
        quat = np.asarray(body.entity.get_pose().q, dtype=float)
        return quat_rotate(quat, np.asarray(body.cmass_local_pose.p, dtype=float))

    def _find_contacts(self, touching_only: bool = True) -> None:
        pairs = self._described.contacts
        self._row.contact[:] = False
        if not pairs:
            return
        for contact in self._system.get_contacts():
            first, second = (body.name for body in contact.bodies)
            if any(point.separation <= 0 or (touching_only and np.any(point.impulse)) for point in contact.points):
                for number, pair in enumerate(pairs):
                    below = self._below[pair.first]
                    if (first in below and second == pair.second) or (second in below and first == pair.second):
                        self._row.contact[number] = True

    def _weight(self) -> np.ndarray:
        """(26,) torques by which the drives carry what they take off the links' weight, N m."""
        torque = np.zeros(len(self.robot.commands))
        for number, below in enumerate(self._carried):
            joint = self._made.joints[self.robot.command_index[number]].get_global_pose()
            axis = quat_rotate(np.asarray(joint.q, dtype=float), np.array([1.0, 0.0, 0.0]))
            for lift in below:
                centre = lift.body.entity.get_pose() * lift.body.cmass_local_pose
                torque[number] += axis @ np.cross(np.asarray(centre.p - joint.p, dtype=float), lift.force)
        return torque
