"""Readers of logs: each makes the columns of a `Recording` from a file, as they stand there.

The names of the columns are those of the Parquet format (`real2sim.logs.files`). What they hold is checked afterwards,
in the same way for all of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dexsim.errors import UserError, one_line
from dexsim.robots import RobotSpec
from dexsim.robots.messages import COMMAND_TOPIC, ROBOT_RECORD, STATE_TOPIC, JointMessage, decode
from dexsim.robots.spec import SIDES

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

TIME = "time_s"
KINDS = ("command", "position", "velocity", "effort")

# Where the 26 joints are in the 44 values of NVIDIA's GR1 data, for folders without meta/modality.json.
GR1_SLICES = {
    part: {"start": start, "end": end}
    for part, start, end in (("left_arm", 0, 7), ("left_hand", 7, 13), ("right_arm", 22, 29), ("right_hand", 29, 35))
}
# The hand's values there, in the order of robosuite's `FourierRightHand.format_action` and its actuators. Each counts
# from 0 when open to positive when closed, whatever its sign is here. That the last is the thumb's yaw shows in the
# data: it rests at 1.74 rad, which the pitch (up to 1.22) cannot reach.
GR1_HAND = (
    ("pinky", "proximal"), ("ring", "proximal"), ("middle", "proximal"), ("index", "proximal"),
    ("thumb", "proximal_pitch"), ("thumb", "proximal_yaw"),
)  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """Columns of a file.

    Attributes:
        path: The file.
        columns: (T,) float64 each: `time_s`, `command.<joint>`, `position.<joint>` ...
        metadata: The Parquet format's keys, as far as they are known.
        name: What to call it.
    """

    path: Path
    columns: dict[str, np.ndarray]
    metadata: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read_parquet(path: Path) -> Recording:
    """Reads our own format; raises UserError for a file that is not Parquet."""
    table = _parquet_table(path)
    raw = table.schema.metadata or {}
    metadata = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in raw.items()}
    # What pandas adds where a table's index was stored as well.
    table = table.drop_columns([name for name in table.column_names if name.startswith("__index_level_")])
    return Recording(path, _columns(table, path), metadata, path.stem)


def read_csv(path: Path) -> Recording:
    """Reads a CSV file with the columns of the Parquet format and their names in the first row.

    Raises:
        UserError: If it is no table of numbers.
    """
    import pyarrow as pa
    from pyarrow import csv

    try:
        table = csv.read_csv(path)
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name}: not a CSV file in UTF-8 ({one_line(error)})") from None
    if len(names) == 1:
        raise UserError(f"{path.name}: has one column only: columns must be separated by commas")
    return Recording(path, _columns(table, path), {}, path.stem)


def read_lerobot(folder: Path, robot: RobotSpec, episode: int = 0) -> Recording:
    """Reads an episode of a LeRobot v2 dataset of NVIDIA's GR1 with Fourier hands.

    The arms' joints are taken to be in our order, the hands' in that of `GR1_HAND`. The hands' actions there are
    saturated, far beyond what the joints reach; they are clipped to the limits, as the drive does.

    Args:
        folder: With `meta/info.json` and, if it is there, `meta/modality.json`, which tells where the joints are.
        robot: Whose names and limits the columns get.
        episode: Which one, from 0.

    Raises:
        UserError: If it is another dataset, or has no such episode.
    """
    if robot.hand != "fourier":
        raise UserError(f"{folder.name}: is of Fourier hands, but robot {robot.name!r} has the {robot.hand} hand")
    info = _json(folder / "meta" / "info.json")
    path = _episode_path(folder, info, episode)
    table = _parquet_table(path)
    time = _column(table, "timestamp", path)
    columns = {TIME: _numbers(time, "timestamp", path)}
    modality_path = folder / "meta" / "modality.json"
    modality = _json(modality_path) if modality_path.exists() else {"state": GR1_SLICES, "action": GR1_SLICES}
    for kind, modal, column in (("command", "action", "action"), ("position", "state", "observation.state")):
        for part, joints in _gr1_parts(robot).items():
            if part not in modality.get(modal, {}):
                raise UserError(f"{modality_path}: has no {modal}.{part}")
            values = _slice(table, column, modality[modal][part], len(joints), path)
            columns.update({f"{kind}.{name}": sign * values[:, i] for i, (name, sign) in enumerate(joints)})
    _clip_hands(columns, robot, path)
    return Recording(path, columns, {"hand": "fourier"}, f"{folder.resolve().name}_{path.stem}")


def read_mcap(path: Path) -> Recording:
    """Reads the messages of `dexsim.robots.messages`.

    A row is a state, with the command sent last at or before it; states before the first command are left out.

    Raises:
        UserError: If it is truncated, or has no such messages.
    """
    messages, metadata = _messages(path)
    sent, commands = _stack(messages[COMMAND_TOPIC], COMMAND_TOPIC, path)
    measured, states = _stack(messages[STATE_TOPIC], STATE_TOPIC, path)
    held = np.searchsorted(sent, measured, side="right") - 1
    rows = held >= 0
    if not rows.any():
        raise UserError(f"{path.name}: no state on {STATE_TOPIC} comes after the first command on {COMMAND_TOPIC}")
    columns = {TIME: (measured[rows] - measured[rows][0]) * 1e-9}
    columns.update({f"command.{name}": values[held[rows]] for name, values in commands["position"].items()})
    for kind, joints in states.items():
        columns.update({f"{kind}.{name}": values[rows] for name, values in joints.items()})
    return Recording(path, columns, metadata, path.stem)


# --- tables


def _parquet_table(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path.name}: not a whole Parquet file ({one_line(error)})") from None


def _columns(table: pa.Table, path: Path) -> dict[str, np.ndarray]:
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise UserError(f"{path.name}: column {twice[0]!r} is there twice")
    return {name: _numbers(table[name], name, path) for name in table.column_names}


def _column(table: pa.Table, name: str, path: Path) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise UserError(f"{path.name}: has no column {name!r}; it has: {', '.join(table.column_names)}")
    return table[name]


def _numbers(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    """The column as (T,) float64, missing values as NaN."""
    import pyarrow as pa

    numeric = pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)
    if not numeric:
        raise UserError(f"{path.name}: column {name!r} holds values of type {column.type}: must be numbers")
    return column.cast(pa.float64()).to_numpy()


# --- LeRobot


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({one_line(error)})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is of type {type(content).__name__}: must be a JSON object")
    return content


def _episode_path(folder: Path, info: Mapping[str, Any], episode: int) -> Path:
    """The episode's file; raises UserError where the dataset is not one that we understand."""
    version, kind = str(info.get("codebase_version")), str(info.get("robot_type"))
    if not version.startswith("v2"):
        raise UserError(f"{folder.name}: codebase_version = {version!r}: must be v2.x")
    if not kind.startswith("GR1") or "inspire" in kind.lower():
        raise UserError(f"{folder.name}: robot_type = {kind!r}: must be a GR1 with Fourier hands")
    total = int(info.get("total_episodes", 0))
    if not 0 <= episode < total:
        raise UserError(f"{folder.name}: episode = {episode}: must be between 0 and {total - 1}")
    # Without the template's own idea of a chunk: NVIDIA's data name the episode there.
    chunk = episode // int(info.get("chunks_size", 1000))
    path = folder / "data" / f"chunk-{chunk:03d}" / f"episode_{episode:06d}.parquet"
    if not path.is_file():
        raise UserError(f"{folder.name}: episode = {episode}: no file {path.relative_to(folder)}")
    return path


