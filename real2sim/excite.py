"""Make joint targets that calibrate the simulator, and drive a robot through them.

Writes `targets.parquet` and `targets.png`: three minutes of motion of the arms and hands within their limits, clear of
the body and of each other. With `interface=<name>` ("simulated", or the one of a robot) it then drives the robot
through them and writes `log.parquet`, which `dexsim autotune log=<path>` reads. Let the robot stand clear of tables,
and keep a hand on its stop: a joint that does not follow, and Ctrl-C, make it hold still; the log so far is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dexsim import settings
from dexsim.errors import UserError, require
from dexsim.robots import RobotSpec, load_robot
from dexsim.robots.interface import RobotInterface, find_interface, open_robot
from dexsim.runs import RunFolder
from real2sim.excitation.clearance import Clearance, between
from real2sim.excitation.drive_robot import DriveSettings, drive
from real2sim.excitation.signals import Excitation, ExcitationSettings, check_targets, make_excitation
from real2sim.excitation.targets import Targets, draw_targets, load_targets, save_targets
from real2sim.logs.files import save_log
from real2sim.logs.joint_log import JointLog

_log = logging.getLogger(__name__)

TARGETS, PICTURE, LOG = "targets.parquet", "targets.png", "log.parquet"


@dataclass(frozen=True)
class ExciteSettings:
    """Config of `dexsim excite`.

    Attributes:
        robot: section of the robot.
        excitation: what targets are to be like.
        drive: how the robot is driven.
        targets: file of targets to drive instead of new ones; they pass the same checks.
        interface: name of the robot's interface, None to only make targets.
        interface_settings: for that interface, None for none.
    """

    robot: dict[str, Any]
    excitation: ExcitationSettings
    drive: DriveSettings
    targets: str | None
    interface: str | None
    interface_settings: dict[str, Any] | None

    def __post_init__(self) -> None:
        """Refuse settings of no interface."""
        if self.interface is None:
            require(
                not self.interface_settings, "interface_settings", self.interface_settings, "null without interface"
            )


def check(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse what cannot be driven, as far as that shows before it starts."""
    options = settings.build(ExciteSettings, config)
    robot = load_robot(options.robot)
    if options.interface is not None:
        find_interface(options.interface)
    if options.targets is not None:
        load_targets(options.targets, robot)


def main(config: Mapping[str, Any], run: RunFolder) -> None:
    """Make targets, or take given ones, and drive the robot if there is one."""
    options = settings.build(ExciteSettings, config)
    robot = load_robot(options.robot)
    # A robot that cannot be reached is found out before anything is made.
    with _opened(options, robot) as interface:
        excitation = _excitation(options, robot)
        _write(excitation, robot, options, run)
        if interface is not None:
            _drive(interface, robot, excitation.targets, options, run)


def _opened(options: ExciteSettings, robot: RobotSpec) -> AbstractContextManager[RobotInterface | None]:
    if options.interface is None:
        return nullcontext()
    return open_robot(options.interface, robot, **(options.interface_settings or {}))


def _excitation(options: ExciteSettings, robot: RobotSpec) -> Excitation:
    if options.targets is None:
        return make_excitation(robot, options.excitation)
    return check_targets(robot, options.excitation, load_targets(options.targets, robot))


def _write(excitation: Excitation, robot: RobotSpec, options: ExciteSettings, run: RunFolder) -> None:
    targets = excitation.targets
    save_targets(run.path / TARGETS, targets, robot)
    draw_targets(run.path / PICTURE, targets, robot)
    share = float((targets.speed / np.array([robot.joint(name).velocity for name in robot.commands])).max())
    run.result("clearance", excitation.nearest.distance, "m")
    run.result("duration", targets.duration, "s")
    run.result("velocity_share", share, "1")
    _log.info(
        "%s: %.0f s at %g Hz, %.0f %% of the largest speed of a joint; %s",
        TARGETS, targets.duration, targets.rate_hz, 100 * share, excitation.nearest,
    )  # fmt: skip


def _drive(
    interface: RobotInterface, robot: RobotSpec, targets: Targets, options: ExciteSettings, run: RunFolder
) -> None:
    check_approach(robot, interface.read().position, targets, options.excitation.clearance_m)
    log = drive(interface, robot, targets, options.drive, lambda log: _keep(log, run.path / LOG))
    error = log.position - log.command
    for name, joints in (("arms", ~robot.is_hand), ("hands", robot.is_hand)):
        rms = float(np.sqrt(np.mean(error[:, joints] ** 2)))
        run.result(f"tracking_rms_{name}", rms, "rad", n=len(log.time))
        _log.info("%s: %.4f rad rms from their commands", name, rms)


def _keep(log: JointLog, path: Path) -> None:
    save_log(path, log)
    _log.info("%s: %.1f s, %.0f rows/s", path.name, log.duration, log.measurement_hz)


def check_approach(robot: RobotSpec, position: np.ndarray, targets: Targets, clearance_m: float) -> None:
    """Refuse a way to the first target on which links come closer than allowed, and than they are at its start.

    Args:
        robot: the robot.
        position: (J,) where it is.
        targets: where it is to go.
        clearance_m: allowed.

    Raises:
        UserError: naming the two links.
    """
    start = np.clip(position, *robot.command_limits.T)
    time, way = between(np.array([0.0, 1.0]), np.stack([start, targets.command[0]]))
    joints = robot.expand_coupled(way)
    clearance = Clearance(robot)
    allowed = min(clearance_m, clearance.nearest(time[:1], joints[:1])[0].distance - 1e-3)
    nearest = clearance.nearest(time, joints)[0]
    if nearest.distance < allowed:
        links = " and ".join(nearest.links)
        raise UserError(
            f"the way to the first target brings {links} within {nearest.distance:.3f} m of each other: must be at "
            f"least {allowed:.3f} m; move the arms aside by hand"
        )
