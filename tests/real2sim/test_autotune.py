"""`dexsim autotune` end to end: a robot that trains, a table of what is known, a report; resume; one-line errors."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import tasks
from dexsim import cli, settings
from dexsim.robots import constants, labels, load_robot
from real2sim.autotune import AutotuneSettings
from real2sim.logs.files import load_log, save_log
from real2sim.results import report
from real2sim.results.judgement import Judged
from real2sim.search import fit
from tests.fakes import RUN_FOLDER
from tests.real2sim import logged
from tests.real2sim.recorded import write_csv, write_lerobot
from tests.real2sim.replayed import ELBOW, INDEX, JOINTS, WRIST, make_log, robot_with

TRUE = robot_with(
    {
        "joint_stiffness": {ELBOW: 85.0, WRIST: 40.0, INDEX: 2.4},
        "joint_damping": {ELBOW: 6.5, WRIST: 1.5, INDEX: 0.11},
        "joint_bias": {ELBOW: 0.004, WRIST: -0.003, INDEX: 0.002},
    }
)
SHORT = [
    "backend.threads=1",
    "real2sim.stages=[{method: cma, steps: 2, candidates: 8, window_s: 6.0}, {method: gauss_newton, steps: 7}]",
    "random_candidates=8",
]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`log.parquet` and, another motion of the same robot, `other.parquet`."""
    folder = tmp_path_factory.mktemp("logs")
    save_log(folder / "log.parquet", make_log(TRUE, 11.0, noise=3e-4))
    save_log(folder / "other.parquet", make_log(TRUE, 7.0, noise=3e-4, seed=1))
    return folder


@pytest.fixture(scope="module")
def done(logs: Path) -> Path:
    overrides = [f"log={logs / 'log.parquet'}", f"heldout={logs / 'other.parquet'}", f"runs_dir={logs}", *SHORT]
    return cli.run("autotune", overrides)


def results(folder: Path) -> dict[str, float]:
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {name: entry["value"] for name, entry in content.items()}


def test_the_held_out_error_falls_below_nominal_and_random_search(done: Path):
    found = results(done)
    assert found["mse_heldout_tuned"] < 0.01 * found["mse_heldout_nominal"]
    assert found["mse_heldout_tuned"] < 0.01 * found["mse_heldout_random_search"]
    assert found["robot_seconds_per_second"] > 0
    assert found["replay_to_bare_ratio"] > 0


def test_the_tuned_robot_names_its_log_and_trains(done: Path, logs: Path):
    content = yaml.safe_load((done / "tuned.yaml").read_text(encoding="utf-8"))
    assert content["robot"] == "gr1t2"
    assert content["tool"].startswith("dexsim ")
    import hashlib

    assert content["log"]["sha256"] == hashlib.sha256((logs / "log.parquet").read_bytes()).hexdigest()
    robot = load_robot({"name": "gr1t2", "tuned": str(done / "tuned.yaml")})
    index = robot.commands.index(ELBOW)
    assert constants(robot)["joint_stiffness"][index] == pytest.approx(85.0, rel=0.05)
    section = {"name": "gr1t2", "tuned": str(done / "tuned.yaml")}
    env = tasks.make_env({"name": "box_lift"}, section, {"threads": 1}, num_envs=2, seed=0)
    env.reset()
    result = env.step(env.backend.state.joint_position.new_zeros(2, env.num_actions).float())
    assert bool(np.isfinite(result.reward.numpy()).all())


def test_median_and_worst_are_ranked_behind_the_best(done: Path):
    errors = [
        yaml.safe_load((done / f"{name}.yaml").read_text(encoding="utf-8"))["mse_rad2"]["fit"]
        for name in ("tuned", "median", "worst")
    ]
    assert errors == sorted(errors)
    assert errors[0] < errors[1] < errors[2]
    for name in ("median", "worst"):
        load_robot({"name": "gr1t2", "tuned": str(done / f"{name}.yaml")})