def _gr1_parts(robot: RobotSpec) -> dict[str, list[tuple[str, float]]]:
    """Names and signs of our joints, by the dataset's name for a part and in its order."""
    closing = dict(zip(robot.commands, np.sign(np.subtract(robot.closed_position, robot.open_position)), strict=True))
    parts: dict[str, list[tuple[str, float]]] = {}
    for side in SIDES:
        own = {(joint.finger, joint.role): joint.name for joint in map(robot.joint, robot.parts[f"{side}_hand"])}
        hand = [own[each] for each in GR1_HAND]
        parts[f"{side}_arm"] = [(name, 1.0) for name in robot.arm_joints(side)]
        parts[f"{side}_hand"] = [(name, float(closing[name])) for name in hand]
    return parts


def _slice(table: pa.Table, column: str, where: Mapping[str, Any], width: int, path: Path) -> np.ndarray:
    """Values (T, width) from a column of lists; `where` may name another column, as modality.json does."""
    import pyarrow as pa

    column, start, end = where.get("original_key") or column, int(where["start"]), int(where["end"])
    rows = _column(table, column, path)
    is_list = pa.types.is_list(rows.type) or pa.types.is_fixed_size_list(rows.type)
    lengths = {0 if row is None else len(row) for row in rows.to_pylist()} if is_list else {0}
    if end - start != width or len(lengths) > 1 or end > max(lengths, default=end):
        has = ", ".join(map(str, sorted(lengths)))
        raise UserError(f"{path.name}: {column}[{start}:{end}] of {has} values: must be {width} joints in each row")
    flat = pa.chunked_array([chunk.flatten() for chunk in rows.chunks], rows.type.value_type)
    values = _numbers(flat, column, path)
    return values.reshape(len(rows), max(lengths, default=end))[:, start:end]


