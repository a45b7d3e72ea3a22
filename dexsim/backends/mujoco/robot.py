"""A `RobotSpec` as part of a MuJoCo model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dexsim.backends.mujoco.discrete import discrete_armature, engine_delay
from dexsim.robots.collisions import collision_bits, neighbours
from dexsim.robots.meshes import visuals
from dexsim.robots.spec import Joint, Link, Primitive, RobotSpec, Vec3
from dexsim.rotations import quat_from_rpy

if TYPE_CHECKING:
    from mujoco import MjsActuator, MjsBody, MjSpec

RGBA = {
    "torso": (0.75, 0.77, 0.8, 1),
    "arm": (0.75, 0.77, 0.8, 1),
    "forearm": (0.6, 0.62, 0.66, 1),
    "hand": (0.25, 0.27, 0.3, 1),
}
# Stiff but stable at 10 ms: time constant of two steps, near-critical damping, full impedance.
COUPLING_SOLREF = (0.02, 1.0)
COUPLING_SOLIMP = (0.99, 0.999, 0.001, 0.5, 2.0)
# The longest delay of a target that a drive can be given, s, and the shortest lag that the engine's filter integrates.
MAX_DELAY = 0.25
MIN_LAG = 1e-4
# MuJoCo's name of the drawn, non-colliding geoms' group and of the colliding ones'.
COLLISION_GROUP, VISUAL_GROUP = 3, 2


def add_robot(spec: MjSpec, robot: RobotSpec, meshes: Path | None, dynamic: bool) -> None:
    """Add a robot to a specification, its base welded to the world at the origin.

    Args:
        spec: what to add it to.
        robot: the robot.
        meshes: the vendor's folder (`dexsim.robots.meshes.find_meshes`), to draw its meshes and hide the collision
            primitives; None, and a robot that has no meshes, to draw the primitives.
        dynamic: whether its drives have delay and lag (`Scene.has_drive_dynamics`).
    """
    import mujoco

    links = {link.name: link for link in robot.links}
    bodies = {robot.root: _add_link(spec.worldbody, robot.link(robot.root))}
    moving = set(robot.joint_names)
    parents = {joint.parent for joint in robot.joints}
    for joint in robot.joints:
        parent = bodies[joint.parent]
        link = links.get(joint.child, Link(joint.child, 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)))
        if link.mass == 0 and joint.child not in parents:
            continue  # a frame of the vendor's URDF: no mass, no shape, nothing below
        body = _add_link(parent, link, joint)
        bodies[joint.child] = body
        if joint.name in moving:
            armature = discrete_armature(joint.armature, joint.damping, spec.option.timestep, explicit=dynamic)
            _add_joint(body, joint, limited=joint.name in robot.commands, armature=float(armature))
    for tip in robot.fingertips:
        bodies[tip.link].add_site(
            name=f"tip_{tip.name}", pos=_shifted(tip.position, links[tip.link]), size=[0.004] * 3, group=4
        )
    for palm in robot.palms:
        rotation = np.stack(
            [np.array(palm.normal), np.cross(palm.fingers, palm.normal), np.array(palm.fingers)], axis=1
        )
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, rotation.flatten())
        position = _shifted(palm.position, links[palm.link])
        bodies[palm.link].add_site(
            name=f"palm_{palm.side}", pos=position, quat=quat.tolist(), size=[0.004] * 3, group=4
        )
    _add_drives(spec, robot, dynamic)
    _add_couplings(spec, robot)
    for first, second in neighbours(robot):
        spec.add_exclude(bodyname1=first, bodyname2=second)
    if meshes is not None and robot.urdf:
        _hide_primitives(spec, robot)
        _add_meshes(spec, robot, meshes, VISUAL_GROUP)


def _hide_primitives(spec: MjSpec, robot: RobotSpec) -> None:
    """Transparent geoms are neither drawn nor met by rays; they collide as before."""
    names = {f"{link.name}_{i}" for link in robot.links for i in range(len(link.primitives))}
    for geom in spec.geoms:
        if geom.name in names:
            geom.rgba[3] = 0.0


def _add_link(parent: MjsBody, link: Link, joint: Joint | None = None) -> MjsBody:
    """A body with its inertia and collision shapes."""
    origin = joint.origin if joint else (0.0, 0.0, 0.0)
    quat = quat_from_rpy(joint.rpy).tolist() if joint else (1.0, 0.0, 0.0, 0.0)
    body = parent.add_body(name=link.name, pos=origin, quat=quat, gravcomp=link.gravity_compensation)
    if link.mass > 0:
        body.mass, body.fullinertia[:], body.explicitinertial = link.mass, link.inertia, True
        body.ipos[:] = _shifted(link.com, link)
    for i, primitive in enumerate(link.primitives):
        _add_primitive(body, f"{link.name}_{i}", primitive, _shifted(primitive.position, link))
    return body


def _shifted(position: Vec3, link: Link) -> list[float]:
    """A point of a link in its joint's frame."""
    return (np.array(position) + np.array(link.origin)).tolist()


