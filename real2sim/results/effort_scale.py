"""Whether the efforts of a log are in N m: what arms carry at a pose is known, whatever the gains of their drives are.

A fit cannot tell: efforts that are 2.5 times too large make all drives 2.5 times as stiff, damped and heavy, and the
motion stays the same. What the links weigh is known from the description, within a quarter or so. An effort is taken
apart into weight, the inertia of the links and of the rotor, damping and dry friction, each with a factor of its own;
that of the weight is the scale. On the log of the guide it is 0.95 to 1.05 for any 30 s and each of the eight joints
that carry something, 0.85 to 1.14 for any 10 s, and 0.89 to 1.11 on simulated robots, also on periodic motion.
"""

from __future__ import annotations

import numpy as np

from dexsim.backends.mujoco.model import build_spec
from dexsim.robots import RobotSpec
from dexsim.scene import Scene
from real2sim.logs.joint_log import JointLog

# A joint carries weight from this torque on, N m root mean square, and tells its scale if what the model leaves
# unexplained leaves it open by at most this much.
LEAST_WEIGHT, WIDEST = 0.5, 0.25
GRID_S = 0.02
REACH = 5  # steps of the grid by which accelerations are told, and over which efforts are averaged alike
STILL = 0.05  # rad/s, below which dry friction is not all there
MEMORY_S = 0.5  # after which what is left unexplained is independent
MOST_ROWS = 3000
# Scales that need an explanation: of one joint, and of the middle one of several.
LARGEST, LARGEST_MEDIAN, SEVERAL = 2.0, 1.5, 3


def effort_scales(log: JointLog, robot: RobotSpec) -> dict[str, float]:
    """How many times its effort by the description a joint's logged effort is, for those where the log tells it."""
    if log.effort is None or log.duration < 4 * REACH * GRID_S:
        return {}
    time = np.arange(0.0, log.duration, GRID_S)
    position, effort = (
        np.stack([np.interp(time, log.time, column) for column in values.T], axis=1)
        for values in (log.position, log.effort)
    )
    before, now, after = position[: -2 * REACH], position[REACH:-REACH], position[2 * REACH :]
    velocity = (after - before) / (2 * REACH * GRID_S)
    acceleration = (after - 2 * now + before) / (REACH * GRID_S) ** 2
    known = log.valid[np.minimum(np.searchsorted(log.time, time[REACH:-REACH]), len(log.valid) - 1)]
    rows = np.flatnonzero(known)
    rows = rows[:: -(-max(1, len(rows)) // MOST_ROWS)]
    now, velocity, acceleration, effort = now[rows], velocity[rows], acceleration[rows], _averaged(effort)[rows]
    weight, inertia = link_torques(robot, log.joints, now, velocity, acceleration)
    scales = {}
    for joint, told in enumerate(log.effort_told):
        if not told or not len(rows) or np.sqrt((weight[:, joint] ** 2).mean()) < LEAST_WEIGHT:
            continue
        own = velocity[:, joint]
        terms = (weight[:, joint], inertia[:, joint], acceleration[:, joint], own, np.tanh(own / STILL))
        scale, error = _first_factor(np.stack(terms, axis=1), effort[:, joint], len(rows) * GRID_S / MEMORY_S)
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


def link_torques(
    robot: RobotSpec, joints: tuple[str, ...], position: np.ndarray, velocity: np.ndarray, acceleration: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What links need of some commanded joints, (T, J) N m each: against their weight, and for their motion.

    Args:
        robot: whose links; joints that are not given rest at zero.
        joints: the J joints.
        position: (T, J) rad.
        velocity: (T, J) rad/s.
        acceleration: (T, J) rad/s^2.
    """
    import mujoco

    model = build_spec(Scene(robot, collisions=False)).compile()
    data = mujoco.MjData(model)
    addresses = np.array([model.joint(name).qposadr[0] for name in robot.joint_names])
    moving, own = (np.array([model.joint(name).dofadr[0] for name in names]) for names in (robot.joint_names, joints))
    poses = _everything(robot, joints, position, np.clip(0.0, *robot.command_limits.T))
    zero = np.zeros(len(robot.commands))
    # Coupled joints turn k times as fast; how far they are when the others are at zero is no motion.
    rates = [
        _everything(robot, joints, values, zero) - robot.expand_coupled(zero) for values in (velocity, acceleration)
    ]
    torque, weight, inertia = np.zeros(model.nv), np.empty(position.shape), np.empty(position.shape)
    for row, pose in enumerate(poses):
        data.qpos[addresses], data.qvel[:] = pose, 0.0
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        mujoco.mj_rne(model, data, 0, torque)
        weight[row] = torque[own]
        data.qvel[moving], data.qacc[moving] = rates[0][row], rates[1][row]
        mujoco.mj_comVel(model, data)
        mujoco.mj_rne(model, data, 1, torque)
        inertia[row] = torque[own] - weight[row]
    return weight, inertia


def _everything(robot: RobotSpec, joints: tuple[str, ...], values: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Values of all moving joints from those (T, J) of some commanded ones; the others have theirs at rest."""
    commanded = np.repeat(rest[None], len(values), axis=0)
    commanded[:, [robot.commands.index(name) for name in joints]] = values
    return robot.expand_coupled(commanded)


def _averaged(values: np.ndarray) -> np.ndarray:
    """Values (T, J) averaged over `REACH` steps to each side, as second differences average accelerations."""
    weights = np.bartlett(2 * REACH + 1)
    weights /= weights.sum()
    return np.stack([np.convolve(column, weights, "valid") for column in values.T], axis=1)


def _first_factor(terms: np.ndarray, total: np.ndarray, samples: float) -> tuple[float, float]:
    """The factor of the first of some terms (T, n) in their sum (T,), and its standard error."""
    size = np.sqrt((terms**2).mean(axis=0)) + 1e-9
    unit = terms / size
    factors = np.linalg.lstsq(unit, total, rcond=None)[0]
    left = ((total - unit @ factors) ** 2).mean() / max(1.0, samples)
    spread = np.linalg.pinv(unit.T @ unit / len(unit), hermitian=True) * left
    return float(factors[0] / size[0]), float(np.sqrt(spread[0, 0]) / size[0])
