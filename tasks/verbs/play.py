"""Record initial states in a browser: drag the robot's palms, close its hands, store; episodes may start from there.

The page shows the running simulation. A control stands at each palm: drag it and the arm follows. Every stored state is
at once in `bank.npz` of the run folder; Ctrl-C ends the recording. Objects are shown as they are simulated, each convex
part in a colour of its own, on the page and in `objects.png`. Needs the extra `play`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import queue
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dexsim import settings
from dexsim.drawing.live_view import LiveView
from dexsim.drawing.parts import draw_parts
from dexsim.drawing.scenery import find_folder
from dexsim.errors import UserError, require
from dexsim.launch.overrides import assign, command, key_of
from dexsim.robots.spec import SIDES
from dexsim.runs import RunFolder
from tasks.recording.session import Session
from tasks.registry import EnvSettings

logger = logging.getLogger(__name__)

PICTURE = "objects.png"
FRAME = 1 / 30  # s
LONGEST_FRAME = 0.1  # s; a machine that is slower than this lets the scene run slower instead
SCENE_EVERY = 6  # frames between two looks at what the task makes of the scene
CAMERA, LOOK_AT = (1.05, 0.35, 0.62), (0.30, 0.0, 0.12)  # m
CONTROL_SCALE = 0.14  # m
# The page's camera moves with the keys W A S D Q E and the arrows.
KEYS = {"store": "K", "undo": "U", "reset": "R", "save": "P", "left": "1", "right": "2"}
AS_REACHED = "as reached"  # the stage that a state is stored as, where nobody says another


@dataclass(frozen=True, kw_only=True)
class PlaySettings(EnvSettings):
    """Config of `dexsim play`; its values are in `cfg/play.yaml`.

    Attributes:
        seed: Of the random starts.
        host: Address that the page is served at.
        port: Its port, 0 for any; the next free one where it is taken.
        meshes: Whether to draw the vendor's meshes: true, false or "auto".
    """

    seed: int
    host: str
    port: int
    meshes: bool | str

    def __post_init__(self) -> None:
        require(0 <= self.port < 65536, "port", self.port, "0 to 65535")
        require(0 <= self.seed < 2**63, "seed", self.seed, "0 or more")
        find_folder(self.meshes)


def main(config: Mapping[str, Any], run: RunFolder) -> None:
    """Serve the page until Ctrl-C."""
    options, viser = _read(config)
    env = replace(options, backend={**options.backend, "threads": 1}).make(num_envs=1, seed=options.seed)
    draw_parts(run.path / PICTURE, [choice for item in env.backend.scene.objects for choice in item.choices])
    logger.info("the objects as they are simulated: %s", run.path / PICTURE)
    session = Session(env, run.path / "bank.npz")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    with _silence():  # viser announces itself in a frame
        server = viser.ViserServer(options.host, options.port, verbose=False)
    try:
        page = Page(server, session, options.meshes)
        logger.info("open http://%s:%d in a browser; Ctrl-C ends the recording", options.host, server.get_port())
        while True:
            page.run_frame()
    except KeyboardInterrupt:  # how a recording ends
        pass
    finally:
        with _silence():
            server.stop()
    run.result("states", len(session), "1")
    if len(session) and not session.has_start:
        logger.warning("%d states, none of the start of an episode, of which a bank needs one", len(session))
    elif len(session):
        logger.info("%d states; use them with: %s", len(session), _usage(session, run.overrides))


def check(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse what cannot be recorded or served, as far as that shows before it starts."""
    _read(config)[0].check()


def _read(config: Mapping[str, Any]) -> tuple[PlaySettings, Any]:
    """Return what to serve, and the page's server."""
    options = settings.build(PlaySettings, config)
    viser = _viser()
    _check_host(options.host)
    return options, viser


def _usage(session: Session, overrides: Sequence[str]) -> str:
    """The command that trains on them: with what was given of the robot and the task."""
    others = ("task", "task.bank")  # are in it anyway
    given = [text for text in overrides if key_of(text) not in others and key_of(text).startswith(("robot", "task."))]
    return command("train", assign("task", session.task.name), *given, assign("task.bank", session.path))