def _clip_hands(columns: dict[str, np.ndarray], robot: RobotSpec, path: Path) -> None:
    clipped = 0
    for name, is_hand in zip(robot.commands, robot.is_hand, strict=True):
        column = f"command.{name}"
        if is_hand:
            limited = np.clip(columns[column], *robot.joint(name).limits)
            clipped += bool(np.any(limited != columns[column]))
            columns[column] = limited
    if clipped:
        _log.info("%s: commands of %d hand joints are clipped to the joints' limits", path.name, clipped)


# --- MCAP


def _messages(path: Path) -> tuple[dict[str, list[tuple[int, JointMessage]]], dict[str, str]]:
    """Messages of both topics with their times in ns, oldest first, and the metadata."""
    from mcap.reader import make_reader

    messages: dict[str, list[tuple[int, JointMessage]]] = {COMMAND_TOPIC: [], STATE_TOPIC: []}
    metadata: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            for record in reader.iter_metadata():
                metadata.update(record.metadata if record.name == ROBOT_RECORD else {})
            for _, channel, message in reader.iter_messages(messages):
                messages[channel.topic].append((message.log_time, decode(message.data)))
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
    except Exception as error:  # whatever the bytes make of the reader, the decompressor and their lengths
        what = one_line(error) or type(error).__name__
        raise UserError(f"{path.name}: not a whole MCAP file ({what}); `mcap recover` may mend it") from None
    return messages, metadata


def _stack(
    messages: list[tuple[int, JointMessage]], topic: str, path: Path
) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """Times (T,) in ns and values (T,) by kind and joint; all messages must be of the same joints."""
    if not messages:
        raise UserError(f"{path.name}: no messages on {topic}")
    first = messages[0][1]
    twice = [name for name, count in Counter(first.names).items() if count > 1]
    if twice:
        raise UserError(f"{path.name}: joint {twice[0]!r} is twice in the messages on {topic}")
    columns = {}
    for kind in KINDS[1:]:
        _check_alike(first, (message for _, message in messages), kind, topic, path)
        if getattr(first, kind) is not None:
            values = np.array([getattr(message, kind) for _, message in messages], dtype=float)
            columns[kind] = dict(zip(first.names, values.T, strict=True))
    return np.array([time for time, _ in messages]), columns


def _check_alike(first: JointMessage, messages: Iterable[JointMessage], kind: str, topic: str, path: Path) -> None:
    for count, message in enumerate(messages):
        if message.names != first.names or (getattr(message, kind) is None) != (getattr(first, kind) is None):
            raise UserError(f"{path.name}: message {count} on {topic} has other joints or values than the first one")
