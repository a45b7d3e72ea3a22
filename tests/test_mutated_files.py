"""No traceback for a user's mistake: every reader takes a damaged file, or refuses it in one line."""

from __future__ import annotations

import functools
import json
import logging
import random
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import torch
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dexsim.settings
from dexsim import cli, robots
from dexsim.control.exported import read_manifest
from dexsim.errors import UserError
from dexsim.launch import job
from dexsim.launch.compose import read_all
from dexsim.launch.verb import Invocation
from dexsim.paths import assets_dir, cfg_dir
from dexsim.rl.player import Policy
from dexsim.runs import RunFolder, find_complete, find_run, read_results
from real2sim.excitation.targets import Targets, load_targets, save_targets
from real2sim.logs.files import load_log, save_log
from real2sim.search import state
from tasks import objects
from tasks.registry import make_env, make_task
from tasks.verbs import evaluate
from tests import mutated
from tests.fakes import ppo_section, run_verb
from tests.mutated import JSON, NUMPY, PARQUET, TORCH, YAML, Format
from tests.real2sim.logged import make_log
from tests.real2sim.recorded import to_v3, write_lerobot, write_mcap

MESHES = (".stl", ".obj", ".ply", ".glb")
ROBOT = robots.load("gr1t2")
Files = dict[str, bytes]


@dataclass(frozen=True)
class Reader:
    """What reads files.

    Attributes:
        files: Makes sound files in a folder.
        damaged: Name -> format of those that are damaged.
        read: Reads the folder.
        tries: How many damaged sets of files it is given.
    """

    files: Callable[[Path], object]
    damaged: Mapping[str, Format | None]
    read: Callable[[Path], object]
    tries: int = 150


def _copied(*sources: Path) -> Callable[[Path], None]:
    def copy(folder: Path) -> None:
        for source in sources:
            (folder / source.name).write_bytes(source.read_bytes())

    return copy


def _manifest(folder: Path) -> None:
    goals = [{"x": [0.3, 0.4], "until": {"distance_m": 0.05, "lifted_m": 0.1}}, {"x": [0.3, 0.4]}]
    about = {"policy_hz": 10.0, "two_sided": True, "task": {"episode_s": 5.0, "goals": goals}, "robot": ROBOT.table()}
    (folder / "policy.json").write_text(json.dumps({"format": 1, **about}))


def _read_policy(folder: Path) -> object:
    return ROBOT.check_table(read_manifest(folder / "policy.onnx").get("robot"), "policy")


def _arguments(folder: Path) -> None:
    text = ["task=box_lift", "task.alpha=12", "task.weights={goal: 2}", "randomization.joint_noise=0.1", "rl=cpu",
            "control.policy_hz=5", "num_envs=1e2", "name=läufe (1)", "frames=null", "runs_dir='a b=c'"]  # fmt: skip
    (folder / "arguments").write_text("\n".join(text), encoding="utf-8")


def _composed(folder: Path) -> object:
    text = (folder / "arguments").read_bytes().decode("utf-8", "surrogateescape")
    given = read_all("train", text.split("\n"))
    return Invocation.of("train", cli.compose("train", given), given)


def _description(folder: Path) -> None:
    content = json.loads((assets_dir() / "robots" / "gr1t2_inspire.json").read_text())
    (folder / "mine.json").write_text(json.dumps({**content, "name": "mine"}))


def _run(folder: Path) -> None:
    with RunFolder.create("train", "lift", {"seed": 0}, folder) as run:
        run.result("success", 0.5, "1", 10, (0.2, 0.8))
    run.path.rename(run.path.with_name("run"))


def _jobs(folder: Path) -> None:
    job.Job(0, ["seed=0"], "complete", "success", str(folder), None).write(folder)


def write_checkpoint(folder: Path) -> None:
    """A checkpoint of a policy that never learned, with the tables of a real environment."""
    names = ("task", "robot", "backend", "randomization", "control")
    task = {"name": "box_lift", **dexsim.settings.shipped("task", "box_lift")}
    sections = dict(zip(names, (task, {"name": "gr1t2", "tuned": None}, {"threads": 1}, {}, {}), strict=True))
    env = make_env(**sections)
    policy = Policy(env.num_obs, (8,), env.num_actions)
    linear = [layer for layer in policy.layers if isinstance(layer, torch.nn.Linear)]
    model = {
        f"{name}.{key}": value.detach()
        for name, layer in zip(("a2c_network.actor_mlp.0", "a2c_network.mu"), linear, strict=True)
        for key, value in layer.named_parameters()
    }
    config = {**sections, "rl": ppo_section()}
    state = {"model": model, "config": config, "spec_table": env.spec_table(), "version": "0.1.0", "frame": 1}
    torch.save(state, folder / "last.pt")


def _evaluated(folder: Path) -> object:
    given = {"checkpoint": str(folder / "last.pt"), "episodes": 1, "num_envs": 1, "threads": 1}
    return run_verb(evaluate, folder, **given)