class Page:
    """The page: the scene, what the person moves, and what becomes of it.

    The browser's events come in threads of their own; they are queued here and done between two frames.

    Args:
        server: a `viser.ViserServer`.
        session: what is recorded.
        meshes: as in `LiveView`.
    """

    def __init__(self, server: Any, session: Session, meshes: bool | str) -> None:
        self._server, self._session = server, session
        self._events: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._frame, self._last = 0, time.monotonic()
        server.initial_camera.position, server.initial_camera.look_at = CAMERA, LOOK_AT
        # Its image takes a machine without a graphics card ten seconds; two plain lights do.
        server.scene.configure_environment_map(None)
        server.scene.add_light_hemisphere(
            "/sky", sky_color=(255, 255, 255), ground_color=(150, 145, 140), intensity=1.5
        )
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._view = LiveView(server.scene, session.env, meshes)
        self._controls = {side: self._add_control(side) for side in SIDES}
        self._count = server.gui.add_markdown("")
        self._status = server.gui.add_markdown("")
        self._stage = self._add_stage()
        for name, label, action in (
            ("store", "Store", self._store),
            ("undo", "Undo last", session.undo),
            ("reset", "Reset scene", self._reset),
            ("save", "Save", session.save),
        ):
            self._add_button(name, label, action)
        self._fingers = {side: self._add_fingers(side) for side in SIDES}
        self._follow()

    def run_frame(self) -> None:
        """Do what the person asked for, let time pass, show the outcome; nothing moves while nobody looks."""
        while not self._events.empty():
            self._do(self._events.get())
        now = time.monotonic()
        if self._server.get_clients():
            resets = self._session.resets
            self._session.advance(min(now - self._last, LONGEST_FRAME))
            if self._session.resets != resets:  # it diverged
                self._follow()
        self._last = now
        with self._server.atomic():
            self._view.update()
            self._describe()
        self._frame += 1
        time.sleep(max(0.0, FRAME - (time.monotonic() - now)))

    # -- what the person has -------------------------------------------------------------------------------------------

    def _add_control(self, side: str) -> Any:
        control = self._server.scene.add_transform_controls(
            f"/{side} palm", CONTROL_SCALE, depth_test=False, opacity=0.8
        )
        # The control's own values, when their turn comes: of a fast drag only the newest matters.
        control.on_update(lambda _: self._events.put(lambda: self._move(side)))
        return control

    def _add_fingers(self, side: str) -> Any:
        slider = self._server.gui.add_slider(f"{side} hand", 0.0, 1.0, 0.01, 0.0, hint="0 open, 1 closed")
        slider.on_update(lambda event: event.client and self._events.put(lambda: self._close(side, slider.value)))
        self._add_button(side, f"Open / close {side}", partial(self._toggle, side))
        return slider

    def _add_button(self, name: str, label: str, action: Callable[[], Any]) -> None:
        """A button and a key that do the same."""
        gui, key = self._server.gui, KEYS[name]
        gui.add_button(f"{label} ({key})").on_click(lambda _: self._events.put(action))
        gui.add_command(label, hotkey=key).on_trigger(lambda _: self._events.put(action))

    def _add_stage(self) -> Any:
        names = (AS_REACHED, *(f"{i}: {name}" for i, name in enumerate(self._session.stages)))
        return self._server.gui.add_dropdown("stage", names, hint="of the task, that episodes start in from this state")

    # -- what becomes of it --------------------------------------------------------------------------------------------

    def _do(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except UserError as error:
            self._session.message = str(error)

    def _move(self, side: str) -> None:
        control = self._controls[side]
        self._session.move_palm(side, control.position, control.wxyz)

    def _close(self, side: str, amount: float) -> None:
        self._session.close(side, amount)

    def _toggle(self, side: str) -> None:
        amount = 0.0 if self._session.hands.amount(side) > 0.5 else 1.0
        self._fingers[side].value = amount
        self._close(side, amount)

    def _store(self) -> None:
        told = self._stage.value
        self._session.store(None if told == AS_REACHED else int(told.partition(":")[0]))

    def _reset(self) -> None:
        self._session.reset()
        self._follow()

    def _follow(self) -> None:
        """Put everything where the scene is, after a new start."""
        self._view.redraw_objects()
        for side in SIDES:
            self._controls[side].position, self._controls[side].wxyz = self._session.hands.palm(side)
            self._fingers[side].value = round(self._session.hands.amount(side), 2)

    def _describe(self) -> None:
        session = self._session
        _show(self._count, f"**States stored: {len(session)}**")
        if self._frame % SCENE_EVERY == 0:
            now = "object lost" if session.is_lost() else ", ".join(session.reached()) or "nothing reached yet"
            _show(self._status, f"{session.message or 'drag a palm'}  \nnow: {now.replace('_', ' ')}")


def _show(markdown: Any, text: str) -> None:
    if markdown.content != text:
        markdown.content = text


def _silence() -> AbstractContextManager[Any]:
    return contextlib.redirect_stdout(io.StringIO())


def _viser() -> Any:
    try:
        import viser
    except ImportError:
        raise UserError("the page's server is not installed: pip install 'dexsim[play]'") from None
    return viser


def _check_host(host: str) -> None:
    """Refuse an address that nothing can be served at; viser would try forever."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise UserError(f"host = {host!r}: cannot serve a page there ({error.strerror or error})") from None
