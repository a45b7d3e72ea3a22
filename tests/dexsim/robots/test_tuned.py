"""A file of a tuned robot is read, or refused in one line that says what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dexsim.errors import UserError
from dexsim.robots import load, load_robot

HEAD = "format: 1\nrobot: gr1t2\n"


def tuned(path: Path, text: str) -> dict[str, str]:
    path.write_text(text, encoding="utf-8")
    return {"name": "gr1t2", "tuned": str(path)}


def test_a_constant_takes_the_place_of_the_robot_s_own(tmp_path: Path) -> None:
    text = f"{HEAD}constants:\n  joint_stiffness: {{left_elbow_pitch_joint: 92.5}}\n"
    robot = load_robot(tuned(tmp_path / "t.yaml", text))
    assert robot.joint("left_elbow_pitch_joint").stiffness == 92.5
    assert load_robot(tuned(tmp_path / "t.yaml", f"{HEAD}constants: {{}}\n")) == load("gr1t2")


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
