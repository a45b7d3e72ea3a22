"""What drives a robot joint by joint, real or simulated: read where it is, send where it shall be.

Robots are found by name among the entry points of the group `dexsim.robot_interfaces`, so that nothing here imports a
vendor's client. An entry point names a function `(robot: RobotSpec, **settings) -> RobotInterface`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from dexsim.errors import UserError, unknown
from dexsim.registration import entry_points, load
from dexsim.robots import RobotSpec

_GROUP = "dexsim.robot_interfaces"


@dataclass(frozen=True)
class JointReading:
    """What was measured at one time.

    Attributes:
        time: s, on the interface's clock.
        position: (J,) rad.
        velocity: (J,) rad/s.
        effort: (J,) N m, the drives' own estimate.
    """

    time: float
    position: np.ndarray
    velocity: np.ndarray
    effort: np.ndarray


class RobotInterface(Protocol):
    """A robot that follows joint targets; a context manager that closes it.

    Attributes:
        joints: names of its J joints, in the order of all arrays.
    """

    joints: tuple[str, ...]

    def read(self) -> JointReading:
        """The latest measurement."""
        ...

    def command(self, position: np.ndarray) -> None:
        """Send targets (J,) in rad; they hold until the next."""
        ...

    def wait_until(self, time: float) -> None:
        """Return once the interface's clock, which starts at 0, has come to a time in s."""
        ...

    def close(self) -> None:
        """Let go of the robot, which stays where it is."""
        ...

    def __enter__(self) -> RobotInterface:
        """Itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        ...


def open_robot(name: str, robot: RobotSpec, /, **settings: Any) -> RobotInterface:
    """Connect to a robot.

    Args:
        name: of an installed interface, "simulated" for one.
        robot: what it should be.
        settings: of the interface.

    Raises:
        UserError: for a name that none has, or settings that it does not take.
    """
    make = load(find_interface(name))
    try:
        inspect.signature(make).bind(robot, **settings)
    except TypeError as error:
        raise UserError(f"interface_settings = {settings}: interface {name!r} does not take them ({error})") from None
    return make(robot, **settings)


def find_interface(name: str) -> EntryPoint:
    """Return the entry point of an interface.

    Raises:
        UserError: for a name that none has.
    """
    points = entry_points(_GROUP)
    if name not in points:
        raise unknown(f"interface = {name!r}: no robot interface of that name", name, points)
    return points[name]
