"""What the guides say is true of the project: their commands run, in small, and their links lead somewhere.

A fence `sh` (or a block without a language that holds commands) is run, line by line; `console` is not: it takes hours,
hardware, or changes files of this repository. Python is run too, unless it is a file of an example. Settings of Hydra's
launchers and sweepers are left out: `tests/dexsim/test_sweeps.py` is about those.
"""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dexsim import cli
from dexsim.drawing import video
from dexsim.launch.compose import options
from dexsim.paths import assets_dir
from dexsim.report import page
from dexsim.settings import shipped
from tests.markdown import ROOT, Fence, fences, guides, indented, links
from tests.tasks.test_outside_task import write_package

GUIDES = {str(path.relative_to(ROOT)): path for path in guides()}
NOT_RUN = ("console",)
COMMAND = re.compile(r"^(dexsim|python|python3|make|pip|pytest|ruff|pyright|tensorboard) ")

# What is added to the command of a verb, so that it takes a second.
NETWORK = ["rl.actor.units=[16]", "rl.critic.units=[16]", "rl.horizon=8"]
STAGES = "real2sim.stages=[{method: cma, steps: 1, candidates: 6, window_s: 2.0}]"
ONLY = "real2sim.space.joint_stiffness.only=[left_elbow_pitch_joint]"
LEFT_OUT = [f"~real2sim.space.{name}" for name in shipped("real2sim", "default")["space"] if name != "joint_stiffness"]
SMALL: dict[str, list[str]] = {
    "train": ["num_envs=4", "frames=32", "minutes=null", "wandb=disabled", "backend.threads=1", *NETWORK],
    "resume train": ["frames=64", "wandb=disabled"],
    "evaluate": ["episodes=2", "num_envs=2", "threads=1", "magnitudes=[4]"],
    "transfer": ["episodes=2", "num_envs=2", "threads=1", "robots=1", "tuned=false", "rows=[as_trained]"],
    "resume transfer": ["threads=1"],
    "bench": ["num_envs=2", "threads=[1]", "steps=2", "epochs=1"],
    "demo": ["minutes=0.01", "episodes=2"],
    "excite": ["excitation.duration_s=20"],
    "resume autotune": [],
    "autotune": ["backend.threads=1", "random_budget=0", "random_candidates=6", STAGES, ONLY, *LEFT_OUT],
    "play": ["port=0"],
    "export": [],
}


class Reader:
    """Someone who types the commands of a guide, one after the other, in an empty folder.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._done = folder, set[tuple[str, ...]]()

    def type(self, line: str) -> None:
        """Run a line in small; raises where it fails."""
        words = shlex.split(self._filled(line), comments=True)
        tool, rest = words[0], words[1:]
        if tool == "dexsim":
            self._dexsim(rest)
        elif tool == "make":
            done = subprocess.run(["make", "-n", *rest], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        elif tool in ("python", "python3") and rest[0] == "-m":
            _run_module(rest[1], rest[2:])
        elif tool == "pytest":
            assert all((ROOT / word.partition("::")[0]).exists() for word in rest if not word.startswith("-")), line
        elif tool in ("tensorboard", "ruff", "pyright", "pip"):
            assert shutil.which(tool) or importlib.util.find_spec(tool), f"{tool} is not installed"
        else:
            raise AssertionError(f"no rule for {tool!r}: add one, or mark the fence with one of {NOT_RUN}")

    def _dexsim(self, words: list[str]) -> None:
        if not words or words[0].startswith("-") or "--help" in words:
            assert cli.main(words) == 0
            return
        verb, given = words[0], words[1:]
        self._prepare(given)
        resumes = any(word.startswith("resume=") for word in given)
        small = SMALL[f"resume {verb}" if resumes else verb]
        _check_options(given)
        given = [word for word in given if not word.startswith("hydra") and "interval(" not in word]
        arguments = [*given, *small]
        key = (verb, *_meaning(arguments))
        if key not in self._done:
            assert cli.main([verb, *arguments]) == 0, " ".join(arguments)
        self._done.add(key)

    def _prepare(self, words: list[str]) -> None:
        """Train what a command goes on from, if the guide has left that to another one."""
        for word in words:
            found = re.match(r"(?:checkpoint|resume|from)=(runs/train/(\w+))$", word)
            if found and not (self.folder / found[1]).exists():
                self._dexsim(["train", f"task={found[2]}", "rl=cpu"])

    def _filled(self, line: str) -> str:
        """A line with files in place of its `<placeholders>`."""
        return re.sub(r"<([^>]+)>", lambda match: str(self._file(match[1])), line)

    def _file(self, name: str) -> Path:
        made = {
            "mesh.stl": lambda: assets_dir() / "objects" / "bottle.stl",
            "tuned.yaml": lambda: assets_dir() / "robots" / "gr1t2_tuned.yaml",
            "robot.json": lambda: _own_robot(self.folder / "robot.json"),
            "log.parquet": lambda: self._newest("runs/excite/**/log.parquet"),
            "other.parquet": lambda: _packed(self._newest("runs/excite/**/log.parquet"), self.folder / "other.parquet"),
            "run folder": lambda: self._newest("runs/autotune/*/*/result.json").parent,
        }
        assert name in made, f"no file for <{name}>: add one to tests/test_readmes.py"
        return made[name]()

    def _newest(self, pattern: str) -> Path:
        found = sorted(self.folder.glob(pattern), key=lambda path: path.stat().st_mtime)
        assert found, f"no command before has made {pattern}"
        return found[-1]


def _check_options(words: list[str]) -> None:
    """Refuse a launcher that there is no preset of; what a plugin of Hydra does is not this test's concern."""
    for word in words:
        group, _, option = word.partition("=")
        if group == "hydra/launcher":
            assert option in options(group), word


