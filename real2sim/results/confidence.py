"""How sure a fit is: 95% intervals of the parameters, which of them the log cannot tell, and what each one changes.

Intervals are `mujoco.sysid.calculate_intervals`' at the result, with every channel in units of its own noise. What
the model itself is off by, what its physics steps are, and how far the search still had to go are added to them.
Residuals resemble their neighbours in time, and parameters are told by exactly those slow parts. The fit takes the same
number of rows for one in all channels; how far that lets it err is told by the number that each channel's
autocorrelation leaves (A B^-1 A for the information, "sandwich": A the matrix of the fit, B the covariance of its
gradient; White, Econometrica 50, 1982). What the log cannot tell stays where the prior wants it, and is marked: a
number that only looks measured is worse than none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dexsim.backends.base import TIMESTEPS
from real2sim.search.gauss_newton import Linearization, linearize, normal_equations, pull
from real2sim.search.problem import FLOOR, Problem
from real2sim.search.space import SearchSpace

# A parameter is determined if its interval is at most so wide to each side, of positive ones by their logarithm; of the
# others, as a share of the prior's standard deviation or of the bounds.
WIDEST, WIDEST_SHARE = 0.25, 0.5
# ... if the log says it, not the prior: the log alone leaves at most so many of the prior's standard deviations;
FROM_PRIOR = 0.5
# ... and if the model does what the robot does: a joint's root mean square error is at most this share of its motion's
# spread, or so many rad. Intervals say nothing about constants of a model that does not hold.
REPRODUCED, REPRODUCED_RAD = 0.05, 3e-3
# What the model itself is off by, added to what the noise leaves open (95%): physics steps, drives and gears that are
# not quite those of the model, and weights of links that are not searched. Judged by fits to robots that were simulated
# in steps of 2 ms; for positive parameters of the logarithm.
MODEL_ERROR = 0.06
MODEL_ERRORS = {"joint_delay": 1.5e-3, "joint_bias": 1e-4, "link_gravity_compensation": 0.015, "link_mass": 0.1}
# Nothing at all is known.
WIDE = 1e3
AT_BOUND = "at a bound"
# Correlation is summed up to this lag, s.
LONGEST_LAG_S = 5.0
# Errors of physics steps fall with their length or faster. This share counts of what they are if it is no faster.
STEP_ERROR = 1.0


@dataclass(frozen=True)
class Confidence:
    """What is known about the P parameters of a result.

    Attributes:
        half_width: (P,) of the 95% interval, of positive ones by their logarithm.
        reasons: why a parameter is not determined; empty where it is.
        sensitivity: (P, J) root mean square change of a joint's position, rad, for `steps`.
        steps: (P,) 0.1 for positive parameters, that is 10%, and a hundredth of the bounds for others.
        astray: (J,) which joints the model does not reproduce, so that nothing is known about what they tell.
    """

    half_width: np.ndarray
    reasons: tuple[str, ...]
    sensitivity: np.ndarray
    steps: np.ndarray
    astray: np.ndarray

    @property
    def determined(self) -> np.ndarray:
        """(P,) bool."""
        return np.array([not reason for reason in self.reasons])

    def interval(self, space: SearchSpace, x: np.ndarray, p: int) -> tuple[float, float]:
        """The 95% interval of parameter p at x (P,), in its own unit."""
        parameter, width = space.parameters[p], self.half_width[p]
        return float(parameter.value(x[p] - width)), float(parameter.value(x[p] + width))


def assess(problem: Problem, x: np.ndarray) -> Confidence:
    """Intervals and sensitivities of a result x (P,) on its log."""
    space = problem.space
    near = linearize(problem, x)
    rows = _rows_per_sample(near, round(LONGEST_LAG_S * problem.rows_hz))
    residual = _thinned(near, rows)
    weighed = np.full_like(rows, problem.rows_per_sample)
    gradient, matrix = normal_equations(space, near, weighed, x)
    _, spread = normal_equations(space, near, weighed**2 / rows, x)
    model = np.array([MODEL_ERRORS.get(p.constant, MODEL_ERROR if p.is_log else 0.0) for p in space.parameters])
    step = STEP_ERROR * _step_error(problem, x, near, matrix)
    noise, left = _half_widths(_sandwich(matrix, spread), residual), _left(space, x, gradient, matrix)
    half_width = np.sqrt(np.minimum(noise, WIDE) ** 2 + model**2 + step**2 + left**2)
    from_log = _half_widths(matrix - np.diag(1.0 / space.prior**2), residual)
    astray = _astray(problem, near)
    reasons = _reasons(space, x, half_width, from_log, astray)
    steps = np.array([0.1 if p.is_log else 0.01 * (p.high - p.low) for p in space.parameters])
    return Confidence(half_width, reasons, _sensitivity(near, steps), steps, astray)


def _sandwich(matrix: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """A B^-1 A, where what nothing tells, neither log nor prior, has zeros."""
    scale = _scale(matrix)
    outer = np.outer(scale, scale)
    unit = matrix / outer
    return outer * (unit @ np.linalg.pinv(spread / outer, hermitian=True) @ unit)


def _scale(matrix: np.ndarray) -> np.ndarray:
    """(P,) of the parameters, for a unit diagonal: what counts as zero is the same for all of them then."""
    return np.sqrt(np.maximum(np.diag(matrix), 1e-30))


def _step_error(problem: Problem, x: np.ndarray, near: Linearization, matrix: np.ndarray) -> np.ndarray:
    """(P,) how far a fit in infinitely short physics steps would lie from x, to first order."""
    step = problem.settings.timestep
    other = max(step / 2, TIMESTEPS[0]) if step > TIMESTEPS[0] else 2 * step
    changed = problem.part(None, other).residuals(x[None])
    change = (changed.error[0] - near.residuals.error[0]) * (step / (step - other))
    if not np.isfinite(change).all():
        return np.full(len(x), np.inf)
    mse = np.maximum(near.residuals.mse[0], FLOOR[:, None])
    gradient = pull(near, 1 / (mse * problem.rows_per_sample), change, len(x))
    return np.abs(np.linalg.pinv(matrix, hermitian=True) @ gradient)


def _half_widths(matrix: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Of 95% intervals, from the Gauss-Newton matrix (P, P) and what is left, in units of its noise."""
    from mujoco.sysid import calculate_intervals

    scale = _scale(matrix)  # the square root has the same J' J as all rows would
    eigenvalues, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    root = (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))).T
    _, half_width = calculate_intervals([residual], root)
    return np.nan_to_num(half_width / scale, nan=np.inf)


