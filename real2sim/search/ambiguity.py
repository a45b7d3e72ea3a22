"""Constants of a drive that its motion hardly tells apart, and changes in which they show.

A lag L before a drive of stiffness K, damping D and inertia M is, but for friction, the response
1 / ((L s + 1) (M/K s^2 + D/K s + 1)). Scaling K, D, M and the friction together leaves it as it is; slow motion tells
only its first coefficients L + D/K and L D/K + M/K.
"""

from __future__ import annotations

import numpy as np

from real2sim.search.space import SearchSpace

LAG, DAMPING, ARMATURE, STIFFNESS, FRICTION = (
    "joint_lag", "joint_damping", "joint_armature", "joint_stiffness", "joint_friction",
)  # fmt: skip
EXCHANGED = (LAG, DAMPING, ARMATURE, STIFFNESS)
# Largest change of a constant, as a multiple of that of the one it goes along with.
LARGEST = 3.0


def drives(space: SearchSpace) -> dict[int, dict[str, int]]:
    """Joint of the log -> constant that it has for itself -> which parameter that is."""
    found: dict[int, dict[str, int]] = {}
    for p in np.flatnonzero(space.owner >= 0):
        found.setdefault(int(space.owner[p]), {})[space.parameters[p].constant] = int(p)
    return found


def exchanged(lag: float, other: np.ndarray, damping: float, armature: float, stiffness: float) -> np.ndarray:
    """Dampings and armatures (2, n) that keep the first coefficients of the response with other lags (n,)."""
    dampings = damping + stiffness * (lag - other)
    return np.stack([dampings, armature + lag * damping - other * dampings])


def directions(space: SearchSpace, x: np.ndarray, step: np.ndarray) -> np.ndarray:
    """(P, P) unit changes of the parameters at x (P,), row by row: of one parameter, and of what goes along with it.

    Differences of simulations are right to some percent, and of four large ones that cancel nothing is left: to see
    what a drive does when all of it changes, all of it has to change in one simulation.

    Args:
        space: the space.
        x: (P,) where.
        step: (P,) size of the changes; what would leave its bounds with them does not go along.
    """
    constants, table = space.constants(x), np.eye(len(space))
    for own in drives(space).values():
        if STIFFNESS in own:
            scaled = [own[name] for name in (DAMPING, ARMATURE, FRICTION) if name in own]
            table[own[STIFFNESS], scaled] = 1.0
        if all(name in own for name in EXCHANGED):
            member = space.parameters[own[LAG]].members[0]
            lag, damping, armature, stiffness = (float(constants[name][member]) for name in EXCHANGED)
            changes = -stiffness * lag / damping, lag * (stiffness * lag - damping) / armature
            if max(map(abs, changes)) <= LARGEST:
                table[own[LAG], [own[DAMPING], own[ARMATURE]]] = changes
    moved = x + step[:, None] * table
    leaves = ((table != 0) & ((moved < space.low) | (moved > space.high))).any(axis=1)
    table[leaves] = np.eye(len(space))[leaves]
    return table
