"""Tests of `real2sim.logs.readers.lerobot`: episodes of v2 and v3, and everything that their metadata declare."""

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
from real2sim.logs.files import load_log
from real2sim.logs.readers.lerobot import GR1_HAND
from tests.real2sim.logged import ROBOT, make_log
from tests.real2sim.recorded import assert_same, change_json, refusal, to_v3, write_lerobot

FULL = make_log(hz=20, noise=0)
VALUES = [f"motor_{i}" for i in range(44)]
LEFT, RIGHT = ROBOT.arm_joints("left"), ROBOT.arm_joints("right")
NAMED = [*LEFT, *VALUES[7:22], *RIGHT, *VALUES[29:]]
Change = Callable[[dict[str, Any]], object]


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
        ({"codebase_version": "v1.6"}, {}, "codebase_version = 'v1.6': must be v2.x or v3.x"),
        ({"codebase_version": 3.0}, {}, "codebase_version = '3.0': must be v2.x or v3.x"),
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


# --- v3


@pytest.mark.parametrize(("episodes", "files"), [(2, 1), (3, 1), (3, 2)])
def test_v3_episodes_are_read_from_the_files_they_share(tmp_path: Path, episodes: int, files: int) -> None:
    folder = to_v3(write_lerobot(tmp_path / "set", FULL, episodes, fps=20), files)
    read = load_log(folder, ROBOT, episode=episodes - 1)
    assert_same(read, FULL)
    assert read.name == f"set_episode_{episodes - 1:06d}"


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    table = change(pq.read_table(path))
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("data", lambda t: t.slice(0, len(t) - 3), "episode = 1: has 158 rows there, meta/episodes says 161"),
        ("data", lambda t: t.drop_columns(["episode_index"]), "has no column 'episode_index'"),
        ("data", lambda t: pa.concat_tables([t.slice(200), t.slice(0, 200)]), "rows of other episodes stand between"),
        ("meta/episodes", lambda t: t.slice(0, 1), "episode = 1: meta/episodes has no such episode"),
        ("meta/episodes", lambda t: t.drop_columns(["data/file_index"]), "has no column 'data/file_index'"),
        (
            "meta/episodes",
            lambda t: t.drop_columns(["data/file_index"]).append_column("data/file_index", pa.nulls(2, pa.int64())),
            "row 1: data/file_index = nan: must be a whole number",
        ),
    ],
)
def test_v3_tables_that_do_not_fit_are_named(tmp_path: Path, file: str, change: Any, expected: str) -> None:
    folder = to_v3(write_lerobot(tmp_path / "set", FULL))
    rewrite(folder / file / "chunk-000" / "file-000.parquet", change)
    assert expected in refusal(folder, episode=1)


@pytest.mark.parametrize(
    "template",
    ["data/{chunk_index.__class__}", "../{chunk_index}.parquet", "/etc/{file_index}", "data/{}", "data/{video_key}", 3],
)
def test_a_template_reaches_files_of_the_dataset_only(tmp_path: Path, template: Any) -> None:
    folder = to_v3(write_lerobot(tmp_path / "set", FULL))
    change_json(folder / "meta" / "info.json", lambda info: info.update(data_path=template))
    assert f"data_path = {template!r}: must be" in refusal(folder, episode=1)


# --- numbers and meanings


@pytest.mark.parametrize("v3", [False, True])
@pytest.mark.parametrize("value", [0, -1, "1000", None, 1.5, True, float("nan"), [], {}])
@pytest.mark.parametrize("key", ["chunks_size", "total_episodes"])
def test_counts_that_are_none_are_named(tmp_path: Path, key: str, value: Any, v3: bool) -> None:
    folder = write_lerobot(tmp_path / "set", FULL, **{key: value})
    line = refusal(to_v3(folder) if v3 else folder, episode=1)
    assert line == f"set: {key} = {value!r}: must be a whole number of at least 1"


def test_a_count_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = write_lerobot(tmp_path / "set", FULL)
    change_json(folder / "meta" / "info.json", lambda info: info.pop("total_episodes"))
    assert refusal(folder) == "set: meta/info.json has no total_episodes"


