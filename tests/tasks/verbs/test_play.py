"""Recording a bank of initial states: the session by script, and the page in a browser."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import tasks
from dexsim import cli
from dexsim.control.symmetry import QUATERNION, VECTOR
from dexsim.drawing.live_view import LiveView
from dexsim.errors import UserError
from dexsim.robots import RobotSpec, load
from dexsim.rotations import quat_multiply
from tasks.banks import load_bank, mirror_bank
from tasks.recording.session import Session

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def make_session(folder: Path, task: str = "grasp_and_reach", robot: str = "gr1t2", **settings: Any) -> Session:
    env = tasks.make_env({"name": task, **settings}, {"name": robot}, {"threads": 1})
    return Session(env, folder / "bank.npz")


def palm(session: Session, side: str) -> np.ndarray:
    return session.env.backend.state.palm_pose[0, int(side == "right"), :3].numpy().copy()


@pytest.mark.parametrize("robot", ["gr1t2", "gr1t2_inspire"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_dragged_palm_arrives_and_the_other_keeps_still(robot: str, side: str, tmp_path: Path) -> None:
    session = make_session(tmp_path, "box_lift", robot)
    other = "right" if side == "left" else "left"
    session.advance(0.5)
    before, goal = (
        palm(session, other),
        palm(session, side) + np.array([-0.03, 0.06 if side == "left" else -0.06, 0.12]),
    )
    wxyz = session.hands.palm(side)[1]
    session.move_palm(side, goal)
    session.advance(0.1)
    assert np.linalg.norm(palm(session, side) - goal) > 0.05  # it takes its time
    session.advance(2.0)
    assert np.linalg.norm(palm(session, side) - goal) < 0.01
    assert np.linalg.norm(palm(session, other) - before) < 0.005
    assert abs(session.hands.palm(side)[1] @ wxyz) > 0.999


def test_a_palm_turns(tmp_path: Path) -> None:
    session = make_session(tmp_path, "box_lift")
    place, wxyz = session.hands.palm("right")
    matrix = session.env.backend.state.palm_pose[0, 1, 3:].numpy().reshape(3, 3).copy()
    turn = np.array([np.cos(0.2), 0.0, 0.0, np.sin(0.2)])
    session.move_palm("right", place + np.array([0.0, -0.05, 0.1]), quat_multiply(turn, wxyz))
    session.advance(2.0)
    turned = session.env.backend.state.palm_pose[0, 1, 3:].numpy().reshape(3, 3)
    angle = np.arccos((np.trace(turned @ matrix.T) - 1) / 2)
    assert angle == pytest.approx(0.4, abs=0.05)


def test_out_of_reach_the_arm_stretches_and_comes_back(tmp_path: Path) -> None:
    session = make_session(tmp_path, "box_lift")
    start = session.hands.palm("right")[0] + [0.0, -0.05, 0.1]
    session.move_palm("right", np.array([1.5, -0.5, 0.5]))
    session.advance(3.0)
    assert palm(session, "right")[0] > 0.5
    low, high = session.robot.command_limits.T
    assert (session.hands.target >= low - 1e-6).all()
    assert (session.hands.target <= high + 1e-6).all()
    session.move_palm("right", start)
    session.advance(3.0)
    assert np.linalg.norm(palm(session, "right") - start) < 0.01


def test_fingers_close_and_open(tmp_path: Path) -> None:
    session = make_session(tmp_path, "box_lift")
    robot = session.robot
    index = robot.commands.index("R_index_proximal_joint")
    other = robot.commands.index("L_index_proximal_joint")
    before = session.command_position[other]
    session.move_palm("right", session.hands.palm("right")[0] + [0.0, -0.1, 0.15])  # away from the box
    session.advance(1.5)
    session.close("right", 1.0)
    session.advance(1.0)
    assert session.hands.amount("right") == 1.0
    assert session.command_position[index] == pytest.approx(robot.closed_position[index], abs=0.1)
    assert session.command_position[other] == pytest.approx(before, abs=0.02)
    session.close("right", 0.0)
    session.advance(1.0)
    assert session.command_position[index] == pytest.approx(robot.open_position[index], abs=0.1)


def test_a_stored_state_starts_an_episode(tmp_path: Path) -> None:
    session = make_session(tmp_path, side="right")
    assert session.store() == 1
    session.move_palm("right", session.hands.palm("right")[0] + [-0.02, -0.03, 0.05])
    session.advance(1.0)
    assert session.store(stage=1) == 2
    state = session.env.backend.state
    joints, pose, target = state.joint_position.clone(), state.object_pose.clone(), session.hands.target.copy()
    bank = load_bank(str(session.path), session.robot, "grasp_and_reach")
    assert bank.stage.tolist() == [0, 1]
    assert torch.equal(bank.joint_position[1:], joints)
    assert torch.equal(bank.object_pose[1:], pose)
    section = {"name": "grasp_and_reach", "side": "right", "bank": str(session.path), "later_starts": [1.0, 1.0]}
    env = tasks.make_env(section, {"name": "gr1t2"}, {"threads": 1}, training=True)
    again = Session(env, tmp_path / "again.npz")
    started = env.backend.state
    assert torch.allclose(started.joint_position, joints)
    assert torch.allclose(started.object_pose, pose, atol=1e-3)
    np.testing.assert_allclose(again.hands.target, target, atol=1e-6)


def test_a_state_on_the_left_is_stored_as_its_mirror_image(tmp_path: Path) -> None:
    session = make_session(tmp_path, side="left")
    assert float(session.env.backend.state.object_pose[0, 0, 1]) > 0
    session.move_palm("left", session.hands.palm("left")[0] + [0.0, 0.03, 0.05])
    session.close("left", 0.3)
    session.advance(1.0)
    session.store()
    state = session.env.backend.state
    bank = load_bank(str(session.path), session.robot, "grasp_and_reach")
    image = torch.tensor([*VECTOR, *QUATERNION], dtype=torch.float64)
    assert torch.equal(bank.object_pose, state.object_pose * image)
    index = session.robot.commands.index
    assert float(bank.joint_target[0, index("R_index_proximal_joint")]) == pytest.approx(
        session.hands.target[index("L_index_proximal_joint")]
    )
    back = mirror_bank(bank, session.robot)
    np.testing.assert_allclose(back.joint_target[0].numpy(), session.hands.target)
    commands = torch.from_numpy(session.robot.command_index)
    assert torch.allclose(back.joint_position[:, commands], state.joint_position[:, commands])
    again = make_session(tmp_path / "again", side="left", bank=str(session.path))
    assert torch.allclose(again.env.backend.state.object_pose[0, 0, :2], state.object_pose[0, 0, :2], atol=1e-6)


def test_a_state_is_stored_as_what_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session(tmp_path)
    for reached, stage in (([], 0), (["touched"], 1), (["touched", "picked_up"], 2), (["picked_up", "at_goal"], 2)):
        monkeypatch.setattr(session, "reached", lambda names=reached: names)
        session.store()
        assert _load(session, session.robot).stage[-1] == stage


def test_an_object_that_lies_is_no_start(tmp_path: Path) -> None:
    session = make_session(tmp_path, side="right")
    pose = session.env.backend.state.object_pose[0].numpy().copy()
    pose[0, 2:] = [0.03, np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0]
    session.place(session.command_position.copy(), session.hands.target.copy(), pose)
    session.advance(0.1)
    with pytest.raises(UserError, match="stands on the table"):
        session.store(stage=0)
    assert len(session) == 0


def test_the_file_follows_every_change(tmp_path: Path) -> None:
    session = make_session(tmp_path, "box_lift")
    robot = session.robot
    assert session.save() is None
    assert session.undo() == 0
    session.store()
    session.reset()
    session.store()
    assert len(_load(session, robot)) == 2
    assert session.undo() == 1
    assert len(_load(session, robot)) == 1
    assert session.save() == session.path
    assert session.undo() == 0
    assert not session.path.exists()


def _load(session: Session, robot: RobotSpec) -> Any:
    return load_bank(str(session.path), robot, session.task.name)


def test_a_bank_of_another_robot_is_refused(tmp_path: Path) -> None:
    session = make_session(tmp_path, "box_lift")
    session.store()
    with pytest.raises(UserError, match="made for robot 'gr1t2'"):
        _load(session, load("gr1t2_inspire"))


def test_what_cannot_be_stored_or_done_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session(tmp_path, "box_lift")
    for wrong in (
        lambda: session.store(stage=9),
        lambda: session.close("right", 1.5),
        lambda: session.close("middle", 0.5),
        lambda: session.move_palm("right", np.array([np.nan, 0.0, 0.0])),
    ):
        with pytest.raises(UserError):
            wrong()
    monkeypatch.setattr(session.task, "failure", lambda world: torch.ones(1, dtype=torch.bool))
    with pytest.raises(UserError, match="the object is lost"):
        session.store()
    assert len(session) == 0


def test_a_diverged_scene_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session(tmp_path, "box_lift")
    step = session.env.backend.step
    answers: Iterator[bool | None] = iter([True])
    monkeypatch.setattr(session.env.backend, "step", lambda n: step(n) | bool(next(answers, False)))
    session.advance(0.1)
    assert session.resets == 1
    assert "diverged" in session.message
    assert torch.isfinite(session.env.backend.state.joint_position).all()


class FakeScene:
    """Stands in for viser's scene: keeps what it is given."""

    def __init__(self) -> None:
        self.frames: dict[str, Any] = {}
        self.extents: dict[str, np.ndarray] = {}

    def add_frame(self, name: str, show_axes: bool) -> Any:
        self.frames[name] = SimpleNamespace(name=name, remove=lambda: self.frames.pop(name))
        return self.frames[name]

    def add_mesh_simple(self, name: str, vertices: np.ndarray, faces: np.ndarray, **_: Any) -> None:
        assert faces.max() < len(vertices)
        self.extents[name] = np.ptp(vertices, axis=0)


