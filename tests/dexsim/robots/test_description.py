"""Descriptions of robots: what is refused by name, and which joint is the mirror image of which."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasks
from dexsim.control.symmetry import mirror_commands
from dexsim.errors import UserError
from dexsim.paths import assets_dir
from dexsim.robots import ROBOTS, RobotSpec, load, load_robot, with_content
from dexsim.robots.description import build, read_description
from dexsim.robots.mirror import Frames
from dexsim.robots.spec import SIDES

ROOT = Path(__file__).parents[3]
ELBOW, INDEX = "left_elbow_pitch_joint", "R_index_proximal_joint"
CONTENT = read_description(assets_dir() / "robots" / "gr1t2.json")


@pytest.fixture(params=ROBOTS)
def robot(request: pytest.FixtureRequest) -> RobotSpec:
    return load(request.param)


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    change(content)
    return content


def joint(content: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in content["joints"] if row["name"] == name)


def without(part: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The robot without some of its joints, and what hangs from them."""
    content = copy.deepcopy(CONTENT)
    gone = {row["name"] for row in content["joints"] if part(row)}
    links = {row["child"] for row in content["joints"] if part(row)}
    content["joints"] = [row for row in content["joints"] if not part(row)]
    content["commands"] = [name for name in content["commands"] if name not in gone]
    content["links"] = {name: row for name, row in content["links"].items() if name not in links}
    for key in ("fingertips", "palms"):
        content[key] = [row for row in content[key] if row["link"] not in links]
    content["postures"] = {n: {j: a for j, a in p.items() if j not in gone} for n, p in content["postures"].items()}
    return content


# -- sides -------------------------------------------------------------------------------------------------------------


def test_a_joint_and_its_mirror_image_move_points_to_mirrored_places(robot: RobotSpec) -> None:
    """Small turns of each pair move the palms' or fingertips' side alike: axes, seen from outside, are images."""
    mirror = robot.mirror
    assert mirror is not None
    frames, joints = Frames(robot), [robot.joint(name) for name in robot.commands]
    assert all(mirror.index[other] == i for i, other in enumerate(mirror.index))
    for i, each in enumerate(joints):
        image = joints[mirror.index[i]]
        assert {each.side, image.side} == {"left", "right"}
        assert (each.part, each.finger, each.role) == (image.part, image.finger, image.role)
        turn = frames.direction(each.child, each.axis)
        turned = mirror.sign[i] * frames.direction(image.child, image.axis) * [-1.0, 1.0, -1.0]
        assert turn @ turned > 0.98, each.name


def test_mirrored_positions_stay_within_limits(robot: RobotSpec) -> None:
    mirror = robot.mirror
    assert mirror is not None
    low, high = robot.command_limits.T
    draws = np.random.default_rng(0).uniform(low, high, (100, len(low)))
    image = np.array(mirror.sign) * draws[:, list(mirror.index)]
    assert np.clip(image, low, high) == pytest.approx(image, abs=0.03)
    assert np.abs(image - draws).max() > 1.0


