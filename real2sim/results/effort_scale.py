"""Whether the efforts of a log are in N m: what arms give at a pose is what they weigh there, whatever their gains are.

A fit cannot tell: efforts that are 2.5 times too large make all drives 2.5 times as stiff, damped and heavy, and the
motion stays the same. What the links weigh is known from the description, within a quarter or so. On the log of the
guide the efforts of the eight joints that carry weight are 0.96 to 1.08 times that over 200 s, and 0.6 to 1.5 times
over any 10 s: friction and inertia, which turn with the motion, cancel out.
"""

from __future__ import annotations

import numpy as np

from dexsim.backends.mujoco.model import build_spec
from dexsim.robots import RobotSpec
from dexsim.scene import Scene
from real2sim.logs.joint_log import JointLog

# A joint carries weight from this torque on, N m root mean square, and tells its scale if noise, friction and inertia
# leave it open by at most this much.
LEAST_WEIGHT, WIDEST = 0.5, 0.25
# Efforts that forget themselves after so long, s.
MEMORY_S = 1.0
# Scales that need an explanation: of one joint, and of the middle one of several.
LARGEST, LARGEST_MEDIAN, SEVERAL = 2.0, 1.5, 3
ROWS = 2000  # of a log are enough


def effort_scales(log: JointLog, robot: RobotSpec) -> dict[str, float]:
    """How many times what a joint carries by the description its logged effort is, for those where the log tells it."""
    if log.effort is None:
        return {}
    rows = np.flatnonzero(log.valid)
    rows = rows[:: -(-len(rows) // ROWS)]
    weight, effort = gravity_torques(robot, log.joints, log.position[rows]), log.effort[rows]
    scales = {}
    for joint, told in enumerate(log.effort_told):
        own, carried = effort[:, joint], weight[:, joint]
        size = float(np.sqrt((carried**2).mean()))
        if not told or size < LEAST_WEIGHT:
            continue
        scale = float((own * carried).sum() / (carried**2).sum())
        samples = max(1.0, log.duration / MEMORY_S)
        error = float(np.sqrt(((own - scale * carried) ** 2).mean() / samples)) / size
        if error <= WIDEST * max(1.0, abs(scale)):
            scales[log.joints[joint]] = scale
    return scales


def doubt(scales: dict[str, float]) -> str:
    """What is wrong with `effort_scales`, in one sentence; empty where nothing is."""
    if not scales:
        return ""
    values, middle = np.array(list(scales.values())), float(np.median(list(scales.values())))
    single = (values > LARGEST) | (values < 1 / LARGEST)
    several = len(values) >= SEVERAL and not 1 / LARGEST_MEDIAN <= middle <= LARGEST_MEDIAN
    if not single.any() and not several:
        return ""
    wrong = list(scales) if several else [name for name, is_wrong in zip(scales, single, strict=True) if is_wrong]
    named = ", ".join(f"{name} {scales[name]:.2g}" for name in wrong)
    return (
        f"efforts and motion disagree in scale: efforts are not what the arms carry, but so many times it: {named}; "
        "are they in N m, of the joint and not of the motor? Stiffness, damping, armature, friction and mass come out "
        "as many times too large"
    )


def gravity_torques(robot: RobotSpec, joints: tuple[str, ...], position: np.ndarray) -> np.ndarray:
    """What some commanded joints carry, (T, J) N m, at positions (T, J) in rad; the others are at zero."""
    import mujoco

    model = build_spec(Scene(robot, collisions=False)).compile()
    data = mujoco.MjData(model)
    addresses = np.array([model.joint(name).qposadr[0] for name in robot.joint_names])
    columns = np.array([robot.commands.index(name) for name in joints])
    own = np.array([model.joint(name).dofadr[0] for name in joints])
    everything = np.repeat(np.clip(0.0, *robot.command_limits.T)[None], len(position), axis=0)
    everything[:, columns] = position
    torque, found = np.zeros(model.nv), np.empty(position.shape)
    for row, pose in enumerate(robot.expand_coupled(everything)):
        data.qpos[addresses] = pose
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        mujoco.mj_rne(model, data, 0, torque)
        found[row] = torque[own]
    return found
