"""A file of a tuned robot is read, or refused in one line that says what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dexsim.errors import UserError
from dexsim.robots import Interval, load, load_robot
from dexsim.robots.tuned import write_tuned

HEAD = "format: 1\nrobot: gr1t2\n"


def tuned(path: Path, text: str) -> dict[str, str]:
    path.write_text(text, encoding="utf-8")
    return {"name": "gr1t2", "tuned": str(path)}


def test_a_constant_takes_the_place_of_the_robot_s_own(tmp_path: Path) -> None:
    text = f"{HEAD}constants:\n  joint_stiffness: {{left_elbow_pitch_joint: 92.5}}\n"
    robot = load_robot(tuned(tmp_path / "t.yaml", text))
    assert robot.joint("left_elbow_pitch_joint").stiffness == 92.5
    assert load_robot(tuned(tmp_path / "t.yaml", f"{HEAD}constants: {{}}\n")) == load("gr1t2")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    robot, joint = load("gr1t2"), "left_elbow_pitch_joint"
    values = {"joint_lag": np.full(26, 0.03)}
    sure = (Interval("joint_lag", joint, 0.02, 0.045), Interval("joint_bias", joint, -0.001, 0.002))
    write_tuned(tmp_path / "t.yaml", robot, values, {"tool": "mine"}, sure)
    read = load_robot({"name": "gr1t2", "tuned": str(tmp_path / "t.yaml")})
    assert read.intervals == sure
    assert read.joint(joint).lag == 0.03
    assert f"{joint}: [0.02, 0.045]" in (tmp_path / "t.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEAD}constants:\n", r"robot\.tuned: constants = None: must be a table of constants; \{\} for none"),
        (f"{HEAD}constants: [1]\n", r"constants = \[1\]: must be a table"),
        (f"{HEAD}constants:\n  joint_stiffness:\n", r"joint_stiffness = None: must have a value for each joint"),
        (f"{HEAD}constants:\n  joint_stiffness: 80\n", r"joint_stiffness = 80: must have a value for each joint"),
        (f"{HEAD}constants:\n  joint_stiffnes: {{}}\n", "no constant named 'joint_stiffnes'.*did you mean"),
        (f"{HEAD}constants:\n  joint_stiffness: {{elbow: 80}}\n", "joint_stiffness has no value for 'elbow'"),
        (f"{HEAD}constants:\n  joint_stiffness: {{left_elbow_pitch_joint: soft}}\n", "= 'soft': must be a number"),
        (f"{HEAD}constants:\n  joint_stiffness: {{left_elbow_pitch_joint: .nan}}\n", "= nan: must be a number"),
        (f"{HEAD}constants: {{}}\nintervals: 1\n", "intervals = 1: must be a table of constants"),
        (f"{HEAD}constants: {{}}\nintervals: {{joint_lg: {{}}}}\n", "intervals: no constant named 'joint_lg'.*mean"),
        (
            f"{HEAD}constants: {{}}\nintervals: {{joint_lag: {{left_elbow_pitch_joint: [0.04, 0.02]}}}}\n",
            r"intervals: joint_lag of left_elbow_pitch_joint = \[0.04, 0.02\]: must be \[low, high\] with 0 <= low",
        ),
        (
            f"{HEAD}constants: {{}}\nintervals: {{joint_lag: {{left_elbow_pitch_joint: 0.03}}}}\n",
            r"intervals: joint_lag of left_elbow_pitch_joint = 0.03: must be \[low, high\]",
        ),
        (f"{HEAD}", "not a tuned robot, constants missing"),
        ("", "not a tuned robot, format, robot, constants missing"),
        ("a: [", "not a YAML file"),
        ("format: 2\nrobot: gr1t2\nconstants: {}\n", "format 2; allowed: 1"),
        ("format: 1\nrobot: [gr1]\nconstants: {}\n", r"is of robot \['gr1'\]; allowed here: gr1t2"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_robot(tuned(tmp_path / "t.yaml", text))
    assert len(str(caught.value).splitlines()) == 1
