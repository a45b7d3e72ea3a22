"""Inverse kinematics of both arms: palms where they should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dexsim.robots import RobotSpec
from dexsim.scene import Scene

if TYPE_CHECKING:
    from mujoco import MjModel

FINGER_CURL = (0.0, 0.15)


class Reacher:
    """Inverse kinematics of both arms: joint positions with the palms where they should be."""

    def __init__(self, robot: RobotSpec) -> None:
        from dexsim.backends.mujoco.model import build_spec

        self.robot = robot
        self._model: MjModel = build_spec(Scene(robot)).compile()

    def reach(self, posture: np.ndarray, palms: Mapping[str, Any], steps: int = 60, dt: float = 0.2) -> Any:
        """Solve from a posture (26,) in rad; the posture is kept where the palms leave freedom.

        Args:
            posture: commanded joint positions, rad.
            palms: side -> `mink.SE3`, where its grasp frame should be: x out of the palm, z along the fingers.
            steps: of the solver.
            dt: s, of each step.

        Returns:
            Joint positions (J,) in tree order, coupled ones included, and the largest miss of a palm in m.
        """
        import mink

        configuration = mink.Configuration(self._model, q=self.robot.expand_coupled(posture))
        frames = []
        for side, target in palms.items():
            task = mink.FrameTask(f"palm_{side}", "site", position_cost=1.0, orientation_cost=0.3)
            task.set_target(target)
            frames.append(task)
        keep = mink.PostureTask(self._model, cost=1e-3)
        keep.set_target_from_configuration(configuration)
        limits = [mink.ConfigurationLimit(self._model)]
        for _ in range(steps):
            velocity = mink.solve_ik(configuration, [*frames, keep], dt, "daqp", damping=1e-3, limits=limits)
            configuration.integrate_inplace(velocity, dt)
        miss = max(float(np.linalg.norm(task.compute_error(configuration)[:3])) for task in frames)
        return configuration.q, miss


def facing(normal: np.ndarray, fingers: np.ndarray, turn: np.ndarray) -> Any:
    """Rotation of a grasp frame with the palm facing along `normal`, the fingers along `fingers`, then turned (rad)."""
    import mink

    matrix = np.stack([normal, np.cross(fingers, normal), fingers], axis=1)
    return mink.SO3.exp(turn) @ mink.SO3.from_matrix(matrix)


def posture(robot: RobotSpec, rng: np.random.Generator) -> np.ndarray:
    """(26,) rad: as the robot reaches, elbows bent, fingers slightly curled."""
    opened, closed = np.array(robot.open_position), np.array(robot.closed_position)
    return np.where(robot.is_hand, opened + rng.uniform(*FINGER_CURL) * (closed - opened), robot.posture("reach"))
