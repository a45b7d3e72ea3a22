"""Logs written as other people's recorders write them: MCAP files, CSV files, LeRobot datasets of v2 and v3."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dexsim.errors import UserError
from dexsim.robots.messages import COMMAND_TOPIC, STATE_TOPIC, MessageWriter
from real2sim.logs.files import load_log
from real2sim.logs.joint_log import JointLog
from tests.real2sim.logged import ROBOT, columns_of

START_NS = 1_790_000_000_123_456_789
Body = dict[str, Any]


def refusal(path: Path, **options: Any) -> str:
    """The one line with which a log is refused."""
    with pytest.raises(UserError) as caught:
        load_log(path, options.pop("robot", ROBOT), **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1200
    return str(caught.value)


def assert_same(read: JointLog, log: JointLog) -> None:
    """A log was read, whatever its file rounded."""
    assert read.joints == log.joints
    for kind in ("time", "command", "position"):
        np.testing.assert_allclose(getattr(read, kind), getattr(log, kind), atol=1e-5, err_msg=kind)


# --- CSV


def csv_text(columns: dict[str, Any], separator: str = ",") -> str:
    """Columns as CSV; texts stand there as they are."""
    rows = zip(*columns.values(), strict=True)
    lines = [separator.join(v if isinstance(v, str) else f"{v:.19g}" for v in row) for row in rows]
    return "\n".join([separator.join(columns), *lines, ""])


def write_csv(path: Path, log: JointLog) -> Path:
    """A log as CSV."""
    path.write_text(csv_text(columns_of(log)))
    return path


# --- MCAP


def write_mcap(path: Path, log: JointLog, hand: str = "fourier") -> Path:
    """States at 50 Hz, commands when they change, 3 ms before the state that first sees them."""
    assert log.velocity is not None and log.effort is not None
    with MessageWriter(path, log.robot, hand) as writer:
        for i, time in enumerate(log.time):
            now = START_NS + round(time * 1e9)
            if i == 0 or (log.command[i] != log.command[i - 1]).any():
                writer.command(now - 3_000_000, log.joints, log.command[i])
            writer.state(now, log.joints, log.position[i], log.velocity[i], log.effort[i])
    return path


def write_bodies(
    path: Path,
    log: JointLog,
    state: Callable[[int, Body], Sequence[Body]] = lambda row, body: [body],
    command: Callable[[int, Body], Sequence[Body]] = lambda row, body: [body],
    topics: tuple[str, str] = (COMMAND_TOPIC, STATE_TOPIC),
    encoding: str = "json",
) -> Path:
    """A log as JSON messages whose bodies are changed, one into several."""
    from mcap.writer import Writer

    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        channels = [writer.register_channel(topic, encoding, 0) for topic in topics]
        for row, time in enumerate(log.time):
            now, names = START_NS + round(time * 1e9), list(log.joints)
            values = {kind: getattr(log, kind)[row].tolist() for kind in ("position", "velocity", "effort")}
            sent = command(row, {"names": names, "position": log.command[row].tolist()})
            measured = state(row, {"names": names, **values})
            for channel, bodies in zip(channels, (sent, measured), strict=True):
                for body in bodies:
                    writer.add_message(channel, now, json.dumps(body).encode(), now)
        writer.finish()
    return path


# --- LeRobot

# Where our joints are among the 44 values, by hand: the hands have pinky, ring, middle, index, thumb pitch, thumb yaw.
PLACES = [*range(7), 12, 11, 10, 9, 8, 7, *range(22, 29), 34, 33, 32, 31, 30, 29]
# All hand joints close with rising values there, as they count from 0 when open.
SIGNS = np.where(np.subtract(ROBOT.closed_position, ROBOT.open_position) < 0, -1.0, 1.0) * ROBOT.is_hand
SIGNS[~np.array(ROBOT.is_hand)] = 1.0


def write_lerobot(folder: Path, log: JointLog, episodes: int = 2, modality: bool = True, **info: Any) -> Path:
    """A dataset whose last episode is the log; the others are as long, and of zeros."""
    data, meta = folder / "data" / "chunk-000", folder / "meta"
    data.mkdir(parents=True)
    meta.mkdir()
    content = {"codebase_version": "v2.0", "robot_type": "GR1ArmsOnly", "total_episodes": episodes, "chunks_size": 1000}
    (meta / "info.json").write_text(json.dumps({**content, **info}))
    if modality:
        parts = {"left_arm": (0, 7), "left_hand": (7, 13), "right_arm": (22, 29), "right_hand": (29, 35)}
        slices = {part: {"start": start, "end": end} for part, (start, end) in parts.items()}
        (meta / "modality.json").write_text(json.dumps({"state": slices, "action": slices}))
    for episode in range(episodes):
        columns: list[Any] = [np.asarray(log.time, np.float32)]
        for values in (log.position, log.command):
            rows = np.full((len(log.time), 44), 0.7)
            rows[:, PLACES] = values * SIGNS * (episode == episodes - 1)
            columns.append(pa.array(rows.tolist()))
        table = pa.table(columns, names=["timestamp", "observation.state", "action"])
        pq.write_table(table, data / f"episode_{episode:06d}.parquet")
    return folder


def to_v3(folder: Path, files: int = 1) -> Path:
    """A dataset of `write_lerobot` in the layout of LeRobot v3: episodes joined in files, and a table of them."""
    data, rows, tables = folder / "data" / "chunk-000", [], []
    for episode, path in enumerate(sorted(data.glob("episode_*.parquet"))):
        table = pq.read_table(path)
        path.unlink()
        start = sum(len(each) for each in tables)
        tables.append(table.append_column("episode_index", pa.array([episode] * len(table))))
        place = {"data/chunk_index": 0, "data/file_index": episode % files, "length": len(table)}
        rows.append({"episode_index": episode, **place, "dataset_from_index": start, "tasks": ["pick"]})
    for file in range(files):
        pq.write_table(pa.concat_tables(tables[file::files]), data / f"file-{file:03d}.parquet")
    episodes = folder / "meta" / "episodes" / "chunk-000"
    episodes.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), episodes / "file-000.parquet")
    path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    change_json(folder / "meta" / "info.json", lambda info: info.update(codebase_version="v3.0", data_path=path))
    return folder


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the content of a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