def _rows_per_sample(near: Linearization, longest: int) -> np.ndarray:
    """(2, J) how many rows of a channel count as one, by the autocorrelation of what is left."""
    error = near.residuals.error[0].astype(float)
    error = error - error.mean(axis=-1, keepdims=True)
    count = error.shape[-1]
    spectrum = np.abs(np.fft.rfft(error, 2 * count)) ** 2
    correlation = np.fft.irfft(spectrum)[..., : min(longest, count)]
    correlation = correlation / np.maximum(correlation[..., :1], 1e-30)
    # Up to where it first falls into the noise: the sum over everything is zero.
    significant = np.cumprod(correlation > 2 / np.sqrt(count), axis=-1)
    return np.maximum(1.0, 2 * (correlation * significant).sum(axis=-1) - 1)


def _thinned(near: Linearization, rows: np.ndarray) -> np.ndarray:
    """Independent residuals in units of their channel's noise."""
    error, mse = near.residuals.error[0], np.maximum(near.residuals.mse[0], FLOOR[:, None])
    channels = np.argwhere(near.residuals.told)
    return np.concatenate([error[c, j, :: max(1, round(float(rows[c, j])))] / np.sqrt(mse[c, j]) for c, j in channels])


def _sensitivity(near: Linearization, steps: np.ndarray) -> np.ndarray:
    sensitivity = np.zeros((len(steps), len(near.active)))
    for joint, (jacobian, members) in enumerate(zip(near.jacobian, near.active, strict=True)):
        sensitivity[members, joint] = np.sqrt((jacobian[:, 0] ** 2).mean(axis=-1)) * steps[members]
    return sensitivity


def _astray(problem: Problem, near: Linearization) -> np.ndarray:
    """(J,) which joints the model does not reproduce."""
    spread = problem.log.position[problem.rows].std(axis=0)
    return problem.log.moved & (np.sqrt(near.residuals.mse[0, 0]) > np.maximum(REPRODUCED * spread, REPRODUCED_RAD))


def _left(space: SearchSpace, x: np.ndarray, gradient: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(P,) how far the search still had to go, to first order."""
    free, left = ~_at_bound(space, x), np.zeros(len(x))
    left[free] = np.linalg.pinv(matrix[np.ix_(free, free)], hermitian=True) @ gradient[free]
    return np.abs(left)


def _at_bound(space: SearchSpace, x: np.ndarray) -> np.ndarray:
    return np.minimum(x - space.low, space.high - x) < 1e-3 * (space.high - space.low)


def _reasons(
    space: SearchSpace, x: np.ndarray, half_width: np.ndarray, from_log: np.ndarray, astray: np.ndarray
) -> tuple[str, ...]:
    """Why each parameter is not determined; empty where it is."""
    at_bound = _at_bound(space, x)
    reasons = []
    for p, parameter in enumerate(space.parameters):
        span = space.high[p] - space.low[p]
        widest = WIDEST if parameter.is_log else WIDEST_SHARE * min(space.prior[p], span)
        # What several joints tell is told by those that are reproduced: each counts by what it leaves unexplained.
        own = space.joint_mask[p] if space.owner[p] < 0 else np.arange(len(astray)) == space.owner[p]
        if at_bound[p]:
            reasons.append(AT_BOUND)
        elif astray[own].all():
            reasons.append(f"the model does not reproduce {space.joints[int(np.argmax(own))]}")
        elif not from_log[p] <= min(1.96 * FROM_PRIOR * space.prior[p], WIDE):
            reasons.append("known from its prior only")
        elif not half_width[p] <= widest:
            reasons.append("interval too wide")
        else:
            reasons.append("")
    return tuple(reasons)
