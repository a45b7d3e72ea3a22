"""How near a robot's links come to each other along a motion.

Distances are those of the model's collision shapes, and of two that no link has: a head, and what the trunk stands on.
The table of a scene does not count: a robot that is calibrated stands clear of everything.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from dexsim.backends import InitialState
from dexsim.backends.make import load_settings, make_backend
from dexsim.backends.mujoco.model import build_spec
from dexsim.robots import Link, RobotSpec
from dexsim.robots.spec import SIDES
from dexsim.scene import Scene

if TYPE_CHECKING:
    from mujoco import MjModel

SAMPLE_HZ = 50.0
# Role of the link above the elbow that has a shape.
UPPER_ARM = "upper_arm_yaw"
# Nothing farther apart than this is measured, m.
FAR = 1.0
# Shapes of the base that the model lacks: name -> kind, size as MuJoCo has it in m, centre in m.
KEEP_OUT: dict[str, tuple[str, tuple[float, float, float], tuple[float, float, float]]] = {
    "head": ("capsule", (0.09, 0.07, 0.0), (0.02, 0.0, 0.6)),
    "legs": ("box", (0.14, 0.16, 0.36), (0.0, 0.0, -0.26)),
}


@dataclass(frozen=True)
class Approach:
    """The nearest that two links come to each other.

    Attributes:
        distance: m, negative where they overlap.
        links: their names.
        time: s.
        sides: whose arms they belong to, "left", "right" or both.
    """

    distance: float
    links: tuple[str, str]
    time: float
    sides: tuple[str, ...]

    def __str__(self) -> str:
        """One phrase."""
        return f"{self.links[0]} comes within {self.distance:.3f} m of {self.links[1]} at {self.time:.2f} s"


class Clearance:
    """Measures distances between a robot's arms with hands, its trunk, head and legs.

    Links of one arm do not count against each other, but for its hand against its upper arm.

    Args:
        robot: the robot.
    """

    def __init__(self, robot: RobotSpec) -> None:
        import mujoco

        spec = build_spec(Scene(robot, collisions=False))
        for name, (kind, size, centre) in KEEP_OUT.items():
            shape = mujoco.mjtGeom.mjGEOM_BOX if kind == "box" else mujoco.mjtGeom.mjGEOM_CAPSULE
            spec.body(robot.root).add_geom(name=name, type=shape, size=size, pos=centre, contype=0, conaffinity=0)
        self._robot = robot
        self._model: MjModel = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._addresses = np.array([self._model.joint(name).qposadr[0] for name in robot.joint_names])
        self._links = [_link(self._model, geom) for geom in range(self._model.ngeom)]
        self._classes = self._pair_classes()

    def _pair_classes(self) -> dict[tuple[str, ...], np.ndarray]:
        """Sides -> (P, 2) geoms whose distances only those sides' arms can mend."""
        geoms = [geom for geom, link in enumerate(self._links) if link != "table"]
        known = {link.name: link for link in self._robot.links}
        owner = {geom: known[name].side if (name := self._links[geom]) in known else "" for geom in geoms}
        found: dict[tuple[str, ...], list[tuple[int, int]]] = {("left",): [], ("right",): [], SIDES: []}
        for first, second in itertools.combinations(geoms, 2):
            sides = tuple(side for side in SIDES if side in (owner[first], owner[second]))
            within = owner[first] == owner[second]
            if sides and (not within or _folds(known[self._links[first]], known[self._links[second]])):
                found[sides].append((first, second))
        return {sides: np.array(pairs) for sides, pairs in found.items() if pairs}

    def nearest(self, time: np.ndarray, joints: np.ndarray) -> list[Approach]:
        """The nearest approach of each arm to the rest, and of the arms to each other; nearest first.

        Args:
            time: (T,) s.
            joints: (T, J) positions of the robot's `moving_joints` in rad.
        """
        import mujoco

        model, data = self._model, self._data
        centres = np.empty((len(time), model.ngeom, 3))
        turns = np.empty((len(time), model.ngeom, 9))
        for row, position in enumerate(joints):
            data.qpos[self._addresses] = position
            mujoco.mj_kinematics(model, data)
            centres[row], turns[row] = data.geom_xpos, data.geom_xmat
        found = [self._search(sides, pairs, time, centres, turns) for sides, pairs in self._classes.items()]
        return sorted(found, key=lambda approach: approach.distance)

    def _search(
        self, sides: tuple[str, ...], pairs: np.ndarray, time: np.ndarray, centres: np.ndarray, turns: np.ndarray
    ) -> Approach:
        """The nearest of some pairs: those whose bounding spheres are nearest come first, until none can be nearer."""
        import mujoco

        first, second = pairs.T
        bounds = np.linalg.norm(centres[:, first] - centres[:, second], axis=2)
        bounds -= self._model.geom_rbound[first] + self._model.geom_rbound[second]
        best, where = FAR, (0, 0)
        for flat in np.argsort(bounds, axis=None):
            row, pair = np.unravel_index(flat, bounds.shape)
            if bounds[row, pair] >= best:
                break
            self._data.geom_xpos[:], self._data.geom_xmat[:] = centres[row], turns[row]
            distance = mujoco.mj_geomDistance(self._model, self._data, first[pair], second[pair], FAR, None)
            if distance < best:
                best, where = distance, (int(row), int(pair))
        row, pair = where
        names = (self._links[first[pair]], self._links[second[pair]])
        return Approach(float(best), names, float(time[row]), sides)


