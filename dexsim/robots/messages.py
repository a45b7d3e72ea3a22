"""Joint commands and joint states as messages of an MCAP file: what the robot's runner writes and a log is read from.

Two topics of JSON messages, UTF-8, whose `log_time` is when a command was sent or a state was measured, in ns:

- `/joint/command`: `{"names": [...], "position": [...]}`, targets in rad.
- `/joint/state`: `{"names": [...], "position": [...], "velocity": [...], "effort": [...]}` in rad, rad/s and N m; the
  last two may be absent.

A value that is not finite is written as null, which JSON knows, and read as NaN. The file's metadata record "robot"
holds the names of the robot and of its hand. As in ROS, a message may call the joints `name`, values that were not
measured may be an empty list, and what else it has (`header`) is passed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsim.errors import UserError

COMMAND_TOPIC = "/joint/command"
STATE_TOPIC = "/joint/state"
ROBOT_RECORD = "robot"
ENCODING = "json"
_VALUES = ("position", "velocity", "effort")


@dataclass(frozen=True)
class JointMessage:
    """Values of J joints at one time.

    Attributes:
        names: The joints.
        position: (J,) rad; of a command, the targets.
        velocity: (J,) rad/s, None where it was not measured.
        effort: (J,) N m, None where it was not measured.
    """

    names: tuple[str, ...]
    position: tuple[float, ...]
    velocity: tuple[float, ...] | None = None
    effort: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for key in _VALUES:
            values = getattr(self, key)
            if values is not None and len(values) != len(self.names):
                raise UserError(f"a joint message has {len(self.names)} names, but {len(values)} values of {key}")


def encode(message: JointMessage) -> bytes:
    """Returns the body of a message, JSON in UTF-8."""
    body: dict[str, Any] = {"names": list(message.names)}
    for key in _VALUES:
        values = getattr(message, key)
        if values is not None:
            body[key] = [float(value) if math.isfinite(value) else None for value in values]
    return json.dumps(body, allow_nan=False).encode("utf-8")


def decode(data: bytes) -> JointMessage:
    """Returns the message of a body.

    Raises:
        UserError: If it is no such message.
    """
    try:
        body = json.loads(data.decode("utf-8"))
        names = body["names"] if "names" in body else body["name"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("names must be a list of texts")
        velocity, effort = (None if body.get(key) in (None, []) else _floats(body[key]) for key in _VALUES[1:])
        return JointMessage(tuple(names), _floats(body["position"]), velocity, effort)
    except UserError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"not a joint message: {data[:60]!r} ({type(error).__name__}: {error})") from None


class MessageWriter:
    """Writes commands and states to an MCAP file, as a context manager.

    What was written is kept when the block ends in an error: that is when a log is read. Only a killed process leaves
    a file that a reader has to recover.

    Attributes:
        path: The file; one that is there is replaced.
        robot: The robot's name, for the metadata.
        hand: Its hand.
    """

    def __init__(self, path: str | Path, robot: str, hand: str) -> None:
        self.path = Path(path)
        self.robot = robot
        self.hand = hand
        self._channels: dict[str, int] = {}
        self._writer: Any = None
        self._stream: Any = None

    def __enter__(self) -> MessageWriter:
        from mcap.writer import Writer

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.path.open("wb")
        self._writer = Writer(self._stream)
        self._writer.start(profile="", library="dexsim")
        self._writer.add_metadata(ROBOT_RECORD, {"robot": self.robot, "hand": self.hand})
        for topic, keys in ((COMMAND_TOPIC, _VALUES[:1]), (STATE_TOPIC, _VALUES)):
            self._channels[topic] = self._register(topic, keys)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._writer.finish()
        finally:
            self._stream.close()

    def command(self, time_ns: int, names: Sequence[str], position: Sequence[float]) -> None:
        """Writes targets in rad that were sent at a time in ns."""
        self._write(COMMAND_TOPIC, time_ns, JointMessage(tuple(names), tuple(position)))

    def state(
        self,
        time_ns: int,
        names: Sequence[str],
        position: Sequence[float],
        velocity: Sequence[float] | None = None,
        effort: Sequence[float] | None = None,
    ) -> None:
        """Writes what was measured at a time in ns: rad, rad/s, N m."""
        message = JointMessage(
            tuple(names),
            tuple(position),
            None if velocity is None else tuple(velocity),
            None if effort is None else tuple(effort),
        )
        self._write(STATE_TOPIC, time_ns, message)

    def _write(self, topic: str, time_ns: int, message: JointMessage) -> None:
        self._writer.add_message(self._channels[topic], time_ns, encode(message), time_ns)

    def _register(self, topic: str, keys: Sequence[str]) -> int:
        name = topic.strip("/").replace("/", "_")
        schema = self._writer.register_schema(name, "jsonschema", json.dumps(_schema(keys)).encode("utf-8"))
        return self._writer.register_channel(topic, ENCODING, schema)


def _schema(keys: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a message with these values."""
    values = {"type": "array", "items": {"type": ["number", "null"]}}
    properties: dict[str, Any] = {"names": {"type": "array", "items": {"type": "string"}}}
    properties.update({key: values for key in keys})
    required: list[str] = ["names", "position"]
    return {"type": "object", "properties": properties, "required": required}


def _floats(values: object) -> tuple[float, ...]:
    """Numbers of a message, null as NaN."""
    if not isinstance(values, list) or any(isinstance(value, (str, bool)) for value in values):
        raise TypeError("values must be a list of numbers")
    return tuple(math.nan if value is None else float(value) for value in values)
