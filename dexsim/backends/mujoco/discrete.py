"""What the constants of a drive become in physics steps of 10 ms, so that its joint moves as at very short ones.

All of it is MuJoCo's: semi-implicit steps, soft dry friction, and a buffer of past targets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# MuJoCo's impedance of dry friction at rest, the largest one, and its time constant in s (`solimp`, `solref`).
FRICTION_IMPEDANCE = (0.9, 0.95, 0.02)


def discrete_armature(armature: Any, damping: Any, timestep: float, explicit: bool) -> Any:
    """Armature that makes a joint with a damped drive move as its physical one would, kg m^2.

    Positions lie at the ends of the engine's steps and velocities in their middles. Implicit damping takes the velocity
    half a step later than the position, kd (v + a h/2), which acts as kd h/2 of armature; explicit damping takes it as
    much too early. Corrected, both are the same trapezoidal rule, but explicit damping is stable at any kd, and only
    with it do dry friction and contacts see the inertia that the step is taken with.
    """
    half = np.asarray(damping) * timestep / 2
    return np.asarray(armature) + half if explicit else np.maximum(np.asarray(armature) - half, 0.0)


def friction_law(inertia: Any, damping: Any, timestep: float) -> tuple[Any, Any]:
    """Damping and impedance of a dry friction that acts at this time step as it does at very short ones.

    MuJoCo's friction is soft: it holds a joint with the acceleration (1 - d) a - d b v, where a is that without
    friction, d the impedance and b = 2 / (dmax timeconst), and gives way at the friction loss. A step of 10 ms is as
    long as 1 / (d b), so that it would stop a joint at once, and it sees the inertia that explicit damping adds. The
    values here let the velocity over one step follow the exponential of the continuous law.

    Args:
        inertia: that the step is taken with, kg m^2 (`1 / dof_invweight0`).
        damping: of the drive, N m s/rad, explicit.
        timestep: s.

    Returns:
        Damping for the second, negative entry of `solref` in 1/s, and the impedance for `solimp`.
    """
    true = np.maximum(inertia - np.asarray(damping) * timestep / 2, 0.05 * np.asarray(inertia))
    impedance, largest, timeconst = FRICTION_IMPEDANCE
    rate = impedance * 2 / (largest * timeconst) + (1 - impedance) * damping / true
    decay = -np.expm1(-rate * timestep)
    held = np.clip(1 - (1 - impedance) * inertia / true * decay / (rate * timestep), 0.5, 0.999)
    return decay / timestep - (1 - held) * damping / inertia, held


def engine_delay(delay: Any, timestep: float) -> Any:
    """The part of a delay that the engine can do, s: none or at least a step; what is shorter it takes for a step."""
    return np.where(np.asarray(delay) < timestep, 0.0, delay)


def short_delay(delay: np.ndarray, timestep: float) -> np.ndarray:
    """Delays shorter than a physics step as a share of it; 0 where the engine does them."""
    return np.where(delay < timestep, delay / timestep, 0.0)