def test_parameters_come_with_intervals_and_what_is_unknown_is_said(done: Path):
    with (done / "parameters.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["parameter"]: row for row in csv.DictReader(file)}
    row = rows[f"joint_stiffness/{ELBOW}"]
    assert row["status"] == "determined"
    assert float(row["low_95"]) < float(row["value"]) < float(row["high_95"])
    assert rows["joint_stiffness/right_elbow_pitch_joint"]["status"].startswith("undetermined")
    undetermined = yaml.safe_load((done / "tuned.yaml").read_text(encoding="utf-8"))["undetermined"]
    assert "joint_stiffness/right_elbow_pitch_joint" in undetermined
    assert f"joint_stiffness/{ELBOW}" not in undetermined


def test_the_tuned_robot_says_how_sure_it_is(done: Path):
    with (done / "parameters.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["parameter"]: row for row in csv.DictReader(file)}
    robot = load_robot({"name": "gr1t2", "tuned": str(done / "tuned.yaml")})
    stated = {(each.name, each.label): each for each in robot.intervals}
    own = {
        (name, label): value
        for name, values in constants(robot).items()
        for label, value in zip(labels(robot, name), values, strict=True)
    }
    assert all(each.low <= own[key] * (1 + 1e-5) and own[key] * (1 - 1e-5) <= each.high for key, each in stated.items())
    elbow, row = stated["joint_stiffness", ELBOW], rows[f"joint_stiffness/{ELBOW}"]
    assert (elbow.low, elbow.high) == pytest.approx((float(row["low_95"]), float(row["high_95"])), rel=1e-4)
    # What nothing tells has no interval.
    assert ("joint_stiffness", "right_elbow_pitch_joint") not in stated
    section = {"name": "gr1t2", "tuned": str(done / "tuned.yaml")}
    varied = settings.shipped("randomization", "tuned")
    env = tasks.make_env({"name": "box_lift"}, section, {"threads": 1}, varied, num_envs=200, seed=0)
    env.reset()
    stiffness = env.backend.values["joint_stiffness"][:, robot.commands.index(ELBOW)]
    assert 0.9 < float(((stiffness >= elbow.low) & (stiffness <= elbow.high)).double().mean()) < 0.99


def test_the_report_shows_every_joint_of_every_log(done: Path):
    page = (done / "report.html").read_text(encoding="utf-8")
    for joint in JOINTS:
        assert page.count(f"alt='{joint}: command, real and simulated'") == 2
        assert f"joint_stiffness/{joint}" in page
    assert "http" not in page.replace("data:image", "")  # nothing is loaded from elsewhere


def test_a_killed_run_goes_on(logs: Path, done: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        line = fit.Fit._line
        steps = []

        def killed(self: fit.Fit, step: fit.Step) -> str:
            steps.append(step)
            if len(steps) == 3:
                raise KeyboardInterrupt
            return line(self, step)

        patched.setattr(fit.Fit, "_line", killed)
        overrides = [f"log={logs / 'log.parquet'}", f"heldout={logs / 'other.parquet'}", f"runs_dir={logs}", *SHORT]
        with pytest.raises(KeyboardInterrupt):
            cli.run("autotune", [*overrides, "name=killed"])
    folder = next((logs / "autotune" / "killed").iterdir())
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    del config["heldout_episode"]  # as a version wrote it that had no such setting
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    resumed = cli.run("autotune", [f"resume={folder.parent}", f"runs_dir={logs}", "name=resumed"])
    assert (resumed / "parameters.csv").read_text() == (done / "parameters.csv").read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["log=no_such.parquet"], "error: log 'no_such.parquet': no such file; allowed: "),
        (
            ["log=x.parquet", "real2sim.space.joint_damping.bounds=[2, 1]"],
            "error: real2sim.space.joint_damping.bounds",
        ),
        (["log=x.parquet", "real2sim.stages=[]"], "error: real2sim.stages = []: must be one or more"),
        (["log=x.parquet", "real2sim.stages=[{method: magic, steps: 1}]"], "error: real2sim.stages"),
        (
            ["log=x.parquet", "real2sim.stages=[{method: cma, steps: 1}]"],
            "error: real2sim.stages[0].candidates = 0: must be at least 6 for cma",
        ),
        (["log=x.parquet", "~seed"], "error: seed is missing: expected int"),
        (["log=x.parquet", "random_budget=-1"], "error: random_budget = -1.0"),
        (["log=x.parquet", "heldout=3"], "error: heldout"),
        ([], "error: log is missing: add log=<file>"),
        (["resume=no_such_folder"], "error: resume = 'no_such_folder': nothing to go on with: it has no config.yaml"),
        (
            [
                "log=x.parquet",
                "real2sim.stages=[{method: cma, steps: 1, candidates: 8}, {method: random, steps: 1, candidates: 8}]",
            ],
            "error: real2sim.stages = ['cma', 'random']: must be random at most as the first",
        ),
        (["resume=no_such_folder", "seed=3"], "error: seed cannot be given with resume="),
    ],
)
def test_mistakes_get_one_line(overrides: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["autotune", *overrides, f"runs_dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert not any(tmp_path.rglob("config.yaml"))


def test_logs_that_nothing_can_be_judged_by_get_one_line(logs: Path, capsys: pytest.CaptureFixture[str]):
    save_log(logs / "right.parquet", make_log(TRUE, 10.0, joints=("right_elbow_pitch_joint",)))
    log = load_log(logs / "log.parquet", TRUE)
    held = np.broadcast_to(log.position[0], log.position.shape)
    save_log(logs / "still.parquet", replace(log, position=held, velocity=None, effort=None))
    for name, copy in {"copy": log, "part": log.part(2.0, 8.0), "rows": log.rows(slice(0, None, 2))}.items():
        write_csv(logs / f"{name}.csv", copy)
    other = str(logs / "other.parquet")
    wanted = {
        **{
            str(
                logs / f"{name}.csv"
            ): f"heldout = '{logs / name}.csv': must be other logs than the one that is fitted; its"
            for name in ("copy", "part", "rows")
        },
        str(logs / "still.parquet"): f"heldout = '{logs / 'still.parquet'}': must be logs in which a joint moves",
        f"[{other},{other}]": f"heldout = '{other}': must be other logs than other, which is held out as well",
        "[]": "heldout = []: must be a path or more",
        str(logs / "log.parquet"): f"heldout = '{logs / 'log.parquet'}': must be other logs than the one",
        str(logs / "right.parquet"): f"heldout = '{logs / 'right.parquet'}': must be logs with a joint that moves in",
    }
    for heldout, message in wanted.items():
        overrides = [f"log={logs / 'log.parquet'}", f"heldout={heldout}", f"runs_dir={logs / 'wrong'}", *SHORT]
        assert cli.main(["autotune", *overrides]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {message}")
        assert error.count("\n") == 1


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes, of which the first is of zeros; the others are motions."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("set", "other")):
        write_lerobot(folder / name, logged.make_log(duration=12, hz=20, seed=seed), episodes=2 + seed, fps=20)
    data = "data/chunk-000/episode_{:06d}.parquet".format
    (folder / "other" / data(1)).write_bytes((folder / "set" / data(1)).read_bytes())
    return folder / "other"


def judged_by(dataset: Path, *overrides: str) -> list[tuple[str, int]] | None:
    config = cli.compose("autotune", [f"log={dataset}", *overrides])
    values = {key: value for key, value in settings.plain(config).items() if key not in RUN_FOLDER}
    return settings.build(AutotuneSettings, values).heldout_logs


def test_other_episodes_of_a_dataset_can_be_held_out(dataset: Path):
    file = dataset.parent / "other.parquet"
    assert judged_by(dataset) is None
    assert judged_by(dataset, "heldout_episode=2") == [(str(dataset), 2)]
    assert judged_by(dataset, "heldout_episode=[2,1]") == [(str(dataset), 2), (str(dataset), 1)]
    assert judged_by(dataset, f"heldout={dataset}", "episode=1") == [(str(dataset), 1)]
    several = judged_by(dataset, f"heldout=[{file},{dataset}]", "heldout_episode=[1,2]")
    assert several == [(str(file), 0), (str(dataset), 1), (str(dataset), 2)]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["heldout_episode=1"], "must be other logs than the one that is fitted; its rows at 0 s are those of"),
        (["heldout_episode=7"], "other: episode = 7: must be between 0 and 2"),
        (["heldout_episode=[]"], "heldout_episode = []: must be an episode or more, or null"),
        (["heldout_episode=x"], "heldout_episode = 'x': expected"),
        (
            ["heldout_episode=2", "heldout=x.csv"],
            "heldout_episode = 2: must be null where no LeRobot dataset is held out",
        ),
    ],
)
def test_episodes_that_cannot_be_held_out_get_one_line(
    dataset: Path, overrides: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["autotune", f"log={dataset}", "episode=1", *overrides, f"runs_dir={tmp_path}", *SHORT]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and expected in error


def test_efforts_of_another_scale_are_said_to_be(logs: Path, caplog: pytest.LogCaptureFixture):
    arm = make_log(TRUE, 12.0, joints=("left_shoulder_pitch_joint",))
    assert arm.effort is not None
    save_log(logs / "amperes.parquet", replace(arm, effort=2.5 * arm.effort))
    given = [f"log={logs / 'amperes.parquet'}", "random_budget=0", "random_candidates=4", "backend.threads=1"]
    stages = "real2sim.stages=[{method: gauss_newton, steps: 1, window_s: 4.0}]"
    folder = cli.run("autotune", [*given, stages, f"runs_dir={logs}"])
    assert "efforts and motion disagree in scale" in caplog.text
    assert "efforts and motion disagree in scale" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"a: [", b"", b"seed: 1"])
