"""Targets that make a robot show its constants: what drives, gears and links do differs from motion to motion.

Each joint follows sums of sines (gravity, inertia, coupling between joints), then a chirp (delay, lag, damping), then
slow small reversals (dry friction, play, encoder offsets), all at once and each with frequencies of its own. Motions
start and end at rest at a base pose with the arms aside, and stay clear of the body and of each other.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dexsim.errors import UserError, require
from dexsim.robots import RobotSpec
from real2sim.excitation.clearance import Approach, Clearance, envelope
from real2sim.excitation.targets import Targets, check_ranges

_log = logging.getLogger(__name__)

Part = Literal["left_arm", "right_arm", "left_hand", "right_hand"]
PARTS: tuple[Part, ...] = ("left_arm", "right_arm", "left_hand", "right_hand")
SHORTEST_S, LONGEST_S = 20.0, 240.0
# Base pose and largest amplitude of a left arm's joints, rad; a right one's mirror it. Upper arms are raised aside and
# elbows bent, so that hands swing free of the body in front and beside it.
ARM: dict[str, tuple[float, float]] = {
    "shoulder_pitch": (-0.7, 0.7),
    "shoulder_roll": (0.8, 0.45),
    "shoulder_yaw": (0.0, 0.7),
    "elbow_pitch": (-1.0, 0.7),
    "wrist_yaw": (0.0, 1.4),
    "wrist_roll": (0.0, 0.8),
    "wrist_pitch": (0.0, 0.5),
}
# The same of a thumb's joints, as shares of the way from open to closed. Within these it stays off its fingers wherever
# they are: what is fitted has no contacts, and could not follow a thumb that meets one.
THUMB: dict[str, tuple[float, float]] = {"thumb_proximal_yaw": (0.25, 0.2), "thumb_proximal_pitch": (0.25, 0.2)}
# Rest at both ends, and the longest ramp at both ends of a section, s.
REST_S, RAMP_S = 1.0, 3.0
# Sections, and their shares of the time between.
SECTIONS = {"sines": 0.5, "chirp": 0.25, "reversals": 0.25}
SINES = 6
SINE_HZ, CHIRP_HZ = (0.06, 1.2), (0.1, 2.0)
# Size of reversals as a share of the amplitude, their periods in s, and how far their middle wanders.
REVERSAL, REVERSAL_S, WANDER = 0.15, (3.0, 7.0), 0.5
SHRINK, TRIES = 0.8, 8


@dataclass(frozen=True)
class ExcitationSettings:
    """What targets are to be like.

    Attributes:
        duration_s: of all of them, s.
        rate_hz: targets a second.
        parts: which move, of `PARTS`; the others hold still.
        seed: of phases and frequencies.
        speed_share: of the joints' largest speeds that may be used.
        max_speed: used at most, whatever the joints allow, rad/s.
        amplitude_share: of half a joint's range that may be used to each side.
        margin_rad: that stays free at the joints' limits.
        clearance_m: that stays free between arms, hands and body.
    """

    duration_s: float
    rate_hz: float
    parts: tuple[Part, ...]
    seed: int
    speed_share: float
    max_speed: float
    amplitude_share: float
    margin_rad: float
    clearance_m: float

    def __post_init__(self) -> None:
        """Refuse what cannot be, or should not be tried on a robot."""
        allowed = f"{SHORTEST_S:g} to {LONGEST_S:g} s"
        require(SHORTEST_S <= self.duration_s <= LONGEST_S, "duration_s", self.duration_s, allowed)
        require(5 <= self.rate_hz <= 50, "rate_hz", self.rate_hz, "5 to 50")
        require(len(self.parts) > 0, "parts", list(self.parts), f"one or more of {', '.join(PARTS)}")
        require(len(set(self.parts)) == len(self.parts), "parts", list(self.parts), "all different")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(0 < self.speed_share <= 1, "speed_share", self.speed_share, "above 0, up to 1")
        require(0 < self.max_speed <= 10, "max_speed", self.max_speed, "above 0, up to 10 rad/s")
        require(0 < self.amplitude_share <= 1, "amplitude_share", self.amplitude_share, "above 0, up to 1")
        require(0 <= self.margin_rad <= 0.2, "margin_rad", self.margin_rad, "0 to 0.2 rad")
        require(0 < self.clearance_m <= 0.2, "clearance_m", self.clearance_m, "above 0, up to 0.2 m")


@dataclass(frozen=True)
class Excitation:
    """Targets that were made, or that passed the same checks.

    Attributes:
        targets: the targets.
        nearest: nearest approach of two links, as commanded and as nominal drives follow.
    """

    targets: Targets
    nearest: Approach


def make_excitation(robot: RobotSpec, settings: ExcitationSettings) -> Excitation:
    """Make targets whose envelope is clear.

    Args:
        robot: for which.
        settings: what they are to be like.

    Raises:
        UserError: if arms do not stay clear of each other or of the body even when they move less.
    """
    clearance, base, motion = Clearance(robot), base_pose(robot, settings), _Motion(robot, settings)
    close: list[Approach] = []
    for _ in range(TRIES + 1):
        if close:
            motion.shrink(close)
        targets = Targets(motion.time, base + motion.offsets, robot.name, robot.hand)
        found = envelope(clearance, robot, targets.time, targets.command)
        close = [approach for approach in found if approach.distance < settings.clearance_m]
        if not close:
            check_ranges(targets, robot, allowed_speed(robot, settings))
            return Excitation(targets, found[0])
    raise _too_close(close[0], settings)


def check_targets(robot: RobotSpec, settings: ExcitationSettings, targets: Targets) -> Excitation:
    """Put given targets to the checks that made ones pass.

    Raises:
        UserError: for what is too long, beyond limits, too fast or too close.
    """
    if targets.duration > LONGEST_S + 1e-6:
        raise UserError(f"targets: last {targets.duration:.1f} s: must be at most {LONGEST_S:g} s")
    check_ranges(targets, robot, allowed_speed(robot, settings))
    nearest = envelope(Clearance(robot), robot, targets.time, targets.command)[0]
    if nearest.distance < settings.clearance_m:
        raise _too_close(nearest, settings)
    return Excitation(targets, nearest)


def _too_close(approach: Approach, settings: ExcitationSettings) -> UserError:
    return UserError(f"targets: {approach}: must be at least clearance_m = {settings.clearance_m:g} m")


def allowed_speed(robot: RobotSpec, settings: ExcitationSettings) -> np.ndarray:
    """(J,) the speed at which targets may change, rad/s."""
    limits = np.array([robot.joint(name).velocity for name in robot.commands])
    return np.minimum(settings.speed_share * limits, settings.max_speed)


def base_pose(robot: RobotSpec, settings: ExcitationSettings) -> np.ndarray:
    """(J,) where motions start and end, rad: arms aside, fingers half closed, thumbs out of their way."""
    low, high = robot.command_limits.T
    pose, opened, way = (low + high) / 2, np.array(robot.open_position), _way(robot)
    is_right = robot.of_side("right")
    for joint in range(len(pose)):
        kind = _kind(robot, joint)
        if kind in THUMB:
            pose[joint] = opened[joint] + THUMB[kind][0] * way[joint]
        elif kind in ARM:
            mirror = robot.mirror.sign[joint] if is_right[joint] and robot.mirror else 1.0
            pose[joint] = mirror * ARM[kind][0]
    return np.clip(pose, low + settings.margin_rad, high - settings.margin_rad)


def _way(robot: RobotSpec) -> np.ndarray:
    """(J,) from open to closed, rad."""
    return np.subtract(robot.closed_position, robot.open_position)


def _kind(robot: RobotSpec, joint: int) -> str:
    """What a joint is on either side ("shoulder_pitch")."""
    each = robot.joint(robot.commands[joint])
    return f"{each.finger}_{each.role}" if each.finger else each.role


class _Motion:
    """Motion about the base pose, section by section; 0 for joints that hold still.

    Attributes:
        time: (T,) s.
        offsets: (T, J) rad.
    """

    def __init__(self, robot: RobotSpec, settings: ExcitationSettings) -> None:
        count, rest = round(settings.duration_s * settings.rate_hz), round(REST_S * settings.rate_hz)
        self.time = np.arange(count) / settings.rate_hz
        self._parts = np.array([robot.part_of(name) for name in robot.commands])
        self._starts = rest + np.round(np.cumsum([0.0, *SECTIONS.values()]) * (count - 2 * rest)).astype(int)
        self.offsets = np.zeros((count, len(self._parts)))
        amplitude, speed = _amplitudes(robot, settings), allowed_speed(robot, settings)
        for joint in np.flatnonzero(np.isin(self._parts, settings.parts)):
            for section, make in enumerate((_sines, _chirp, _reversals)):
                # Each joint draws from its own stream: what it does hangs on no other joint's being chosen.
                rng = np.random.default_rng([settings.seed, int(joint), section])
                rows = self._rows(section)
                time = self.time[rows] - self.time[rows.start]
                wave = make(time, amplitude[joint], speed[joint], rng) * _window(time)
                fastest = np.abs(np.diff(wave, prepend=0.0, append=0.0)).max() * settings.rate_hz
                self.offsets[rows, joint] = wave * min(1.0, speed[joint] / fastest)

    def shrink(self, close: list[Approach]) -> None:
        """Make the motion of arms smaller in the sections in which they come too close."""
        for section, side in sorted({(self._section(each.time), side) for each in close for side in each.sides}):
            self.offsets[self._rows(section), self._parts == f"{side}_arm"] *= SHRINK
        names = list(SECTIONS)
        _log.info("%s: the arms' %s become smaller", close[0], names[self._section(close[0].time)])

    def _rows(self, section: int) -> slice:
        return slice(int(self._starts[section]), int(self._starts[section + 1]))

    def _section(self, time: float) -> int:
        return int(np.searchsorted(self.time[self._starts[1:-1]], time, side="right"))


def _amplitudes(robot: RobotSpec, settings: ExcitationSettings) -> np.ndarray:
    """(J,) how far each joint may go to either side of its base, rad."""
    low, high = robot.command_limits.T
    base = base_pose(robot, settings)
    room = np.minimum(high - base, base - low) - settings.margin_rad
    caps = np.full(len(base), np.inf)
    for joint, way in enumerate(np.abs(_way(robot)).tolist()):
        kind = _kind(robot, joint)
        if kind in ARM or kind in THUMB:
            caps[joint] = ARM[kind][1] if kind in ARM else THUMB[kind][1] * way
    return np.minimum(np.minimum(settings.amplitude_share * (high - low) / 2, caps), np.maximum(room, 0.0))


def _window(time: np.ndarray) -> np.ndarray:
    """0 at both ends, 1 between, with smooth ramps."""
    ramp = min(RAMP_S, time[-1] / 4)
    inside = np.clip(np.minimum(time, time[-1] - time) / ramp, 0.0, 1.0)
    return (1 - np.cos(np.pi * inside)) / 2


def _sines(time: np.ndarray, amplitude: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """A sum of sines, slow ones larger than fast ones."""
    frequency = np.geomspace(*SINE_HZ, SINES) * np.exp(rng.uniform(-0.2, 0.2, SINES))
    phase = rng.uniform(0, 2 * np.pi, SINES)
    wave = (frequency**-0.7 * np.sin(2 * np.pi * frequency * time[:, None] + phase)).sum(axis=1)
    return amplitude * wave / np.abs(wave).max()


def _chirp(time: np.ndarray, amplitude: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """A sine of rising or falling frequency, as large as its speed allows."""
    low, high = np.array(CHIRP_HZ) * np.exp(rng.uniform(-0.2, 0.2, 2))
    frequency = low * (high / low) ** (time / time[-1])
    if rng.random() < 0.5:
        frequency = frequency[::-1]
    phase = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.cumsum(frequency) * (time[1] - time[0])
    return np.minimum(amplitude, speed / (2 * np.pi * frequency)) * np.sin(phase)


def _reversals(time: np.ndarray, amplitude: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """A slow triangle about a middle that wanders slower still."""
    period = rng.uniform(*REVERSAL_S)
    triangle = 4 * np.abs((time / period + rng.random()) % 1.0 - 0.5) - 1
    middle = WANDER * amplitude * np.sin(2 * np.pi * (time / max(time[-1], 20.0) + rng.random()))
    return middle + REVERSAL * amplitude * triangle
