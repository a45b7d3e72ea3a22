"""Logs of robots whose constants are known, replayed by the very model that is fitted to them, and fits to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dexsim.backends.make import load_settings
from dexsim.robots import RobotSpec, constants, labels, load, with_constants
from real2sim.logs.joint_log import JointLog
from real2sim.search.base import SearchSettings
from real2sim.search.make import make_search
from real2sim.search.problem import Problem
from real2sim.search.replay import Replay
from real2sim.search.space import FreeSettings, SearchSpace

ROBOT = load("gr1t2")
JOINTS = ("left_elbow_pitch_joint", "left_wrist_yaw_joint", "L_index_proximal_joint")
ELBOW, WRIST, INDEX = JOINTS
BACKEND = load_settings({"threads": 1})
# What drives of a real robot add to the nominal ones.
DYNAMICS = {"joint_delay": 0.02, "joint_lag": 0.03, "joint_friction": 0.05}
# A robot to find, and what is searched for it.
TRUE = {
    "joint_stiffness": {ELBOW: 85.0, WRIST: 40.0, INDEX: 2.4},
    "joint_damping": {ELBOW: 6.5, WRIST: 1.5, INDEX: 0.11},
    "joint_friction": {ELBOW: 0.5, WRIST: 0.2, INDEX: 0.05},
    "joint_lag": {ELBOW: 0.04, WRIST: 0.05, INDEX: 0.045},
    "joint_bias": {ELBOW: 0.004, WRIST: -0.003, INDEX: 0.002},
}
FREE = {
    "joint_stiffness": FreeSettings((0.1, 10.0), prior=1.0),
    "joint_damping": FreeSettings((0.1, 10.0), prior=1.0),
    "joint_friction": FreeSettings((0.01, 50.0), prior=2.0),
    "joint_lag": FreeSettings((0.05, 8.0), prior=1.0),
    "joint_bias": FreeSettings((-0.1, 0.1), prior=0.02),
}
ARMATURE = FreeSettings((0.1, 10.0), prior=1.0)


def robot_with(changes: Mapping[str, Mapping[str, float]]) -> RobotSpec:
    """The GR1 with delay, lag and friction, and with other constants: name -> joint or link -> value."""
    values = {name: np.full(len(ROBOT.commands), value) for name, value in DYNAMICS.items()}
    for name, table in changes.items():
        values.setdefault(name, constants(ROBOT)[name].copy())
        for label, value in table.items():
            values[name][labels(ROBOT, name).index(label)] = value
    return with_constants(ROBOT, values)


def make_log(
    robot: RobotSpec,
    duration: float = 12.0,
    joints: Sequence[str] = JOINTS,
    noise: float = 0.0,
    seed: int = 0,
    still: Sequence[str] = (),
) -> JointLog:
    """A log of commands at 10 Hz, sums of sines about the middle of the joints' ranges, measured at 50 rows/s.

    `noise` is that of the positions in rad; efforts have as many percent of their own spread as it has tenths of mrad.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(0.0, duration, 0.02)
    low, high = (np.array([robot.joint(name).limits[i] for name in joints]) for i in (0, 1))
    hold = np.floor(time * 10 + 1e-9) / 10
    waves = np.zeros((len(time), len(joints)))
    for frequency, size in ((0.25, 0.2), (0.7, 0.08), (1.6, 0.03)):
        waves += size * np.sin(2 * np.pi * frequency * hold[:, None] + rng.uniform(0, 2 * np.pi, len(joints)))
    command = (low + high) / 2 + waves * (high - low)
    command[:, [joints.index(name) for name in still]] = ((low + high) / 2)[[joints.index(name) for name in still]]
    log = JointLog(
        time, command, command.copy(), None, command.copy(), tuple(joints), robot.name, robot.hand,
        np.ones(len(time), bool), "test", str(seed),
    )  # fmt: skip
    values = {name: constants(robot)[name][None] for name in ("joint_stiffness", "joint_bias")}
    replayed = Replay(robot, 1, BACKEND).run(log, values)
    position, effort = (x[0].astype(float) for x in (replayed.position, replayed.effort))
    position += noise * rng.standard_normal(position.shape)
    effort += 100 * noise * effort.std(axis=0) * rng.standard_normal(effort.shape)
    return replace(log, position=position, effort=effort)


def problem_of(log: JointLog, free: Mapping[str, FreeSettings] = FREE, robot: RobotSpec | None = None) -> Problem:
    """To find what is free, from the GR1 with delay, lag and friction or from another robot on."""
    robot = robot_with({}) if robot is None else robot
    return Problem(log, SearchSpace(robot, free, log.joints, log.moved), BACKEND)


def search(problem: Problem, x: np.ndarray, *stages: SearchSettings) -> np.ndarray:
    """Where stages lead from x (P,)."""
    for stage in stages:
        under_way = make_search(stage, problem.space, x, 0)
        while not under_way.done:
            under_way.step(problem)
        x = under_way.x
    return x