def _add_primitive(body: MjsBody, name: str, primitive: Primitive, position: list[float]) -> None:
    import mujoco

    contype, conaffinity = collision_bits(primitive.region, primitive.side)
    size = np.zeros(3)
    if primitive.kind == "box":
        kind, size[:] = mujoco.mjtGeom.mjGEOM_BOX, np.array(primitive.size) / 2
    else:
        kind, size[:2] = mujoco.mjtGeom.mjGEOM_CAPSULE, (primitive.size[0], primitive.size[1] / 2)
    body.add_geom(
        name=name, type=kind, size=size, pos=position, quat=primitive.quat, contype=contype,
        conaffinity=conaffinity, condim=3, mass=0.0, group=COLLISION_GROUP, rgba=RGBA[primitive.region],
    )  # fmt: skip


def _add_joint(body: MjsBody, joint: Joint, limited: bool, armature: float) -> None:
    """A hinge. Coupled joints go unlimited: their sources have limits, the Inspire thumb's contradict each other."""
    import mujoco

    body.add_joint(
        name=joint.name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=joint.axis, range=joint.limits,
        limited=int(limited), armature=armature, frictionloss=joint.friction,
    )  # fmt: skip


def _add_drives(spec: MjSpec, robot: RobotSpec, dynamic: bool) -> None:
    """Position drives in canonical order, so that `ctrl` is the (26,) vector of joint targets in rad."""
    import mujoco

    for name in robot.commands:
        joint = robot.joint(name)
        drive = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        drive.set_to_position(kp=joint.stiffness, kv=joint.damping)
        drive.ctrlrange[:], drive.ctrllimited = joint.limits, mujoco.mjtLimited.mjLIMITED_TRUE
        drive.forcerange[:], drive.forcelimited = (-joint.effort, joint.effort), mujoco.mjtLimited.mjLIMITED_TRUE
        if dynamic:
            _filter_targets(drive, joint, spec.option.timestep)


def _filter_targets(drive: MjsActuator, joint: Joint, timestep: float) -> None:
    """Targets reach the drive after a delay, interpolated between steps, and through a first-order filter."""
    import mujoco

    drive.dyntype, drive.dynprm[0] = mujoco.mjtDyn.mjDYN_FILTEREXACT, max(joint.lag, MIN_LAG)
    linear = 1
    drive.delay, drive.interp = float(engine_delay(joint.delay, timestep)), linear
    drive.nsample = round(MAX_DELAY / timestep) + 2


def _add_couplings(spec: MjSpec, robot: RobotSpec) -> None:
    """Each underactuated joint follows its source by a joint equality q_u = b + k q_a."""
    import mujoco

    for coupling in robot.couplings:
        spec.add_equality(
            name=f"coupling_{coupling.joint}", type=mujoco.mjtEq.mjEQ_JOINT, name1=coupling.joint,
            name2=coupling.source, data=[coupling.b, coupling.k] + [0.0] * 10, solref=COUPLING_SOLREF,
            solimp=COUPLING_SOLIMP,
        )  # fmt: skip


def _add_meshes(spec: MjSpec, robot: RobotSpec, folder: Path, group: int) -> None:
    """Add a robot's meshes to the bodies of the same names, massless and touching nothing."""
    import mujoco

    bodies = {body.name: body for body in spec.bodies}
    for i, visual in enumerate(v for v in visuals(robot, folder) if v.link in bodies):
        name = f"{visual.link}_mesh_{i}"
        # A shell's inertia is defined for meshes that are not watertight, too; the geom weighs nothing anyway.
        spec.add_mesh(name=name, file=str(visual.file), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
        bodies[visual.link].add_geom(
            name=name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, pos=visual.position, quat=visual.quat,
            contype=0, conaffinity=0, mass=0.0, group=group, rgba=visual.rgba,
        )  # fmt: skip