def test_fingertips_and_parts_come_in_pairs(robot: RobotSpec) -> None:
    tips, partner = robot.fingertips, robot.fingertip_mirror
    for tip, i in zip(tips, partner, strict=True):
        assert (tips[i].finger, {tips[i].side, tip.side}) == (tip.finger, set(SIDES))
    assert {part: len(names) for part, names in robot.parts.items()} == {
        "left_arm": 7, "left_hand": 6, "right_arm": 7, "right_hand": 6,
    }  # fmt: skip
    assert [tips[i].finger for i in robot.contact_tips("left")] == ["thumb", "index", "middle", "ring"]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (ELBOW, {"axis": [1.0, 0.0, 0.0]}, "axis differ"),
        (ELBOW, {"range_rad": [-2.0, 2.27]}, "limits differ"),
        (ELBOW, {"effort_nm": 31.0}, "effort differ"),
        (ELBOW, {"drive": "wrist"}, "stiffness differ"),
        (INDEX, {"closed_rad": -1.0}, "open and closed ends differ"),
        (ELBOW, {"role": "knee"}, "no partner"),
        (INDEX, {"finger": "middle"}, "partner"),
    ],
)
def test_what_is_not_mirror_symmetric_is_refused_by_the_joint(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"robot 'gr1t2': joint '.*(elbow|index|middle).*{message}"):
        build(changed(lambda content: joint(content, name).update(values)))


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("fingertips", {"position_m": [0.1, 0.0, 0.0]}, "fingertip 'left_thumb' has no mirror image"),
        ("palms", {"normal": [0.0, 1.0, 0.0]}, "the left palm has no mirror image"),
    ],
)
def test_fingertips_and_palms_are_checked_too(key: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(changed(lambda content: content[key][0].update(values)))


def test_a_robot_with_one_arm_has_no_mirror(tmp_path: Path) -> None:
    content = {**without(lambda row: row.get("side") == "left"), "name": "one_arm"}
    path = tmp_path / "one_arm.json"
    path.write_text(json.dumps(content))
    robot = load(str(path))
    assert robot.mirror is None
    with pytest.raises(UserError, match="robot 'one_arm' has joints on one side only"):
        mirror_commands(robot)
    assert len(tasks.task_names()) >= 3
    for task in tasks.task_names():
        with pytest.raises(UserError, match="robot 'one_arm' has no left hand"):
            tasks.make_env({"name": task}, {"name": str(path)})


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("palms"), "palms missing"),
        (lambda c: c.update(format=2), "format 2; allowed: 1"),
        (lambda c: c["commands"].append("tail"), "command 'tail' is none of its joints"),
        (lambda c: joint(c, ELBOW).pop("axis"), f"joint '{ELBOW}' has no 'axis'"),
        (lambda c: joint(c, ELBOW).update(axis=[1.0, "x", 0.0]), f"joint '{ELBOW}': axis = .* must be 3 numbers"),
        (lambda c: joint(c, ELBOW).update(side="Left"), "side = 'Left': must be one of left, right"),
        (lambda c: joint(c, ELBOW).update(drive="strong"), f"joint '{ELBOW}': drive 'strong'"),
        (lambda c: joint(c, "L_hand_base_joint").update(name=INDEX), f"two joints named '{INDEX}'"),
        (lambda c: joint(c, ELBOW).update(parent="nowhere"), "must hang from one"),
        (lambda c: c["links"]["torso_link"].update(region="belly"), "link 'torso_link': region = 'belly'"),
        (lambda c: c["palms"][0].update(link="flipper"), "link of the left palm is 'flipper', which is not there"),
        (lambda c: c["postures"]["rest"].update(tail=0.1), "joint of the posture 'rest' is 'tail'"),
    ],
)
def test_what_a_description_lacks_is_named(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(changed(lambda content: (content.update(name="other"), change(content)))))
    with pytest.raises(UserError, match=message):
        load(str(path))


def test_a_robot_of_one_s_own_is_told_apart_and_kept_whole(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(CONTENT))
    with pytest.raises(UserError, match="name = 'gr1t2' is that of a shipped robot"):
        load(str(path))
    path.write_text(json.dumps({"base": "gr1t2", "format": 1, "name": "mine"}))
    section = with_content({"name": str(path), "tuned": None})
    path.unlink()
    kept = load_robot(section)
    assert (kept.name, kept.joints) == ("mine", load("gr1t2").joints)
    assert load_robot({**section, "name": "gr1t2"}) is load("gr1t2")


# -- names -------------------------------------------------------------------------------------------------------------

READS_A_NAME = re.compile(
    r"""(starts|ends)with\(\(?["'](left|right|L_|R_)|"[LR]_|_joint["']|_link["']|\{side\}_(?!(arm|hand)\b)|side\[0\]"""
    # Parts are named like this; nothing else that a side begins with is.
    r"""|["'](left|right)_(?!(arm|hand)["'])[a-z]"""
)
# What stands beside a side in other names than a joint's or link's.
ALLOWED = ("contact_left", "contact_right", "left_to_right", "right_to_left", "left_hand_first", "palm_{")


@pytest.mark.parametrize("package", ["dexsim", "tasks", "real2sim"])
def test_no_code_outside_robots_reads_a_side_from_a_name(package: str) -> None:
    files = [path for path in sorted((ROOT / package).rglob("*.py")) if path.parent.name != "robots"]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if READS_A_NAME.search(line) and not any(word in line for word in ALLOWED)
    ]
    assert len(files) > 20
    assert not found, "\n".join(found)