def _log(suffix: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        log = make_log(duration=6.0, hz=20.0)
        save_log(folder / "log.parquet", log)
        if suffix == ".csv":
            pacsv.write_csv(pq.read_table(folder / "log.parquet"), folder / "log.csv")
        elif suffix == ".mcap":
            write_mcap(folder / "log.mcap", log)
        if suffix != ".parquet":
            (folder / "log.parquet").unlink()

    return write


def _dataset(folder: Path) -> Path:
    return write_lerobot(folder, make_log(duration=6.0, hz=20.0), episodes=1, fps=20)


def _targets(folder: Path) -> None:
    time = np.arange(0, 6, 0.1)
    command = np.tile(ROBOT.posture("rest"), (len(time), 1))
    save_targets(folder / "targets.parquet", Targets(time, command, ROBOT.name, ROBOT.hand), ROBOT)


def _fit_state(folder: Path) -> None:
    stored = {
        "identity": {"seed": 0},
        "x": np.zeros(3),
        "stage": 0,
        "search": {"mean": np.ones((2, 3))},
        "steps": [[0, "cma"]],
    }
    (folder / "fit.npz").write_bytes(state.encode(stored))


def _mesh(suffix: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        trimesh.creation.cylinder(0.03, 0.1, sections=12).export(folder / f"cup{suffix}")

    return write


def _read_log(name: str) -> Callable[[Path], object]:
    return lambda folder: load_log(folder / name, ROBOT)


def _read_mesh(suffix: str) -> Callable[[Path], object]:
    return lambda folder: objects.expand([str(folder / f"cup{suffix}")])


READERS: dict[str, Reader] = {
    "tuned robot": Reader(
        _copied(assets_dir() / "robots" / "gr1t2_tuned.yaml"),
        {"gr1t2_tuned.yaml": YAML},
        lambda folder: robots.load_robot({"name": "gr1t2", "tuned": str(folder / "gr1t2_tuned.yaml")}),
        tries=60,
    ),
    "robot's description": Reader(
        _description,
        {"mine.json": JSON},
        lambda folder: robots.load(str(folder / "mine.json")),
    ),
    "bank": Reader(
        _copied(assets_dir() / "banks" / "box_lift_gr1t2.npz"),
        {"box_lift_gr1t2.npz": NUMPY},
        lambda folder: make_task({"name": "box_lift", "bank": str(folder / "box_lift_gr1t2.npz")}, ROBOT),
        tries=60,
    ),
    "exported policy's manifest": Reader(_manifest, {"policy.json": JSON}, _read_policy),
    "command line": Reader(_arguments, {"arguments": None}, _composed),
    "run": Reader(
        _run,
        {"train/lift/run/run.json": JSON, "train/lift/run/result.json": JSON},
        lambda folder: [
            find_run(folder / "train" / "lift", "result.json"),
            find_complete("train", "lift", {"seed": 0}, folder),
            read_results(folder / "train" / "lift" / "run"),
        ],
    ),
    "jobs of a sweep": Reader(_jobs, {"jobs/0.json": JSON}, job.read_jobs),
    "checkpoint, evaluated": Reader(write_checkpoint, {"last.pt": TORCH}, _evaluated, tries=40),
    "log in Parquet": Reader(_log(".parquet"), {"log.parquet": PARQUET}, _read_log("log.parquet"), tries=80),
    "log in CSV": Reader(_log(".csv"), {"log.csv": None}, _read_log("log.csv")),
    "log in MCAP": Reader(_log(".mcap"), {"log.mcap": None}, _read_log("log.mcap")),
    "LeRobot dataset": Reader(
        _dataset,
        {
            "meta/info.json": JSON,
            "meta/modality.json": JSON,
            "data/chunk-000/episode_000000.parquet": PARQUET,
        },
        lambda folder: load_log(folder, ROBOT),
    ),
    "LeRobot v3 dataset": Reader(
        lambda folder: to_v3(_dataset(folder)),
        {
            "meta/info.json": JSON,
            "meta/episodes/chunk-000/file-000.parquet": PARQUET,
            "data/chunk-000/file-000.parquet": PARQUET,
        },
        lambda folder: load_log(folder, ROBOT),
    ),
    "targets": Reader(
        _targets, {"targets.parquet": PARQUET}, lambda folder: load_targets(folder / "targets.parquet", ROBOT)
    ),
    "state of a fit": Reader(_fit_state, {"fit.npz": NUMPY}, lambda folder: state.read(folder / "fit.npz")),
    **{f"mesh{suffix}": Reader(_mesh(suffix), {f"cup{suffix}": None}, _read_mesh(suffix)) for suffix in MESHES},
    "config of a task": Reader(
        _copied(cfg_dir() / "task" / "box_lift.yaml"),
        {"box_lift.yaml": YAML},
        lambda folder: dexsim.settings.read(folder / "box_lift.yaml"),
    ),
}


@functools.cache
def sound(name: str) -> Files:
    """The files of a reader, undamaged."""
    with tempfile.TemporaryDirectory() as place:
        READERS[name].files(Path(place))
        return {str(p.relative_to(place)): p.read_bytes() for p in Path(place).rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Damaged values make libraries warn."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def read(name: str, files: Files) -> object:
    with tempfile.TemporaryDirectory() as place:
        for file, data in files.items():
            (Path(place) / file).parent.mkdir(parents=True, exist_ok=True)
            (Path(place) / file).write_bytes(data)
        return READERS[name].read(Path(place))


@pytest.mark.parametrize("name", READERS)
def test_what_is_whole_is_read(name: str) -> None:
    read(name, sound(name))


@pytest.mark.parametrize("name", READERS)
def test_what_is_damaged_is_read_or_refused_in_one_line(name: str) -> None:
    reader = READERS[name]

    @settings(
        max_examples=reader.tries,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.integers(0, 2**32))
    def hold(seed: int) -> None:
        chance = random.Random(seed)
        file = chance.choice(sorted(reader.damaged))
        damaged = mutated.damage(sound(name)[file], reader.damaged[file], chance)
        try:
            read(name, {**sound(name), file: damaged})
        except UserError as error:
            assert str(error).strip()
            assert len(str(error).splitlines()) == 1, str(error)

    hold()