def test_what_is_drawn_follows_the_simulation(tmp_path: Path) -> None:
    session, scene = make_session(tmp_path, objects=["can", "packet"], side="right"), FakeScene()
    view, sizes = LiveView(scene, session.env, meshes=False), set()
    for _ in range(6):
        session.reset()
        view.redraw_objects()
        world, state = session.env.world, session.env.backend.state
        drawn, size = scene.extents["/objects/object/0"], world.object_size()[0].numpy()
        np.testing.assert_allclose(drawn, size, atol=2e-3)
        np.testing.assert_allclose(scene.frames["/objects/object"].position, state.object_pose[0, 0, :3])
        sizes.add(tuple(size))
    assert len(sizes) == 2
    palms = [palm.link for palm in session.robot.palms]
    before = [scene.frames[f"/{link}"].position.copy() for link in palms]
    session.move_palm("right", session.hands.palm("right")[0] + np.array([0.0, -0.05, 0.1]))
    session.advance(1.5)
    view.update()
    moved = [scene.frames[f"/{link}"].position - place for link, place in zip(palms, before, strict=True)]
    assert np.linalg.norm(moved[0]) < 0.01
    np.testing.assert_allclose(moved[1], [0.0, -0.05, 0.1], atol=0.01)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("port=70000", "port = 70000: must be 0 to 65535"),
        ("host=203.0.113.1", "host = '203.0.113.1': cannot serve a page there"),
        ("task=grasp", "no 'task' named 'grasp'"),
    ],
)
def test_bad_options_are_one_line(
    override: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["play", override, f"runs_dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


def test_without_the_extra_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert cli.main(["play", f"runs_dir={tmp_path}"]) == 2
    assert "pip install 'dexsim[play]'" in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
def test_the_page_stores_a_state(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    command = [sys.executable, "-m", "dexsim", "play", "port=0", f"runs_dir={tmp_path}"]
    # A shell may have started the tests with interrupts ignored, which a child would inherit.
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout is not None
    try:
        address = next(filter(None, (re.search(r"http://[\d.:]+", line) for line in running.stdout)))[0]
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
            page = browser.new_page(viewport={"width": 500, "height": 400})
            page.goto(address)
            page.get_by_text("States stored: 0").wait_for(timeout=20_000)
            # Not `click`: it waits for two frames of the picture, which take seconds without a graphics card.
            page.get_by_role("button", name="Store (K)").dispatch_event("click")
            page.get_by_text("States stored: 1").wait_for(timeout=20_000)
            page.keyboard.press("k")
            page.get_by_text("States stored: 2").wait_for(timeout=20_000)
            browser.close()
        (bank,) = tmp_path.glob("play/box_lift/*/bank.npz")
        assert len(load_bank(str(bank), load("gr1t2"), "box_lift")) == 2
        running.send_signal(signal.SIGINT)
        lines = running.communicate(timeout=20)[0].splitlines()
        assert running.returncode == 0
        assert lines[-1] == str(bank.parent)
        assert f"dexsim train task=box_lift task.bank={bank}" in lines[-2]
    finally:
        running.kill()
        running.wait()