def _link(model: MjModel, geom: int) -> str:
    """The link of a geom, or its own name where no link has it."""
    name = model.geom(geom).name
    return name if name in KEEP_OUT or name == "table" else model.body(model.geom_bodyid[geom]).name


def _folds(first: Link, second: Link) -> bool:
    """Whether one is an upper arm, and the other of the hand that the elbow can fold against it."""
    return any(a.role == UPPER_ARM and b.part == "hand" for a, b in ((first, second), (second, first)))


def between(time: np.ndarray, command: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets (T, J) on straight lines from one to the next, at `SAMPLE_HZ`: times (S,) and values (S, J)."""
    steps = max(1, int(np.ceil((time[-1] - time[0]) * SAMPLE_HZ - 1e-6)))
    fine = np.linspace(time[0], time[-1], steps + 1)
    return fine, np.stack([np.interp(fine, time, column) for column in command.T], axis=1)


def follow(robot: RobotSpec, time: np.ndarray, command: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a robot's joints are that follows targets, from rest at the first, sampled at `SAMPLE_HZ`.

    Args:
        robot: whose drives follow.
        time: (T,) s, when each target is sent.
        command: (T, J) targets in rad, which hold until the next.

    Returns:
        Times (S,) and positions (S, J) of the `moving_joints`.
    """
    timestep = 0.01
    backend = make_backend(
        Scene(robot, timestep=timestep, collisions=False),
        1,
        load_settings({"threads": 1, "timestep": timestep}),
    )
    first = command[:1]
    start = InitialState(
        torch.from_numpy(robot.expand_coupled(first)), torch.from_numpy(first), torch.zeros(1, 0, 7)
    )  # fmt: skip
    backend.reset(torch.arange(1), start)
    count = int((time[-1] - time[0]) * SAMPLE_HZ + 1e-6) + 1
    fine = time[0] + np.arange(count) / SAMPLE_HZ
    held = np.searchsorted(time, fine + 1e-6, side="right") - 1
    positions = np.empty((count, len(robot.joint_names)))
    for row, target in enumerate(held):
        positions[row] = backend.state.joint_position[0].numpy()
        backend.set_joint_targets(torch.from_numpy(command[target : target + 1]))
        backend.step(round(1 / (SAMPLE_HZ * timestep)))
    return fine, positions


def envelope(clearance: Clearance, robot: RobotSpec, time: np.ndarray, command: np.ndarray) -> list[Approach]:
    """The nearest approaches of targets (T, J), as they are and as nominal drives follow them; nearest first."""
    fine, exact = between(time, command)
    found: Sequence[Approach] = clearance.nearest(fine, robot.expand_coupled(exact))
    driven = clearance.nearest(*follow(robot, time, command))
    return sorted([*found, *driven], key=lambda approach: approach.distance)
