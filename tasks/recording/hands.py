"""Joint targets that take palms where they are dragged: inverse kinematics step by step, at a speed an arm follows."""

from __future__ import annotations

import numpy as np

from dexsim.errors import require
from dexsim.robots import RobotSpec
from dexsim.robots.spec import SIDES
from dexsim.scene import Scene

ARM_SPEED = 1.2  # rad/s
HAND_SPEED = 2.0  # 1/s, from 0 (open) to 1 (closed)
STEP = 0.02  # s, between two solutions
# A palm this close to where it should be has arrived: m and rad, as one norm.
ARRIVED = 2e-4


class Hands:
    """Both hands of a robot: where the palms should be and how far the fingers are closed.

    Args:
        robot: the robot.
        arm_lead: how far an arm joint's target may lie from its measured position, rad: it bounds the force of a hand
            that is pulled into something.
    """

    def __init__(self, robot: RobotSpec, arm_lead: float) -> None:
        import mink
        import mujoco

        from dexsim.backends.mujoco.model import build_spec

        self.robot, self._lead = robot, arm_lead
        model: mujoco.MjModel = build_spec(Scene(robot)).compile()
        self._configuration = mink.Configuration(model)
        self._frames = {
            side: mink.FrameTask(f"palm_{side}", "site", position_cost=1.0, orientation_cost=0.3) for side in SIDES
        }
        # Seven joints for six degrees of freedom: the posture says where the elbow goes.
        self._posture = mink.PostureTask(model, cost=1e-3)
        speeds = {name: ARM_SPEED for side in SIDES for name in robot.arm_joints(side)}
        self._limits = [mink.ConfigurationLimit(model), mink.VelocityLimit(model, speeds)]
        self._open, self._closed = np.array(robot.open_position), np.array(robot.closed_position)
        self._of_hand = {side: robot.is_hand & robot.of_side(side) for side in SIDES}
        self.target = self._open.copy()
        self._amount: dict[str, float | None] = {side: None for side in SIDES}

    def reset(self, target: np.ndarray) -> None:
        """Keep still.

        Args:
            target: (26,) joint targets in rad.
        """
        self.target = np.clip(target, *self.robot.command_limits.T)
        self._amount = {side: None for side in SIDES}
        self._configuration.update(self.robot.expand_coupled(self.target))
        self._posture.set_target_from_configuration(self._configuration)
        for frame in self._frames.values():
            frame.set_target_from_configuration(self._configuration)

    def palm(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Where the grasp frame of a side should be: position (3,) in m and quaternion (4,) w x y z."""
        pose = self._frames[_checked(side)].transform_target_to_world
        assert pose is not None
        return pose.translation(), pose.rotation().wxyz

    def move_palm(self, side: str, position: np.ndarray, rotation: np.ndarray | None = None) -> None:
        """Send a palm somewhere; its arm goes there while time advances.

        Args:
            side: "left" or "right".
            position: (3,) of its grasp frame, m.
            rotation: (4,) quaternion w x y z: x out of the palm, z along the fingers; None to keep it.
        """
        import mink

        _checked(side)
        wxyz = self.palm(side)[1] if rotation is None else np.asarray(rotation, dtype=float)
        finite = np.isfinite(position).all() and np.isfinite(wxyz).all() and np.linalg.norm(wxyz) > 0
        require(bool(finite), "palm", [*position, *wxyz], "finite")
        turn = mink.SO3(wxyz / np.linalg.norm(wxyz))
        self._frames[side].set_target(mink.SE3.from_rotation_and_translation(turn, np.asarray(position, dtype=float)))

    def close(self, side: str, amount: float) -> None:
        """Move the fingers of a side to 0 (open) .. 1 (closed)."""
        require(0.0 <= amount <= 1.0, "amount", amount, "0 (open) to 1 (closed)")
        self._amount[_checked(side)] = float(amount)

    def amount(self, side: str) -> float:
        """How far the fingers of a side are to be closed, 0 .. 1; where nobody has said so yet, how far they are."""
        told = self._amount[_checked(side)]
        return float(np.clip(self._normalized(side).mean(), 0.0, 1.0)) if told is None else told

    def step(self, measured: np.ndarray) -> np.ndarray:
        """The joint targets (26,) in rad for the next `STEP` seconds.

        Args:
            measured: (26,) positions of the commanded joints, rad.
        """
        arms = ~self.robot.is_hand
        self._step_arms()
        solved = self._configuration.q[self.robot.command_index]
        self.target[arms] = np.clip(solved, measured - self._lead, measured + self._lead)[arms]
        for side in SIDES:
            self._step_fingers(side)
        if not np.array_equal(self.target[arms], solved[arms]):
            self._configuration.update(self.robot.expand_coupled(self.target))
        return self.target

    def _step_arms(self) -> None:
        import mink

        configuration, frames = self._configuration, list(self._frames.values())
        if max(float(np.linalg.norm(frame.compute_error(configuration))) for frame in frames) < ARRIVED:
            return
        # A goal out of reach leaves the arm stretched towards it, hence the damping.
        velocity = mink.solve_ik(
            configuration, [*frames, self._posture], STEP, "daqp", damping=1e-3, limits=self._limits
        )
        configuration.integrate_inplace(velocity, STEP)

    def _step_fingers(self, side: str) -> None:
        told, joints = self._amount[side], self._of_hand[side]
        if told is None:
            return
        now, reach = self._normalized(side), HAND_SPEED * STEP
        unit = now + np.clip(told - now, -reach, reach)
        self.target[joints] = self._open[joints] + unit * (self._closed - self._open)[joints]

    def _normalized(self, side: str) -> np.ndarray:
        joints = self._of_hand[side]
        return (self.target - self._open)[joints] / (self._closed - self._open)[joints]


def _checked(side: str) -> str:
    require(side in SIDES, "side", side, f"one of {', '.join(SIDES)}")
    return side
