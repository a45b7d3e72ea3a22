"""A robot to try real-to-sim on: the simulator with constants that only its seed knows, and with what no model has.

It is simulated five times as finely as usual and has constants around, not at, the nominal ones; besides those, gears
with backlash, encoders that round, and noisy efforts. The same seed gives the same robot, and the same noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch

from dexsim import settings
from dexsim.backends import InitialState
from dexsim.backends.base import BACKENDS
from dexsim.backends.make import load_settings, make_backend
from dexsim.errors import require
from dexsim.robots import RobotSpec, constants, labels, with_constants
from dexsim.robots.constants import drives_of, owner_of
from dexsim.robots.interface import JointReading
from dexsim.scene import Scene

# Medians that the nominal robot has not: dry friction in N m of arms and hands, delay and lag in s.
FRICTION, DELAY, LAG = (0.4, 0.04), 0.015, 0.035
# Standard deviations of a hidden constant at spread 1: of the logarithm, or in its unit.
LOG_SPREADS = {
    "joint_stiffness": 0.3, "joint_damping": 0.3, "joint_armature": 0.3, "joint_friction": 0.4, "joint_lag": 0.3,
    "link_mass": 0.1,
}  # fmt: skip
SPREADS = {"joint_delay": 0.005, "joint_bias": 0.002, "link_gravity_compensation": 0.15}
COMPENSATION = 0.8
# What has a controller of its own. Their order is that in which a seed draws for them.
DRIVES = ("left_hand", "left_arm", "right_hand", "right_arm")
# Efforts are noisy by this share of the drive's largest one; their noise forgets itself by half from row to row.
EFFORT_NOISE, EFFORT_MEMORY = 0.008, 0.5
# Bounds of settings: standard deviations, and errors of sensors in rad or as a share.
MOST_SPREAD, MOST_ERROR = 10.0, 1.0


@dataclass(frozen=True)
class SimulatedRobotSettings:
    """How a simulated robot differs from the model.

    Attributes:
        seed: of its constants and of its noise.
        spread: how far its constants lie from the nominal ones; 0 for exactly the medians.
        backlash: play between a drive and its joint, rad.
        arm_resolution: of the arms' encoders, rad; 0 for none.
        hand_resolution: of the hands' encoders, rad.
        noise: of positions, rad, standard deviation.
        effort_noise: of efforts, as a share of a drive's largest one.
        timestep: of its physics, s.
        rate_hz: measurements a second.
        engine: which simulator it is made of, one of `dexsim.backends.base.BACKENDS`.
    """

    seed: int = 0
    spread: float = 1.0
    backlash: float = 0.0005
    arm_resolution: float = 3.83e-4
    hand_resolution: float = 1.5e-3
    noise: float = 1e-4
    effort_noise: float = EFFORT_NOISE
    timestep: float = 0.002
    rate_hz: float = 50.0
    engine: str = "mujoco"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.engine in BACKENDS, "engine", self.engine, f"one of {', '.join(BACKENDS)}")
        for name in ("spread", "backlash", "arm_resolution", "hand_resolution", "noise", "effort_noise"):
            most = MOST_SPREAD if name == "spread" else MOST_ERROR
            require(0 <= getattr(self, name) <= most, name, getattr(self, name), f"0 to {most:g}")
        require(0 < self.timestep <= 0.02, "timestep", self.timestep, "above 0, up to 0.02 s")
        steps = 1 / (self.rate_hz * self.timestep) if self.rate_hz > 0 else 0.0
        whole = steps >= 1 and abs(steps - round(steps)) < 1e-6
        require(whole, "rate_hz", self.rate_hz, f"such that a row is whole steps of {self.timestep:g} s")


def hidden_constants(robot: RobotSpec, seed: int, spread: float = 1.0) -> dict[str, np.ndarray]:
    """The constants of a simulated robot, name -> (k,) as in `dexsim.robots.constants`.

    Args:
        robot: whose nominal constants are the medians.
        seed: of the draw.
        spread: factor on all standard deviations.
    """
    rng = np.random.default_rng([seed, 1])
    own, hand = constants(robot), robot.is_hand
    medians = {
        **{name: own[name] for name in LOG_SPREADS},
        "joint_friction": np.where(hand, FRICTION[1], FRICTION[0]),
        "joint_lag": np.full(len(hand), LAG),
    }
    values = {}
    for name, scale in LOG_SPREADS.items():
        values[name] = medians[name] * np.exp(spread * scale * rng.standard_normal(len(medians[name])))
    values["joint_bias"] = spread * SPREADS["joint_bias"] * rng.standard_normal(len(hand))
    for name, median in (("joint_delay", DELAY), ("link_gravity_compensation", COMPENSATION)):
        # One drive, one controller: the same for all joints of an arm, or of a hand.
        draws = {part: rng.standard_normal() for part in DRIVES}
        owners = [drives_of(owner_of(robot, name, label)) for label in labels(robot, name)]
        shift = spread * SPREADS[name] * np.array([draws[part] for part in owners])
        values[name] = np.clip(median + shift, 0.0, None)
    return values


class SimulatedRobot:
    """`RobotInterface` on a simulation whose time passes while one waits.

    Args:
        robot: whose constants are varied.
        options: how.
        hidden: other constants than the seed's, name -> (k,).
    """

    def __init__(
        self, robot: RobotSpec, options: SimulatedRobotSettings, hidden: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self.joints, self.options = robot.commands, options
        self.hidden = {**hidden_constants(robot, options.seed, options.spread), **(hidden or {})}
        self._robot = with_constants(robot, self.hidden)
        backend = load_settings({"name": options.engine, "threads": 1, "timestep": options.timestep})
        self._backend = make_backend(Scene(self._robot, timestep=options.timestep, collisions=False), 1, backend)
        self._substeps = round(1 / (options.rate_hz * options.timestep))
        self._commanded = torch.from_numpy(robot.command_index)
        self._rng = np.random.default_rng([options.seed, 2])
        self._resolution = np.where(robot.is_hand, options.hand_resolution, options.arm_resolution)
        self._effort_scale = options.effort_noise * constants(robot)["joint_effort"]
        self._reset()

    def _reset(self) -> None:
        rest = np.clip(0.0, *self._robot.command_limits.T)[None]
        joints = torch.from_numpy(self._robot.expand_coupled(rest))
        self._target = torch.from_numpy(rest)
        self._backend.reset(torch.arange(1), InitialState(joints, self._target, torch.zeros(1, 0, 7)))
        self._ticks = 0
        self._played = rest[0].copy()
        self._effort_error = np.zeros(len(self.joints))
        self._reading = self._measure()

    @property
    def time(self) -> float:
        """Of its clock, s."""
        return self._ticks / self.options.rate_hz

    def read(self) -> JointReading:
        """See `RobotInterface`."""
        return self._reading

    def command(self, position: np.ndarray) -> None:
        """See `RobotInterface`."""
        limited = np.clip(position, *self._robot.command_limits.T)
        self._target = torch.from_numpy(limited[None])

    def wait_until(self, time: float) -> None:
        """See `RobotInterface`; simulates up to the measurement next to that time."""
        while self.time < time - 0.5 / self.options.rate_hz:
            self._ticks += 1
            self._reading = self._measure()

    def close(self) -> None:
        """See `RobotInterface`."""

    def __enter__(self) -> SimulatedRobot:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _measure(self) -> JointReading:
        """Simulate up to the next measurement, and take it."""
        options = self.options
        rolled = self._backend.rollout(self._target[:, None].expand(-1, self._substeps, -1))
        drive = rolled.joint_position[0, -1].numpy()
        velocity = self._backend.state.joint_velocity[0, self._commanded].numpy().copy()
        # The encoder sits behind the gear: it follows the drive once the play is used up.
        half = options.backlash / 2
        self._played = np.clip(self._played, drive - half, drive + half)
        position = self._played + self.hidden["joint_bias"] + options.noise * self._rng.standard_normal(len(drive))
        step = np.maximum(self._resolution, 1e-12)
        position = np.where(self._resolution > 0, np.round(position / step) * step, position)
        fresh = np.sqrt(1 - EFFORT_MEMORY**2) * self._rng.standard_normal(len(drive))
        self._effort_error = EFFORT_MEMORY * self._effort_error + fresh
        effort = rolled.joint_effort[0, -1].numpy() + self._effort_scale * self._effort_error
        return JointReading(self.time, position, velocity, effort)


def make(robot: RobotSpec, /, **options: Any) -> SimulatedRobot:
    """A simulated robot from settings (`SimulatedRobotSettings`)."""
    return SimulatedRobot(robot, settings.build(SimulatedRobotSettings, options))
