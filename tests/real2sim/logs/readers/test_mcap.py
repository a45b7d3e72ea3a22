"""Tests of `real2sim.logs.readers.mcap` and `dexsim.robots.messages`: what was sent is read, ROS' habits included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexsim.errors import UserError
from dexsim.robots.messages import COMMAND_TOPIC, STATE_TOPIC, JointMessage, MessageWriter, decode, encode
from real2sim.logs.files import load_log
from tests.real2sim.logged import ROBOT, make_log
from tests.real2sim.recorded import START_NS, Body, assert_same, refusal, write_bodies, write_mcap

ARM = make_log(ROBOT.arm_joints("left"))


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


# --- ROS


def shuffled(row: int, body: Body) -> list[Body]:
    order = np.random.default_rng(row).permutation(len(body["names"]))
    return [{key: [values[i] for i in order] for key, values in body.items()}]


def named(row: int, body: Body) -> list[Body]:
    stamp = {"stamp": {"sec": 1, "nanosec": 2}, "frame_id": ""}
    return [{"header": stamp, "name": body["names"], **{k: v for k, v in body.items() if k != "names"}}]


@pytest.mark.parametrize("empty", [("velocity", "effort"), ("effort",), ("velocity",)])
@pytest.mark.parametrize("value", [[], None])
def test_an_empty_list_says_that_nothing_was_measured(tmp_path: Path, empty: tuple[str, ...], value: Any) -> None:
    path = write_bodies(tmp_path / "a.mcap", ARM, lambda row, body: [{**body, **dict.fromkeys(empty, value)}])
    read = load_log(path, ROBOT)
    assert_same(read, ARM)
    assert [kind for kind in ("velocity", "effort") if getattr(read, kind) is None] == list(empty)


def test_commands_may_have_empty_lists_too(tmp_path: Path) -> None:
    path = write_bodies(tmp_path / "a.mcap", ARM, command=lambda row, body: [{**body, "velocity": [], "effort": []}])
    assert_same(load_log(path, ROBOT), ARM)


def test_values_of_some_messages_only_are_refused(tmp_path: Path) -> None:
    path = write_bodies(tmp_path / "a.mcap", ARM, lambda row, body: [{**body, "effort": []} if row == 3 else body])
    assert "message 3 on /joint/state has other joints or values than the first one" in refusal(path)


@pytest.mark.parametrize("change", [shuffled, named])
def test_joints_go_by_name_in_each_message(tmp_path: Path, change: Callable[[int, Body], list[Body]]) -> None:
    assert_same(load_log(write_bodies(tmp_path / "a.mcap", ARM, change, change), ROBOT), ARM)


def test_a_command_of_some_joints_leaves_the_others_theirs(tmp_path: Path) -> None:
    def halves(row: int, body: Body) -> list[Body]:
        parts = [slice(0, 3), slice(3, None)] if row == 0 else [slice(0, 3)] if row % 2 else [slice(3, None)]
        return [{key: values[part] for key, values in body.items()} for part in parts]

    read = load_log(write_bodies(tmp_path / "a.mcap", ARM, command=halves), ROBOT)
    rows = np.arange(len(ARM.time))
    np.testing.assert_array_equal(
        read.command[:, :3], ARM.command[np.where(rows % 2, rows, np.maximum(rows - 1, 0)), :3]
    )
    np.testing.assert_array_equal(read.command[:, 3:], ARM.command[np.where(rows % 2, rows - 1, rows), 3:])


def test_joints_that_are_never_commanded_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def more(row: int, body: Body) -> list[Body]:
        kinds = {kind: [0.5, *body[kind]] for kind in ("position", "velocity", "effort")}
        return [{"names": ["left_hip_roll", *body["names"]], **kinds}]

    assert_same(load_log(write_bodies(tmp_path / "a.mcap", ARM, more), ROBOT), ARM)
    assert "joints that are never commanded are left out: left_hip_roll" in caplog.text


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ((COMMAND_TOPIC, "/joint_states"), "no messages on /joint/state; it has: /joint/command, /joint_states"),
        (("/arm/commands", STATE_TOPIC), "no messages on /joint/command; it has: /arm/commands, /joint/state"),
        (("/a\nb", "/c"), "no messages on /joint/command; it has: /a\\nb, /c"),
    ],
)
def test_topics_that_are_there_are_named(tmp_path: Path, topics: tuple[str, str], expected: str) -> None:
    assert expected in refusal(write_bodies(tmp_path / "a.mcap", ARM, topics=topics))


def test_messages_in_another_encoding_are_refused(tmp_path: Path) -> None:
    assert "are encoded as 'cdr': must be 'json'" in refusal(write_bodies(tmp_path / "a.mcap", ARM, encoding="cdr"))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[1]", b"3", b"null", b'"x"', b"{}", b"\xff", b"[" * 100_000, b'{"names": ["a"], "position": null}',
        b'{"names": "ab", "position": [0, 0]}', b'{"names": ["a", "b"], "position": "12"}',
        b'{"names": ["a"], "position": ["1"]}', b'{"names": ["a"], "position": [true]}',
        b'{"names": [1], "position": [0]}', b'{"names": ["a"], "position": [1' + b"0" * 400 + b"]}",
        b'{"names": ["a"], "position": [0], "velocity": 3}', b'{"names": ["a"], "position": {"a": 1}}',
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(UserError, match="not a joint message"):
        decode(body)
