"""Replays the commands of a log on many copies of a robot at once, each with constants of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from dexsim.backends import BackendSettings, InitialState
from dexsim.backends.make import make_backend
from dexsim.robots import RobotSpec
from dexsim.scene import Scene
from real2sim.logs.joint_log import JointLog

# Physics steps that are simulated in one call.
STRETCH = 200


@dataclass(frozen=True)
class Replayed:
    """What K simulated robots measured at the T rows of a log; NaN from where a simulation became non-finite.

    Attributes:
        position: (K, T, J) rad, with the encoders' bias.
        effort: (K, T, J) N m: what the drives give, with what they take off the arm's weight.
    """

    position: np.ndarray
    effort: np.ndarray

    def at(self, rows: np.ndarray) -> Replayed:
        """Some rows, (T,) bool."""
        return Replayed(self.position[:, rows], self.effort[:, rows])


class Replay:
    """K copies of a robot, on any backend, that follow logs from rest at the first measured position.

    Args:
        robot: the robot; it must have a delay or a lag for those to be changed.
        copies: K.
        backend: which simulator.
    """

    def __init__(self, robot: RobotSpec, copies: int, backend: BackendSettings) -> None:
        self.robot, self.copies, self.timestep = robot, copies, backend.timestep
        self.backend = make_backend(Scene(robot, timestep=backend.timestep, collisions=False), copies, backend)
        self._commanded = torch.from_numpy(robot.command_index)
        self.robot_seconds, self.seconds = 0.0, 0.0

    def run(self, log: JointLog, values: Mapping[str, np.ndarray], rows: np.ndarray | None = None) -> Replayed:
        """Follow the log's commands.

        Args:
            log: the log; joints that it has not hold still.
            values: constant -> (K, k); they stay until set again.
            rows: (T,) bool, which rows of the log are wanted; None for all.
        """
        began = time.perf_counter()
        ids = torch.arange(self.copies)
        self.backend.set_parameters(ids, {name: torch.from_numpy(value) for name, value in values.items()})
        columns = np.array([self.robot.commands.index(name) for name in log.joints])
        bias = values.get(
            "joint_bias", np.broadcast_to(self.robot.encoder_bias, (self.copies, len(self.robot.commands)))
        )
        start = self._start(log, columns, bias)
        self.backend.reset(ids, start)
        plan = _Plan(log, self.timestep, rows)
        with _quiet():
            position, effort = self._follow(plan.kept, self._targets(log, plan.commands), torch.from_numpy(columns))
        self.robot_seconds += self.copies * log.duration
        self.seconds += time.perf_counter() - began
        return Replayed(plan.at_rows(position) + bias[:, None, columns].astype(np.float32), plan.at_rows(effort))

    def targets(self, log: JointLog) -> torch.Tensor:
        """(S, 26) rad, of every physics step while a log is replayed."""
        return self._targets(log, _Plan(log, self.timestep).commands)

    def _targets(self, log: JointLog, commands: np.ndarray) -> torch.Tensor:
        targets = np.repeat(np.clip(0.0, *self.robot.command_limits.T)[None], len(commands), axis=0)
        targets[:, [self.robot.commands.index(name) for name in log.joints]] = commands
        return torch.from_numpy(targets)

    def _start(self, log: JointLog, columns: np.ndarray, bias: np.ndarray) -> InitialState:
        rest = np.clip(0.0, *self.robot.command_limits.T)
        position = np.repeat(rest[None], self.copies, axis=0)
        target = position.copy()
        position[:, columns] = log.position[0] - bias[:, columns]
        target[:, columns] = log.command[0]
        joints = torch.from_numpy(self.robot.expand_coupled(position))
        return InitialState(joints, torch.from_numpy(target), torch.zeros(self.copies, 0, 7))

    def _follow(self, kept: np.ndarray, targets: torch.Tensor, columns: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Position and effort (K, kept, J) at the steps that are kept, the first of which is the start."""
        shape = (self.copies, len(kept), len(columns))
        position, effort = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
        position[:, 0] = self.backend.state.joint_position[:, self._commanded[columns]].numpy()
        diverged = torch.zeros(self.copies, dtype=torch.bool)
        for first in range(0, len(targets), STRETCH):
            stretch = targets[first : first + STRETCH]
            rolled = self.backend.rollout(stretch.expand(self.copies, -1, -1))
            diverged |= rolled.diverged
            if first == 0:  # what the drives give before the first step is taken for what they give after it
                effort[:, 0] = rolled.joint_effort[:, 0, columns].numpy()
            begin, end = np.searchsorted(kept, [first + 1, first + len(stretch) + 1])
            steps = torch.from_numpy(kept[begin:end] - first - 1)
            position[:, begin:end] = rolled.joint_position[:, steps][..., columns].numpy()
            effort[:, begin:end] = rolled.joint_effort[:, steps][..., columns].numpy()
        # Whatever a simulation gave before it diverged, no parameters that do so are wanted.
        position[diverged.numpy()], effort[diverged.numpy()] = np.nan, np.nan
        return position, effort


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps MuJoCo from reporting each candidate that diverges: a search tries such ones, and hears of it from us."""
    import mujoco

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        with np.errstate(over="ignore"):
            yield
    finally:
        mujoco.set_mju_user_warning(before)


class _Plan:
    """A log on the grid of physics steps.

    A command that changes within a step acts with its mean over the step; a row between two steps is interpolated.

    Attributes:
        commands: (S, J) rad, of each step.
        kept: sorted steps after which rows need what was measured, 0 for the start.
    """

    def __init__(self, log: JointLog, timestep: float, rows: np.ndarray | None = None) -> None:
        exact, sent = (_in_steps(time, timestep) for time in (log.time, log.command_time))
        wanted = exact if rows is None else exact[rows]
        before, after = np.floor(wanted).astype(int), np.ceil(wanted).astype(int)
        self.kept = np.unique(np.concatenate([[0], before, after]))
        self._before, self._after = (np.searchsorted(self.kept, steps) for steps in (before, after))
        self._share = (wanted - before)[None, :, None].astype(np.float32)
        self.commands = _mean_commands(log.command, sent, int(np.ceil(exact[-1])))

    def at_rows(self, kept: np.ndarray) -> np.ndarray:
        """(K, rows, J) from what was kept."""
        if not self._share.any():
            return kept[:, self._before]
        return kept[:, self._before] * (1 - self._share) + kept[:, self._after] * self._share


def _in_steps(time: np.ndarray, timestep: float) -> np.ndarray:
    """Times as multiples of physics steps, whole where they are but for rounding."""
    exact = time / timestep
    return np.where(np.abs(exact - np.round(exact)) < 1e-6, np.round(exact), exact)


def _mean_commands(command: np.ndarray, exact: np.ndarray, steps: int) -> np.ndarray:
    """Mean over each physics step (steps, J) of commands (T, J) that hold from their row, at `exact` steps, on."""
    # The last command holds to the end of the last step.
    exact = np.append(exact, max(float(steps), exact[-1] + 1.0))
    integral = np.concatenate([np.zeros((1, command.shape[1])), np.cumsum(command * np.diff(exact)[:, None], axis=0)])
    if (exact == np.round(exact)).all():
        held = command[np.searchsorted(exact, np.arange(steps), side="right") - 1]
        return held
    grid = np.arange(steps + 1)
    at = np.stack([np.interp(grid, exact, column) for column in integral.T], axis=1)
    return np.diff(at, axis=0)
