"""Gauss-Newton with Levenberg's damping: derivatives and trial steps are candidates of a batch.

Parameters of one colour move different joints, so one simulation gives the derivative by all of them: 200 parameters
of two arms and two hands take some 50 simulations. Every block then tries the same ladder of dampings in one
more batch and keeps its own best, so that a block that is difficult does not hold the others back.

`mujoco.sysid.optimize` solves the same least squares problem with one simulation for each parameter and one damping
for all of them; what is said about confidence comes from its `calculate_intervals` (`real2sim.results.confidence`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dexsim.errors import UserError
from real2sim.search.ambiguity import directions
from real2sim.search.base import Search
from real2sim.search.problem import FLOOR, Problem, Residuals
from real2sim.search.space import SearchSpace

DAMPINGS = np.array([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 1e3])
# Largest step of a parameter, as a share of its bounds.
LARGEST_STEP = 0.3
# Disturbance of a parameter for its derivative, as a share of its bounds.
DISTURBANCE = 0.005


@dataclass(frozen=True)
class Linearization:
    """The problem near a point.

    Attributes:
        residuals: at the point, K = 1.
        jacobian: for each joint of the log, (A, 2, T) derivatives of its channels by the parameters that move it.
        active: for each joint, (A,) which parameters those are.
    """

    residuals: Residuals
    jacobian: list[np.ndarray]
    active: list[np.ndarray]


def copies(space: SearchSpace) -> int:
    """Simulations of one iteration: the point, its disturbances, and the trial steps."""
    return 1 + _num_disturbed(space) + len(DAMPINGS)


def _num_disturbed(space: SearchSpace) -> int:
    return int(space.colours.max()) + 1


def linearize(problem: Problem, x: np.ndarray) -> Linearization:
    """Derivatives by every parameter at x (P,), from one batch; zero where a disturbed simulation diverged."""
    space = problem.space
    step = DISTURBANCE * (space.high - space.low)
    step = np.where(x + step > space.high, -step, step)
    simulated, along = np.flatnonzero(space.colours >= 0), directions(space, x, step)
    batch = np.repeat(x[None], _num_disturbed(space) + 1, axis=0)
    for p in simulated:
        batch[1 + space.colours[p]] += step[p] * along[p]
    residuals = problem.residuals(batch)
    error, centre = residuals.error, residuals.error[0]
    jacobian, active = [], []
    for joint in range(len(problem.log.joints)):
        members = np.flatnonzero(space.joint_mask[:, joint])
        rows = np.zeros((len(members), centre.shape[0], centre.shape[2]))
        for row, p in zip(rows, members, strict=True):
            if space.measured[p]:
                row[0] = 1.0  # a bias is added to what is measured, and to nothing else
            else:
                row[:] = (error[1 + space.colours[p], :, joint] - centre[:, joint]) / step[p]
        rows = np.nan_to_num(rows, posinf=0.0, neginf=0.0)
        alone = np.linalg.inv(along[np.ix_(members, members)])
        jacobian.append(np.tensordot(alone, rows, axes=1))
        active.append(members)
    return Linearization(Residuals(residuals.error[:1], residuals.told), jacobian, active)


def normal_equations(
    space: SearchSpace, near: Linearization, rows: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Gradient (P,) and Gauss-Newton matrix (P, P) of half the cost.

    Args:
        space: the space.
        near: the problem near x.
        rows: (2, J) how many rows count as one sample.
        x: (P,).
    """
    weight = 1.0 / (np.maximum(near.residuals.mse[0], FLOOR[:, None]) * rows)
    gradient = (x - space.start) / space.prior**2 + pull(near, weight, near.residuals.error[0], len(x))
    matrix = np.diag(1.0 / space.prior**2)
    for joint, (jacobian, members) in enumerate(zip(near.jacobian, near.active, strict=True)):
        for channel in np.flatnonzero(near.residuals.told[:, joint]):
            derivative = jacobian[:, channel]
            matrix[np.ix_(members, members)] += weight[channel, joint] * derivative @ derivative.T
    return gradient, matrix


def pull(near: Linearization, weight: np.ndarray, error: np.ndarray, count: int) -> np.ndarray:
    """Gradient (P,), P = count, of half the squares of errors (2, J, T) with weights (2, J)."""
    gradient = np.zeros(count)
    for joint, (jacobian, members) in enumerate(zip(near.jacobian, near.active, strict=True)):
        for channel in np.flatnonzero(near.residuals.told[:, joint]):
            gradient[members] += weight[channel, joint] * jacobian[:, channel] @ error[channel, joint].astype(float)
    return gradient


class GaussNewton(Search):
    """The search; see the module."""

    def step(self, problem: Problem) -> None:
        """See `Search`."""
        space = problem.space
        self.x = np.clip(self.x, space.low, space.high)
        near = linearize(problem, self.x)
        if not np.isfinite(near.residuals.mse).all():
            raise UserError(f"log {problem.log.name!r}: the robot that gauss_newton starts from does not stay finite")
        rows = np.full(near.residuals.mse[0].shape, problem.rows_per_sample)
        gradient, matrix = normal_equations(space, near, rows, self.x)
        trials = np.repeat(self.x[None], len(DAMPINGS), axis=0)
        for block in space.blocks:
            for trial, damping in zip(trials, DAMPINGS, strict=True):
                trial[block.members] += _step(space, block.members, gradient, matrix, damping, self.x)
        before = problem.costs(near.residuals, self.x[None], space.blocks)[0]
        tried = problem.residuals(trials)
        after = problem.costs(tried, trials, space.blocks)
        errors = near.residuals.mse[0, 0].copy()
        for b, block in enumerate(space.blocks):
            best = int(np.argmin(after[:, b]))
            if after[best, b] < before[b]:
                self.x[block.members] = trials[best, block.members]
                errors[block.joints] = tried.mse[best, 0, block.joints]
        self.mse = float(errors.mean())
        self.count += 1
        gain = np.maximum(before - after.min(axis=0), 0.0).sum() / (problem.samples * len(problem.log.joints))
        self.done = bool(self.count >= self.settings.steps or gain < self.settings.tolerance)


def _step(
    space: SearchSpace, block: np.ndarray, gradient: np.ndarray, matrix: np.ndarray, damping: float, x: np.ndarray
) -> np.ndarray:
    """Change of a block's parameters, within bounds: those that would leave theirs stay on them."""
    span = (space.high - space.low)[block]
    low, high, slope = space.low[block] - x[block], space.high[block] - x[block], gradient[block]
    free = ~(((low >= 0) & (slope > 0)) | ((high <= 0) & (slope < 0)))
    change = np.zeros(len(block))
    if free.any():
        part = matrix[np.ix_(block[free], block[free])]
        diagonal = np.diag(part)
        damped = part + damping * np.diag(diagonal + 1e-9 * diagonal.max() + 1e-12)
        change[free] = -np.linalg.lstsq(damped, slope[free], rcond=None)[0]
    change = np.clip(change, -LARGEST_STEP * span, LARGEST_STEP * span)
    return np.clip(change, low, high)