def _run_module(module: str, arguments: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *arguments])
        runpy.run_module(module, run_name="__main__")


def _own_robot(path: Path) -> Path:
    path.write_text('{"format": 1, "base": "gr1t2", "name": "own"}', encoding="utf-8")
    return path


def _packed(path: Path, packed: Path) -> Path:
    """Another log than the one of a path: a motion of nine tenths of its width."""
    table = pq.read_table(path)
    for number, name in enumerate(table.column_names):
        if name != "time_s":
            table = table.set_column(number, name, pa.array(0.9 * table[name].to_numpy()))
    pq.write_table(table, packed)
    return packed


def _meaning(arguments: list[str]) -> list[str]:
    """Overrides of which the last of a key counts."""
    return sorted({word.partition("=")[0]: word for word in arguments}.values())


def commands(fence: Fence) -> list[tuple[int, str]]:
    """The commands of a fence, each with its line in the guide."""
    found, whole = [], ""
    for i, line in enumerate(fence.text.splitlines()):
        whole += line.removesuffix("\\")
        if not line.endswith("\\"):
            found.append((fence.line + i, whole))
            whole = ""
    if fence.language in ("sh", "bash"):
        return [(number, line) for number, line in found if line.strip() and not line.startswith("#")]
    return [(number, line) for number, line in found if COMMAND.match(line)] if fence.language == "" else []


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("viser")
    import tasks.verbs.play

    def look_once(_: Any) -> None:
        raise KeyboardInterrupt

    def close(figure: Any, dpi: int = 0) -> bytes:
        from matplotlib import pyplot

        pyplot.close(figure)
        return b""

    def record(env: Any, policy: Any, path: Path, *_: Any, **__: Any) -> Path:
        return whole(env, policy, path, 0.2, meshes=False)

    whole: Callable[..., Path] = video.record
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page, "png", close)  # dozens of pictures, each as long as the rest of a fit
    monkeypatch.setattr(tasks.verbs.play.Page, "run_frame", look_once)
    monkeypatch.setattr(
        video, "record", lambda env, policy, path, *_, **__: record(env, policy, path, 0.2, meshes=False)
    )
    return Reader(tmp_path)


@pytest.mark.parametrize("guide", GUIDES)
def test_its_commands_run(guide: str, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GUIDES[guide].read_text(encoding="utf-8")
    if guide == "CONTRIBUTING.md":
        write_package(reader.folder / "package")
        monkeypatch.syspath_prepend(reader.folder / "package")
    for fence in sorted([*fences(text), *indented(text)], key=lambda fence: fence.line):
        for number, line in commands(fence):
            try:
                reader.type(line)
            except BaseException as error:
                raise AssertionError(f"{guide}, line {number}: {line!r}: {error}") from error
        if fence.language == "python" and not fence.file:
            exec(
                compile(re.sub(r"num_envs=\d{2,}", "num_envs=2", fence.text), f"{guide}, line {fence.line}", "exec"), {}
            )


@pytest.mark.parametrize("guide", GUIDES)
def test_commands_in_its_text_are_understood(guide: str) -> None:
    """A verb that a sentence or a table names exists, and its config has the keys given."""
    text = re.sub(r"^```.*?^```$", "", GUIDES[guide].read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in re.findall(r"`(dexsim [^`<]+|python -m [^`<]+)`", text.replace("\n", " ")):
        words = shlex.split(line)
        if words[0] == "python":
            assert importlib.util.find_spec(words[2]), line
        elif words[1].isidentifier():
            assert words[1] in cli.verbs(), line
            keys = [word for word in words[2:] if "=" in word]
            if "..." not in line and "task=push" not in line:
                cli.compose(words[1], keys)


@pytest.mark.parametrize("guide", GUIDES)
def test_its_links_lead_somewhere(guide: str) -> None:
    for target in links(GUIDES[guide].read_text(encoding="utf-8")):
        file, _, section = target.partition("#")
        path = (GUIDES[guide].parent / file).resolve()
        assert path.exists(), f"{guide} links to {target}"
        if section:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert section in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("guide", GUIDES)
def test_the_files_it_names_are_there(guide: str) -> None:
    for name in re.findall(r"`([\w/]+/\w+\.(?:py|json|yaml))[`:,]", GUIDES[guide].read_text(encoding="utf-8")):
        if not name.startswith("my_package"):
            assert any((folder / name).is_file() for folder in (ROOT, GUIDES[guide].parent)), name


@pytest.mark.parametrize(("guide", "most"), [("README.md", 700), ("CONTRIBUTING.md", 900)])
def test_it_stays_short(guide: str, most: int) -> None:
    assert len(GUIDES[guide].read_text(encoding="utf-8").split()) <= most