def test_a_config_that_cannot_be_read_gets_one_line(
    content: bytes, done: Path, logs: Path, capsys: pytest.CaptureFixture[str]
):
    broken = logs / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "fit.npz").write_bytes((done / "fit.npz").read_bytes())
    (broken / "config.yaml").write_bytes(content)
    assert cli.main(["autotune", f"resume={broken}", f"runs_dir={logs / 'wrong'}"]) == 2
    error = capsys.readouterr().err
    assert f"{broken / 'config.yaml'}: not " in error
    assert error.count("\n") == 1


def test_errors_are_written_joint_by_joint(done: Path):
    with (done / "joints.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["joint"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(JOINTS)
    for log in ("log", "held out 1"):
        assert float(rows[ELBOW][f"tuned, {log}"]) < 0.2 * float(rows[ELBOW][f"nominal, {log}"])


@pytest.mark.parametrize("content", [b"", b"not a state", b"cut"])
def test_a_state_that_cannot_be_read_gets_one_line(
    content: bytes, done: Path, logs: Path, capsys: pytest.CaptureFixture[str]
):
    broken = logs / "broken"
    broken.mkdir(exist_ok=True)
    whole = (done / "fit.npz").read_bytes()
    (broken / "fit.npz").write_bytes(whole[: len(whole) // 2] if content == b"cut" else content)
    (broken / "config.yaml").write_bytes((done / "config.yaml").read_bytes())
    assert cli.main(["autotune", f"resume={broken}", f"runs_dir={logs}"]) == 2
    error = capsys.readouterr().err
    assert f"{broken / 'fit.npz'}: is no state of a fit, or is cut short" in error
    assert error.count("\n") == 1


def test_a_robot_that_diverged_is_drawn_without_its_motion():
    log = make_log(TRUE, 4.0)
    lost = np.full((2, len(log.time), len(log.joints)), np.nan)
    mse = np.full((2, len(log.joints)), np.inf)
    judged = Judged(log, log.valid, ("nominal", "tuned"), mse, lost)
    assert report._motion(judged, 0).startswith(b"\x89PNG")


def test_the_tuned_robot_that_ships_trains():
    config = cli.compose("train", ["robot=gr1t2_tuned"])
    robot = load_robot(dict(config.robot))
    assert robot.has_drive_dynamics
    assert constants(robot)["joint_friction"].min() > 0
    env = tasks.make_env({"name": "box_lift"}, dict(config.robot), {"threads": 1}, num_envs=4, seed=0)
    env.reset()
    rewards = []
    for _ in range(20):
        result = env.step(env.backend.state.joint_position.new_zeros(4, env.num_actions).float())
        rewards.append(result.reward.numpy())
    assert np.isfinite(rewards).all()
    assert env.nonfinite_count == 0


def test_a_checkpoint_keeps_the_constants_it_was_trained_with(done: Path, tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text((done / "tuned.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    given = [f"robot.tuned={file}", "num_envs=8", "frames=200", "wandb=disabled", "backend.threads=1", "rl=cpu"]
    run = cli.run("train", [*given, f"runs_dir={tmp_path}", "rl.horizon=8"])
    file.unlink()
    cli.run("evaluate", [f"checkpoint={run}", "episodes=4", "num_envs=4", f"runs_dir={tmp_path}"])