@pytest.mark.parametrize("value", [0, -20, None, "20", True, float("nan"), float("inf"), 10**400, []])
def test_a_rate_that_is_none_is_named(tmp_path: Path, value: Any) -> None:
    assert "fps = " in (line := refusal(write_lerobot(tmp_path / "set", FULL, fps=value), episode=1))
    assert "must be a number above 0" in line


def test_a_rate_is_that_of_the_timestamps(tmp_path: Path) -> None:
    assert_same(load_log(write_lerobot(tmp_path / "set", FULL, fps=20), ROBOT, episode=1), FULL)
    line = refusal(write_lerobot(tmp_path / "other", FULL, fps=30), episode=1)
    assert "fps = 30, but its timestamps are 0.05 s apart (20 rows/s)" in line


def entries(**declared: Any) -> Change:
    return lambda content: [entry.update(declared) for group in content.values() for entry in group.values()]


@pytest.mark.parametrize(
    "declared",
    [
        {"absolute": True}, {"absolute": None}, {"rotation_type": None}, {"dtype": "float64"}, {"delta": False},
        {"range": [-4, 4]}, {"unit": "rad"}, {"representation": "ABSOLUTE"}, {"original_key": None},
    ],
)  # fmt: skip
def test_what_is_declared_as_it_is_read_is_read(tmp_path: Path, declared: dict[str, Any]) -> None:
    folder = write_lerobot(tmp_path / "set", FULL)
    change_json(folder / "meta" / "modality.json", entries(**declared))
    assert_same(load_log(folder, ROBOT, episode=1), FULL)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"absolute": False}, "action.left_arm: absolute = False: must be absolute angles of joints"),
        ({"absolute": "no"}, "action.left_arm: absolute = 'no': must be"),
        ({"representation": "relative"}, "representation = 'relative': must be absolute"),
        ({"action_type": "joint_velocity"}, "action_type = 'joint_velocity': must be absolute"),
        ({"is_delta": True}, "is_delta = True: must be absolute"),
        ({"rotation_type": "quaternion"}, "rotation_type = 'quaternion': must be null"),
        ({"unit": "m"}, "the unit of action[0:7] is 'm': must be rad or deg"),
        ({"range": [-0.01, 0.01]}, "beyond its range [-0.01, 0.01]"),
        ({"range": "wide"}, "range = 'wide' of"),
        ({"start": -1}, "start = -1: must be a whole number of at least 0"),
        ({"start": "0"}, "start = '0': must be a whole number of at least 0"),
        ({"end": True}, "end = True: must be a whole number of at least 0"),
        ({"start": 0, "end": 5}, "is action[0:5]: must be 7 joints"),
        ({"original_key": 3}, "original_key = 3: must be the name of a column"),
        ({"original_key": "ee"}, "has no column 'ee'"),
    ],
)
def test_what_is_declared_otherwise_is_refused(tmp_path: Path, declared: dict[str, Any], expected: str) -> None:
    folder = write_lerobot(tmp_path / "set", FULL)
    change_json(folder / "meta" / "modality.json", lambda content: entries(**declared)({"action": content["action"]}))
    assert expected in refusal(folder, episode=1)


@pytest.mark.parametrize("content", ["[]", "{", "[" * 100_000, '{"action": []}', '{"action": {"left_arm": 3}}'])
def test_modalities_that_are_none_are_named(tmp_path: Path, content: str) -> None:
    folder = write_lerobot(tmp_path / "set", FULL)
    (folder / "meta" / "modality.json").write_text(content)
    assert "modality.json" in refusal(folder)


def features(state: Any, action: Any = None, **declared: Any) -> dict[str, Any]:
    action = state if action is None else action
    return {"observation.state": {"shape": [44], "names": state}, "action": {"names": action, **declared}}


SWAPPED = [*NAMED[:3], NAMED[4], NAMED[3], *NAMED[5:]]


