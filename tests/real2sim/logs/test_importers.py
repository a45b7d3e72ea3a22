"""Tests of `real2sim.logs.importers` and `dexsim.robots.messages`: files of other kinds, whole and broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dexsim import robots
from dexsim.errors import UserError
from dexsim.robots.messages import JointMessage, MessageWriter, decode, encode
from real2sim.logs.files import load_log, save_log
from real2sim.logs.joint_log import JointLog
from real2sim.logs.readers.lerobot import GR1_HAND
from tests.real2sim.logged import ROBOT, columns_of, make_log, write_columns

FULL = make_log(hz=20, noise=0)
ARM = make_log(ROBOT.arm_joints("left"))
START_NS = 1_790_000_000_123_456_789


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_log(path, options.pop("robot", ROBOT), **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1200
    return str(caught.value)


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


def test_messages_become_the_log_that_was_sent(tmp_path: Path) -> None:
    read = load_log(write_mcap(tmp_path / "run.mcap", ARM), ROBOT)
    for kind in ("command", "position", "velocity", "effort"):
        np.testing.assert_array_equal(getattr(read, kind), getattr(ARM, kind))
    np.testing.assert_allclose(read.time, ARM.time, atol=1e-9)
    assert (read.joints, read.name) == (ARM.joints, "run")


def test_states_before_the_first_command_are_left_out_and_orders_may_differ(tmp_path: Path) -> None:
    with MessageWriter(tmp_path / "run.mcap", "gr1t2", "fourier") as writer:
        for i, time in enumerate(ARM.time):
            now = START_NS + round(time * 1e9)
            if i >= 40:
                writer.command(now, ARM.joints[::-1], ARM.command[i, ::-1].tolist())
            writer.state(now, ARM.joints, ARM.position[i])
    read = load_log(tmp_path / "run.mcap", ROBOT)
    np.testing.assert_array_equal(read.command, ARM.command[40:])
    np.testing.assert_array_equal(read.position, ARM.position[40:])
    assert read.time[0] == 0 and read.velocity is None and read.effort is None


def test_what_was_written_before_an_error_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    with pytest.raises(RuntimeError), MessageWriter(path, "gr1t2", "fourier") as writer:
        for i, time in enumerate(ARM.time):
            writer.command(round(time * 1e9), ARM.joints, ARM.command[i])
            writer.state(round(time * 1e9), ARM.joints, ARM.position[i])
        raise RuntimeError("the robot fell")
    np.testing.assert_array_equal(load_log(path, ROBOT).position, ARM.position)


def test_values_that_are_not_finite_come_back_as_nan(tmp_path: Path) -> None:
    message = JointMessage(("a", "b"), (1.5, float("nan")), effort=(float("inf"), 0.25))
    assert json.loads(encode(message)) == {"names": ["a", "b"], "position": [1.5, None], "effort": [None, 0.25]}
    read = decode(encode(message))
    assert read.names == message.names and read.velocity is None
    np.testing.assert_array_equal(read.position, (1.5, np.nan))
    np.testing.assert_array_equal(read.effort, (np.nan, 0.25))
    log = make_log(ARM.joints)
    log.position[30, 2] = np.nan
    assert f"row 30: position of {ARM.joints[2]} is nan" in refusal(write_mcap(tmp_path / "run.mcap", log))


def test_messages_with_too_few_values_are_refused() -> None:
    with pytest.raises(UserError, match="has 2 names, but 1 values of velocity"):
        JointMessage(("a", "b"), (0.0, 0.0), velocity=(0.0,))
    with pytest.raises(UserError, match="not a joint message"):
        decode(b'{"names": ["a"]}')


def test_messages_of_another_hand_are_refused(tmp_path: Path) -> None:
    assert "hand = 'inspire', but robot 'gr1t2' has the fourier" in refusal(
        write_mcap(tmp_path / "a.mcap", ARM, "inspire")
    )


BAD_MESSAGES: dict[str, tuple[Callable[[MessageWriter], None], str]] = {
    "no messages": (lambda w: None, "no messages on /joint/command"),
    "no states": (lambda w: w.command(0, ["a"], [0.0]), "no messages on /joint/state"),
    "no command in time": (
        lambda w: (w.state(0, ["a"], [0.0]), w.command(1, ["a"], [0.0]))[1],
        "no state on /joint/state comes after the first command on /joint/command",
    ),
    "joints change": (
        lambda w: (w.command(0, ["a"], [0.0]), w.state(1, ["a"], [0.0]), w.state(2, ["b"], [0.0]))[1],
        "message 1 on /joint/state has other joints or values than the first one",
    ),
    "velocity ends": (
        lambda w: (w.command(0, ["a"], [0.0]), w.state(1, ["a"], [0.0], [0.0]), w.state(2, ["a"], [0.0]))[1],
        "message 1 on /joint/state has other joints or values than the first one",
    ),
    "joint twice": (
        lambda w: w.command(0, ["a", "a"], [0.0, 1.0]),
        "joint 'a' is twice in the messages on /joint/command",
    ),
    "unknown joint": (
        lambda w: (w.command(0, ["left_elbow_joint"], [0.0]), w.state(1, ["left_elbow_joint"], [0.0]))[1],
        "'command.left_elbow_joint' is of no joint of robot 'gr1t2'",
    ),
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_messages_that_make_no_log_are_named(tmp_path: Path, case: str) -> None:
    write, expected = BAD_MESSAGES[case]
    with MessageWriter(tmp_path / "bad.mcap", "gr1t2", "fourier") as writer:
        write(writer)
    line = refusal(tmp_path / "bad.mcap")
    assert line.startswith("bad.mcap: ") and expected in line


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


@pytest.mark.parametrize("modality", [True, False])
def test_lerobot_joints_have_our_names_order_and_signs(tmp_path: Path, modality: bool) -> None:
    read = load_log(write_lerobot(tmp_path / "set", FULL, modality=modality), ROBOT, episode=1)
    assert read.joints == ROBOT.commands and read.hand == "fourier"
    np.testing.assert_allclose(read.position, FULL.position, atol=1e-12)
    np.testing.assert_allclose(read.command, FULL.command, atol=1e-12)
    np.testing.assert_allclose(read.time, FULL.time, atol=1e-5)
    assert read.velocity is None and read.effort is None
    assert read.name == "set_episode_000001"


def test_lerobot_hand_commands_end_at_the_limits(tmp_path: Path) -> None:
    log = make_log(hz=20, noise=0)
    log.command[:, ROBOT.is_hand] *= 3
    read = load_log(write_lerobot(tmp_path / "set", log), ROBOT, episode=1)
    low, high = np.array([ROBOT.joint(name).limits for name in ROBOT.commands]).T
    hand = np.array(ROBOT.is_hand)
    np.testing.assert_allclose(read.command, np.where(hand, np.clip(log.command, low, high), log.command))


def test_the_hand_has_every_joint_once() -> None:
    assert sorted(f"L_{finger}_{role}_joint" for finger, role in GR1_HAND) == sorted(ROBOT.commands[7:13])


@pytest.mark.parametrize(
    ("info", "options", "expected"),
    [
        ({"codebase_version": "v3.0"}, {}, "codebase_version = 'v3.0': must be v2.x"),
        ({"robot_type": "aloha"}, {}, "robot_type = 'aloha': must be a GR1 with Fourier hands"),
        ({}, {"episode": 2}, "episode = 2: must be between 0 and 1"),
        ({}, {"episode": -1}, "episode = -1: must be between 0 and 1"),
        ({"total_episodes": 9}, {"episode": 5}, "episode = 5: no file data/chunk-000/episode_000005.parquet"),
        ({}, {"robot": robots.load("gr1t2_inspire")}, "robot 'gr1t2_inspire' has the inspire hand"),
    ],
)
def test_lerobot_data_of_another_kind_are_refused(
    tmp_path: Path, info: dict[str, Any], options: dict[str, Any], expected: str
) -> None:
    assert expected in refusal(write_lerobot(tmp_path / "set", FULL, **info), **options)


def test_lerobot_meta_that_are_broken_are_named(tmp_path: Path) -> None:
    folder = write_lerobot(tmp_path / "set", FULL)
    modality = json.loads((folder / "meta" / "modality.json").read_text())
    del modality["action"]["right_hand"]
    (folder / "meta" / "modality.json").write_text(json.dumps(modality))
    assert "modality.json: has no action.right_hand" in refusal(folder)
    modality["action"]["right_hand"] = {"start": 40, "end": 46}
    (folder / "meta" / "modality.json").write_text(json.dumps(modality))
    assert "action[40:46] of 44 values: must be 6 joints in each row" in refusal(folder)
    (folder / "meta" / "info.json").write_text("[]")
    assert "info.json: is of type list: must be a JSON object" in refusal(folder)
    (folder / "meta" / "info.json").write_text("{")
    assert "info.json: not readable as JSON" in refusal(folder)


def test_lerobot_episodes_without_rows_or_columns_are_refused(tmp_path: Path) -> None:
    folder = write_lerobot(tmp_path / "set", FULL)
    path = folder / "data" / "chunk-000" / "episode_000000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 0), path)
    assert "has no rows" in refusal(folder)
    pq.write_table(table.drop_columns(["action"]), path)
    assert "has no column 'action'; it has: timestamp, observation.state" in refusal(folder)


# --- broken files


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".mcap"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"empty{suffix}"
    path.touch()
    assert refusal(path).startswith(f"{path.name}: not a")


@pytest.mark.parametrize("suffix", [".parquet", ".mcap"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98, 0.9999])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"log{suffix}"
    save_log(path, ARM) if suffix == ".parquet" else write_mcap(path, ARM)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    kind = "Parquet" if suffix == ".parquet" else "MCAP"
    assert refusal(path).startswith(f"{path.name}: not a whole {kind} file")


def test_a_truncated_csv_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    columns = columns_of(ARM)
    np.savetxt(path, np.stack(list(columns.values()), axis=1), delimiter=",", header=",".join(columns), comments="")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    assert refusal(path).startswith("log.csv: not a CSV file")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    for suffix in (".parquet", ".mcap"):
        (tmp_path / f"log{suffix}").write_bytes(b"time_s,command.a\n0,1\n" * 100)
        assert f"log{suffix}: not a whole" in refusal(tmp_path / f"log{suffix}")
    (tmp_path / "log.hdf5").touch()
    assert "unknown suffix '.hdf5'; allowed: .parquet, .csv, .mcap" in refusal(tmp_path / "log.hdf5")


def test_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    assert "no such file; allowed: .parquet, .csv, .mcap, the folder of" in refusal(tmp_path / "none.parquet")
    assert "a folder without meta/info.json" in refusal(tmp_path)


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time_s,time_s\n0,0\n")
    assert refusal(path) == "log.csv: column 'time_s' is there twice"


def test_columns_that_pandas_adds_are_passed_over(tmp_path: Path) -> None:
    columns = columns_of(make_log(ROBOT.commands[:7]))
    path = write_columns(tmp_path / "log.parquet", {**columns, "__index_level_0__": np.arange(len(columns["time_s"]))})
    assert load_log(path, ROBOT).joints == ROBOT.commands[:7]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"time_s;command.left_elbow_pitch_joint\n0.0;0.1\n", "columns must be separated by commas"),
        ("time_s,Gelenkstärke\n0.0,0.1\n".encode("latin-1"), "not a CSV file in UTF-8"),
    ],
)
def test_csv_files_of_another_kind_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    assert expected in refusal(path)


def test_csv_cells_without_a_number_are_named(tmp_path: Path) -> None:
    columns = columns_of(ARM)
    lines = [
        ",".join(columns),
        *(",".join(f"{v:.9g}" for v in row) for row in np.stack(list(columns.values()), axis=1)),
    ]
    cells = lines[13].split(",")
    cells[list(columns).index(f"position.{ARM.joints[3]}")] = ""
    (tmp_path / "log.csv").write_text("\n".join([*lines[:13], ",".join(cells), *lines[14:]]))
    assert f"row 12: position of {ARM.joints[3]} is nan (1 such in all)" in refusal(tmp_path / "log.csv")
