"""A `RobotSpec` as a PhysX articulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dexsim.backends.physx.engine import (
    POSITION_ITERATIONS,
    VELOCITY_ITERATIONS,
    X_TO_Z,
    Friction,
    enter,
    make_material,
    matrix_to_quat,
    pose,
    sapien,
    settle,
)
from dexsim.robots.collisions import collision_bits, neighbours
from dexsim.robots.spec import Joint, Link, Primitive, RobotSpec
from dexsim.rotations import quat_from_rpy, quat_multiply

# What stands for the mass in kg and the moments in kg m^2 of a link that has none, but carries others.
LEAST_MASS, LEAST_MOMENT = 1e-4, 1e-8


@dataclass
class Lift:
    """What drives take off a link's weight: its body, the force upwards in N, and whether that is all of it."""

    body: Any
    force: np.ndarray
    whole: bool


@dataclass
class Articulated:
    """A robot in a scene.

    Attributes:
        articulation: the engine's.
        links: name -> its body.
        joints: the moving joints in the robot's tree order.
        order: (J,) index of each of them among the engine's active joints.
        lifts: of the links whose weight the drives take off.
    """

    articulation: Any
    links: dict[str, Any]
    joints: list[Any]
    order: np.ndarray
    lifts: list[Lift]


def add_robot(scene: Any, robot: RobotSpec, friction: Friction, collisions: bool = True) -> Articulated:
    """Add a robot to a scene, its base welded to the world at the origin.

    Args:
        scene: the engine's.
        robot: the robot, with the constants that it has in this scene.
        friction: of the hands, and of the rest of it.
        collisions: False where nothing is there to touch.
    """
    physx = sapien().physx
    described = {link.name: link for link in robot.links}
    hand, rest = (make_material(value) for value in (friction.hand, friction.robot))
    parents = {joint.parent for joint in robot.joints}
    # Shapes with a bit in common feel nothing of each other: one bit for each pair.
    ignoring: dict[str, int] = {}
    for bit, pair in enumerate(neighbours(robot)):
        for name in pair:
            ignoring[name] = ignoring.get(name, 0) | 1 << bit
    links: dict[str, Any] = {}

    def add(link: Link, joint: Joint | None) -> None:
        body = physx.PhysxArticulationLinkComponent(None if joint is None else links[joint.parent])
        _set_mass(body, link)
        for primitive in link.primitives if collisions else ():
            chosen = hand if primitive.region == "hand" else rest
            groups = [*collision_bits(primitive.region, primitive.side), ignoring.get(link.name, 0), 1]
            _attach(body, primitive, link, chosen, groups)
        _set_joint(body.joint, joint, robot)
        settle(body)
        enter(scene, body, link.name)
        links[link.name] = body

    add(robot.link(robot.root), None)
    for joint in robot.joints:
        massless = Link(joint.child, 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
        link = described.get(joint.child, massless)
        if link.mass > 0 or joint.child in parents:  # the others are frames of the vendor's URDF
            add(link, joint)
    articulation = links[robot.root].articulation
    articulation.set_solver_position_iterations(POSITION_ITERATIONS)
    articulation.set_solver_velocity_iterations(VELOCITY_ITERATIONS)
    articulation.set_sleep_threshold(0.0)
    active = {joint.child_link.name: number for number, joint in enumerate(articulation.active_joints)}
    order = np.array([active[joint.child] for joint in robot.moving_joints])
    joints = [articulation.active_joints[number] for number in order]
    return Articulated(articulation, links, joints, order, _lift(robot, links))


def _set_mass(body: Any, link: Link) -> None:
    xx, yy, zz, xy, xz, yz = link.inertia
    moments, axes = np.linalg.eigh(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    body.set_mass(max(link.mass, LEAST_MASS))
    body.set_inertia(np.maximum(moments, LEAST_MOMENT).tolist())
    body.set_cmass_local_pose(pose(np.array(link.com) + np.array(link.origin), matrix_to_quat(axes)))


def _attach(body: Any, primitive: Primitive, link: Link, material: Any, groups: list[int]) -> None:
    physx = sapien().physx
    quat = np.array(primitive.quat)
    if primitive.kind == "box":
        shape = physx.PhysxCollisionShapeBox((np.array(primitive.size) / 2).tolist(), material)
    else:
        shape = physx.PhysxCollisionShapeCapsule(primitive.size[0], primitive.size[1] / 2, material)
        quat = quat_multiply(quat, X_TO_Z)
    shape.set_local_pose(pose(np.array(primitive.position) + np.array(link.origin), quat))
    shape.set_collision_groups(groups)
    body.attach(shape)


def _set_joint(made: Any, joint: Joint | None, robot: RobotSpec) -> None:
    """Make the joint above a link what it is: fixed, or a hinge about its axis, without the engine's own friction."""
    if joint is None:
        made.set_type("fixed")
        return
    moving = joint.name in robot.joint_names
    about = _x_to(np.array(joint.axis)) if moving else np.array([1.0, 0.0, 0.0, 0.0])
    made.set_type("revolute_unwrapped" if moving else "fixed")
    made.set_pose_in_parent(pose(joint.origin, quat_multiply(quat_from_rpy(joint.rpy), about)))
    made.set_pose_in_child(pose((0.0, 0.0, 0.0), about))
    if moving:
        made.set_friction(0.0)
        made.set_armature(np.array([joint.armature], dtype=np.float32))
        # Coupled joints go unlimited, as in MuJoCo: their sources have limits.
        limits = joint.limits if joint.name in robot.commands else (-np.inf, np.inf)
        made.set_limits(np.array([limits], dtype=np.float32))


def _lift(robot: RobotSpec, links: dict[str, Any]) -> list[Lift]:
    """Gravity is switched off where drives take off the whole weight; a part has to be pushed up in each step."""
    lifts = []
    for link in robot.links:
        share = link.gravity_compensation
        if link.name in links and share > 0:
            force = np.array([0.0, 0.0, 9.81 * share * max(link.mass, LEAST_MASS)])
            lifts.append(Lift(links[link.name], force, whole=share == 1))
            links[link.name].set_disable_gravity(share == 1)
    return lifts


def _x_to(axis: np.ndarray) -> np.ndarray:
    """A rotation that turns x into an axis."""
    unit = axis / np.linalg.norm(axis)
    if unit[0] < -1 + 1e-9:
        return np.array([0.0, 0.0, 0.0, 1.0])
    half = np.concatenate([[1 + unit[0]], np.cross([1.0, 0.0, 0.0], unit)])
    return half / np.linalg.norm(half)