@pytest.mark.parametrize(
    "names",
    [
        VALUES, None, [], {"motors": VALUES}, {name: i for i, name in enumerate(VALUES)}, NAMED, list(range(44)),
        [f"{name}.pos" for name in NAMED], ["leftElbowPitch" if "left_elbow" in name else name for name in NAMED],
    ],
)  # fmt: skip
def test_names_that_say_what_is_read_are_read(tmp_path: Path, names: Any) -> None:
    read = load_log(write_lerobot(tmp_path / "set", FULL, features=features(names)), ROBOT, episode=1)
    assert_same(read, FULL)


def test_joints_that_are_named_go_by_name(tmp_path: Path) -> None:
    read = load_log(write_lerobot(tmp_path / "set", FULL, features=features(SWAPPED)), ROBOT, episode=1)
    for kind in ("command", "position"):
        elbow, wrist = getattr(FULL, kind)[:, 3], getattr(FULL, kind)[:, 4]
        np.testing.assert_allclose(getattr(read, kind)[:, 3:5], np.stack([wrist, elbow], axis=1), atol=1e-12)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (features(NAMED, SWAPPED), "are not the same joints in the same order"),
        (features(VALUES, VALUES[1:] + VALUES[:1]), "are not the same joints in the same order"),
        (features(VALUES, ["x", "y", "z", "roll", *VALUES[4:]]), "'x' of action[0:7] is not one of the part's joints"),
        (features(VALUES, [f"delta_{i}" for i in range(44)]), "'delta_0' of action[0:7] is not one of the part's"),
        (features([f"{name}.vel" for name in NAMED]), "is not one of the part's joints"),
        (features([*RIGHT, *NAMED[7:]]), "'right_shoulder_pitch_joint' of action[0:7] is not one of the part's"),
        (features(NAMED[:1] * 7 + NAMED[7:]), "'left_shoulder_pitch_joint' is there twice"),
        (features(VALUES[:40]), "names of observation.state: must be one for each of its values"),
        (features("motors"), "must be one for each of its values"),
        (features(VALUES, absolute=False), "meta/info.json: action: absolute = False: must be absolute"),
        (features(VALUES, unit="mm"), "the unit of action[0:7] is 'mm': must be rad or deg"),
        ({"action": 3}, "features: must be an object with one for each column"),
        ([1], "features: must be an object with one for each column"),
    ],
)
def test_names_that_say_otherwise_are_refused(tmp_path: Path, declared: Any, expected: str) -> None:
    assert expected in refusal(write_lerobot(tmp_path / "set", FULL, features=declared), episode=1)


def test_degrees_that_are_declared_are_converted(tmp_path: Path) -> None:
    folder = write_lerobot(tmp_path / "set", FULL, features=features(VALUES, unit="deg"))

    def in_degrees(table: pa.Table) -> pa.Table:
        rows = pa.array([[float(np.rad2deg(v)) for v in row] for row in table["action"].to_pylist()])
        return table.set_column(table.column_names.index("action"), "action", rows)

    rewrite(folder / "data" / "chunk-000" / "episode_000001.parquet", in_degrees)
    assert_same(load_log(folder, ROBOT, episode=1), FULL)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (lambda n: pa.array(np.zeros(n)), "action[0:7] of 0 values: must be 7 joints in each row"),
        (lambda n: pa.array([[0.0] * (44 - (i == 5)) for i in range(n)]), "action[0:7] of 43, 44 values: must be 7"),
        (lambda n: pa.array([None if i == 5 else [0.0] * 44 for i in range(n)]), "action[0:7] of 0, 44 values"),
        (lambda n: pa.array([["a"] * 44] * n), "column 'action' holds values of type string: must be numbers"),
        (lambda n: pa.array([[None] * 44] * n, pa.list_(pa.float64())), "row 0: command of left_shoulder_pitch_joint"),
        (lambda n: pa.nulls(n), "action[0:7] of 0 values"),
    ],
)
def test_rows_that_are_no_lists_of_numbers_are_refused(tmp_path: Path, rows: Any, expected: str) -> None:
    folder = write_lerobot(tmp_path / "set", FULL)
    path = folder / "data" / "chunk-000" / "episode_000001.parquet"
    rewrite(path, lambda table: table.drop_columns(["action"]).append_column("action", rows(len(table))))
    assert expected in refusal(folder, episode=1)
