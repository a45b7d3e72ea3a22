"""Logs as messages of an MCAP file (`dexsim.robots.messages`), also with what ROS nodes make of them.

Joints may come in any order, another one in each message. A command may be for some of the joints only: the others keep
theirs. States may be of more joints than are commanded, such as those of legs: these are left out.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dexsim.errors import UserError, one_line
from dexsim.robots.messages import COMMAND_TOPIC, ENCODING, ROBOT_RECORD, STATE_TOPIC, JointMessage, decode
from real2sim.logs.readers.recording import KINDS, TIME, Recording, listed, shown

_log = logging.getLogger(__name__)

Message = tuple[int, JointMessage]


def read_mcap(path: Path) -> Recording:
    """Reads an MCAP file.

    A row is a state, with the command sent last at or before it; states before a joint's first command are left out.

    Raises:
        UserError: If it is truncated, or has no such messages.
    """
    messages, metadata = _messages(path)
    commanded, sent, targets = _commands(_some(messages, COMMAND_TOPIC, path), path)
    measured, states = _states(_some(messages, STATE_TOPIC, path), path)
    held = np.searchsorted(sent, measured, side="right") - 1
    rows = held >= 0
    if not rows.any():
        raise UserError(f"{path.name}: no state on {STATE_TOPIC} comes after the first command on {COMMAND_TOPIC}")
    columns = {TIME: (measured[rows] - measured[rows][0]) * 1e-9}
    columns.update({f"command.{name}": targets[held[rows], i] for i, name in enumerate(commanded)})
    for kind, joints in states.items():
        columns.update({f"{kind}.{name}": values[rows] for name, values in joints.items() if name in commanded})
    others = [name for name in states["position"] if name not in commanded]
    if others:
        _log.warning("%s: joints that are never commanded are left out: %s", path.name, ", ".join(others))
    return Recording(path, columns, metadata, path.stem)


def _messages(path: Path) -> tuple[dict[str, list[Message]], dict[str, str]]:
    """Messages of both topics with their times in ns, oldest first, and the metadata."""
    from mcap.reader import make_reader

    messages: dict[str, list[Message]] = {COMMAND_TOPIC: [], STATE_TOPIC: []}
    metadata: dict[str, str] = {}
    with _reading(path), path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        for record in reader.iter_metadata():
            metadata.update(record.metadata if record.name == ROBOT_RECORD else {})
        for _, channel, message in reader.iter_messages(messages):
            encoding = channel.message_encoding
            if encoding not in (ENCODING, ""):
                raise UserError(f"messages on {channel.topic} are encoded as {shown(encoding)}: must be {ENCODING!r}")
            messages[channel.topic].append((message.log_time, decode(message.data)))
    return messages, metadata


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
    except Exception as error:  # whatever the bytes make of the reader, the decompressor and their lengths
        what = one_line(error)[:300] or type(error).__name__
        raise UserError(f"{path.name}: not a whole MCAP file ({what}); `mcap recover` may mend it") from None


def _some(messages: dict[str, list[Message]], topic: str, path: Path) -> list[Message]:
    """The messages of a topic; raises UserError where there are none, with what the file has in their place."""
    from mcap.reader import make_reader

    if messages[topic]:
        return messages[topic]
    with _reading(path), path.open("rb") as file:
        count = Counter(channel.topic for _, channel, _ in make_reader(file).iter_messages())
    raise UserError(f"{path.name}: no messages on {topic}; it has: {listed(name for name, _ in count.most_common())}")


def _commands(messages: Sequence[Message], path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Joints, times (T,) in ns and targets (T, J) in rad, from where every joint has one."""
    joints = list(dict.fromkeys(name for _, message in messages for name in message.names))
    place, last = {name: i for i, name in enumerate(joints)}, np.full((len(messages), len(joints)), -1)
    targets = np.zeros((len(messages), len(joints)))
    for row, (_, message) in enumerate(messages):
        _check_twice(message, COMMAND_TOPIC, path)
        own = [place[name] for name in message.names]
        targets[row, own], last[row, own] = message.position, row
    last = np.maximum.accumulate(last, axis=0)
    whole = (last >= 0).all(axis=1)
    return joints, _times(messages)[whole], np.take_along_axis(targets, last, axis=0)[whole]


def _states(messages: Sequence[Message], path: Path) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """Times (T,) in ns and values (T,) by kind and joint; all messages must be of the same joints, in any order."""
    first = messages[0][1]
    _check_twice(first, STATE_TOPIC, path)
    orders = {first.names: list(range(len(first.names)))}
    for count, (_, message) in enumerate(messages):
        if message.names not in orders and sorted(message.names) == sorted(first.names):
            orders[message.names] = [message.names.index(name) for name in first.names]
        if message.names not in orders or _kinds(message) != _kinds(first):
            raise UserError(
                f"{path.name}: message {count} on {STATE_TOPIC} has other joints or values than the first one"
            )
    columns = {}
    for kind in _kinds(first):
        values = np.array([_in_order(getattr(each, kind), orders[each.names]) for _, each in messages], dtype=float)
        columns[kind] = dict(zip(first.names, values.T, strict=True))
    return _times(messages), columns


def _in_order(values: Sequence[float], order: Iterable[int]) -> list[float]:
    return [values[i] for i in order]


def _kinds(message: JointMessage) -> list[str]:
    return [kind for kind in KINDS[1:] if getattr(message, kind) is not None]


def _times(messages: Sequence[Message]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.array([time for time, _ in messages], dtype=np.uint64)


def _check_twice(message: JointMessage, topic: str, path: Path) -> None:
    twice = [name for name, count in Counter(message.names).items() if count > 1]
    if twice:
        raise UserError(f"{path.name}: joint {shown(twice[0])} is twice in the messages on {topic}")
