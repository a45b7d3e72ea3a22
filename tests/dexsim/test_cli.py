"""Tests of the command line: exit statuses, one-line errors, run folders, sweeps."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig

from dexsim import cli, paths, settings
from dexsim.errors import UserError
from dexsim.launch import verb as launch_verb
from dexsim.runs import RunFolder

CONFIGS = {
    "toy.yaml": "defaults: [{task: lift}, _self_]\nname: ${task.name}\nruns_dir: runs\nnum_envs: 4\nrate: 10.0\n",
    "needy.yaml": "checkpoint: ???\n",
    "task/lift.yaml": "name: lift\ngoal: {height: 0.2, width: 1.0}\n",
    "task/reach.yaml": "name: reach\ngoal: {height: 0.4, width: 1.0}\n",
    "task/broken.yaml": "name: [1",
}


@dataclasses.dataclass(frozen=True)
class Toy:
    num_envs: int
    rate: float
    task: dict[str, Any]


def main(config: DictConfig, run: RunFolder) -> None:
    """The verb under test: it records its one number, crashes or is interrupted."""
    toy = settings.build(Toy, config)
    if toy.num_envs == 0:
        raise KeyboardInterrupt
    run.result("num_envs", toy.num_envs, "1")


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in CONFIGS.items():
        file = tmp_path / "cfg" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "toy_verb.py").write_text('"""A toy.\n\nIts second paragraph."""\n')
    points = {name: EntryPoint(name, "toy_verb:main", "dexsim.verbs") for name in ("toy", "needy")}
    monkeypatch.setattr(EntryPoint, "load", lambda point: main)
    for module in (cli, launch_verb):
        monkeypatch.setattr(module, "verbs", lambda: points)
    monkeypatch.setattr(paths, "cfg_dir", lambda: tmp_path / "cfg")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)


def folders() -> list[Path]:
    return sorted(Path("runs").glob("*/*/*"))


def test_a_run_ends_with_the_path_of_its_folder(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["toy", "num_envs=8", "task=reach"]) == 0
    (folder,) = folders()
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    assert folder.parts[:3] == ("runs", "toy", "reach")
    assert yaml.safe_load((folder / "config.yaml").read_text()) == {
        "name": "reach",
        "runs_dir": "runs",
        "num_envs": 8,
        "rate": 10.0,
        "task": {"name": "reach", "goal": {"height": 0.4, "width": 1.0}},
    }
    assert (folder / "result.json").exists()


def test_a_verb_can_be_run_from_python():
    assert cli.run("toy", ["name=mine", "runs_dir=elsewhere"]).parent == Path("elsewhere/toy/mine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toi"], "no verb named 'toi'; allowed: toy, needy; did you mean 'toy'?"),
        (
            ["toy", "--fast"],
            "unknown option '--fast'; keys of the config are written without dashes, key=value; allowed",
        ),
        (["toy", "--num_envs", "3"], "unknown option '--num_envs'; keys of the config are written without dashes"),
        (["toy", "--hydra-help"], "cannot use --hydra-help: `dexsim --help` lists the verbs"),
        (["toy", "--config-name", "other"], "cannot use --config-name: the config is that of the verb"),
        (["toy", "-cp", "cfg"], "cannot use -cp: the configs are those that ship; --config-dir adds"),
        (["toy", "--info", "searchpath"], "cannot use --info: `--cfg hydra` prints"),
        (["toy", "--shell-completion", "install=bash"], "cannot use --shell-completion: "),
        (["toy", "--experimental-rerun", "x"], "cannot use --experimental-rerun: "),
        (["toy", "--cfg"], "argument -c/--cfg: expected one argument"),
        (["toy", "--cfg", "jobs"], "argument -c/--cfg: invalid choice: 'jobs'"),
        (["toy", "--cfg", "job", "--package", "tsk"], "--package tsk: no such section; allowed: task, "),
        (["toy", "--cfg", "job", "-m"], "argument -m/--multirun: not allowed with argument -c/--cfg"),
        (["toy", "--run", "-m"], "argument -m/--multirun: not allowed with argument -r/--run"),
        (["toy", "--resolve"], "--resolve and --package say how --cfg prints: --cfg job, hydra or all is missing"),
        (["toy", "--config-dir", "nowhere"], "--config-dir nowhere: no such folder"),
        (["-m"], "a verb is missing: dexsim <verb> ...; allowed: toy, needy"),
        (
            ["toy", "num_env=12"],
            "unknown key 'num_env' = 12; allowed: task, name, runs_dir, num_envs, rate; did you mean 'num_envs'?",
        ),
        (
            ["toy", "task.goal.hight=2"],
            "unknown key 'task.goal.hight' = 2; allowed: height, width; did you mean 'height'?",
        ),
        (["toy", "tsk=lift"], "unknown key 'tsk' = lift; allowed: task, "),
        (
            ["toy", "num_envs.x=3"],
            "unknown key 'num_envs.x' = 3; allowed: nothing, or a key that is new: +num_envs.x=3",
        ),
        (["toy", "goal.height=2"], "unknown key 'goal' in 'goal.height=2'; allowed: task, "),
        (["toy", "+num_envs=3"], "+num_envs=3: there is a num_envs already; write num_envs=3"),
        (["toy", "+task=reach"], "+task=reach: there is a task already; write task=reach"),
        (["toy", "task@x=reach"], "Could not override 'task@x'.; Did you mean to override task?"),
        (["toy", "~num_env"], "nothing to delete: 'num_env' does not exist"),
        (["toy", "~num_envs=5"], "nothing to delete: The value of 'num_envs' is 4 and not 5"),
        (["toy", "num_envs="], "num_envs= has no value: num_envs=null is none, 'num_envs=\"\"' an empty text"),
        (["toy", "+other=3"], "unknown key 'other' = 3; allowed: num_envs, rate, task"),
        (["toy", "hydra.job.name=x"], "cannot use 'hydra.job.name=x': Hydra's own settings have no effect without -m"),
        (["toy", "task=lft"], "no 'task' named 'lft'; allowed: broken, lift, reach; did you mean 'lift'?"),
        (["toy", "task=3"], "no 'task' named '3'; allowed: broken, lift, reach"),
        (["toy", "task=[lift,rech]"], "no 'task' named 'rech'; allowed: broken, lift, reach; did you mean"),
        (["toy", "task=broken"], "while parsing a flow sequence; in "),
        (["toy", "num_envs"], "cannot read 'num_envs': expected key=value, without blanks around the ="),
        (["toy", "num_envs", "=", "3"], "cannot read 'num_envs': expected key=value, without blanks around the ="),
        (["toy", "=3"], "cannot read '=3': '' is no key"),
        (["toy", "größe=3"], "cannot read 'größe=3': 'größe' is no key"),
        (["toy", "num_envs=[1"], "cannot read 'num_envs=[1': a [ is not closed; as text it is 'num_envs=\"[1\"'"),
        (["toy", "-m", "num_envs=[1"], "cannot read 'num_envs=[1': a [ is not closed; as text it is"),
        (["toy", "num_envs={a: 1"], "cannot read 'num_envs={a: 1': a { is not closed; as text it is"),
        (["toy", "name=${a"], "cannot read 'name=${a': a ${ is not closed; as text it is 'name=\"\\${a\"'"),
        (["toy", "name='a"], 'cannot read "name=\'a": its quotes do not end where the value does; as text it is '),
        (["toy", "name=\udce4"], "cannot read 'name=\\udce4': it is not UTF-8"),
        (
            ["toy", "num_envs=1,2"],
            "num_envs=1,2 has several values: -m runs once with each, 'num_envs=[1,2]' is a list, ",
        ),
        (["toy", "num_envs=range(1,3)"], "num_envs=range(1,3) has several values: -m runs once with each, "),
        (["toy", "num_envs=many"], "num_envs = 'many': expected int"),
        (
            ["toy", "rate=${nowhere}"],
            "rate: Interpolation key 'nowhere' not found; a ${ that stands for itself is written ",
        ),
        (["toy", "name=a/b"], "name = 'a/b': must be letters"),
        (["toy", "~rate"], "rate is missing: expected float"),
        (["needy"], "checkpoint is missing: add checkpoint=<value>"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_run(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert out == ""
    assert folders() == []


def test_a_sweep_runs_every_combination(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["toy", "-m", "num_envs=1,2", "task=lift,reach"]) == 0
    assert len(list(Path("runs/toy/lift").iterdir())) == len(list(Path("runs/toy/reach").iterdir())) == 2
    (folder,) = Path("runs/sweep/toy").iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["task=lift,lft"],
            "job 1 (task=lft): no 'task' named 'lft'; allowed: broken, lift, reach; did you mean 'lift'?",
        ),
        (["num_envs=1,2", "num_env=3"], "unknown key 'num_env' = 3; allowed: task, "),
        (["num_envs=1,2", "hydra/launcher=basik"], "no 'hydra/launcher' named 'basik'; allowed: basic"),
        (["hydra.launcher.jobs=2"], "unknown key 'hydra.launcher.jobs' = 2; allowed: _target_"),
        (["hydra/sweeper=ax"], "hydra/sweeper=ax: its plugin is not installed: pip install hydra-ax-sweeper"),
        (["hydra.sweep.dir=x"], "cannot use 'hydra.sweep.dir=x': `name` and `runs_dir` say where a run's folder is"),
    ],
)
def test_a_sweep_with_a_mistake_runs_nothing(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["toy", "-m", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {message}")
    assert (out, err.count("\n")) == ("", 1)
    assert folders() == []


def test_an_interrupted_sweep_exits_130_and_says_what_ran(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["toy", "-m", "num_envs=1,0,2"]) == 130
    (folder,) = Path("runs/sweep/toy").iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    assert "1,interrupted,0," in (folder / "sweep.csv").read_text()
    assert "2,not started,2," in (folder / "sweep.csv").read_text()
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"


def test_a_single_run_always_runs():
    for _ in range(2):
        assert cli.main(["toy"]) == 0
    assert len(folders()) == 2


def test_an_objective_that_was_asked_for_must_be_there(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["toy", "+objective=num_envs"]) == 0
    assert cli.main(["toy", "+objective=num_env"]) == 2
    assert "objective = 'num_env': no metric that this run has; allowed: num_envs; did" in capsys.readouterr().err


def test_an_interrupt_exits_130_and_still_names_the_folder(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["toy", "num_envs=0"]) == 130
    out, err = capsys.readouterr()
    assert out == f"{folders()[0]}\n"
    assert err == "interrupted\n"


def test_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]):
    for arguments in ([], ["-h"], ["--help"]):
        assert cli.main(arguments) == 0
        assert "  toy        A toy.\n" in capsys.readouterr().out


def test_help_of_a_verb_lists_groups_and_keys(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["toy", "task=reach", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Its second paragraph." in out
    assert "  task: reach  [broken, lift, reach]" in out
    assert "num_envs: 4\n" in out
    assert "    height: 0.4\n" in out
    assert "hydra" not in out


def test_cfg_prints_what_is_composed(capsys: pytest.CaptureFixture[str]):
    def printed(*arguments: str) -> Any:
        assert cli.main(["toy", "num_envs=8", *arguments]) == 0
        return yaml.safe_load(capsys.readouterr().out)

    job = printed("--cfg", "job")
    assert (job["name"], job["num_envs"]) == ("${task.name}", 8)
    assert printed("--cfg=job", "--resolve")["name"] == "lift"
    assert printed("-c", "job", "-p", "task.goal") == {"height": 0.2, "width": 1.0}
    assert printed("--cfg", "job", "--package", "num_envs") == 8
    assert printed("--cfg", "job", "--package", "_global_") == job
    assert printed("--cfg", "hydra").keys() == {"hydra"}
    assert printed("--cfg", "all", "--resolve").keys() == {*job, "hydra"}
    assert folders() == []


def test_a_folder_of_options_of_one_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    own = tmp_path / "meine (1)/task/far.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("name: far\ngoal: {height: 9}\n")
    where = ["--config-dir", "meine (1)"]
    assert cli.main(["toy", *where, "task=far"]) == 0
    assert folders()[0].parts[:3] == ("runs", "toy", "far")
    assert cli.run("toy", ["task=far"], folder="meine (1)").parent.name == "far"
    assert cli.main(["toy", "-m", "-cd", "meine (1)", "task=far,lift", "name=both"]) == 0
    assert len(list(Path("runs/toy/both").iterdir())) == 2
    assert cli.main(["toy", *where, "--help"]) == 0
    assert "task: lift  [broken, far, lift, reach]" in capsys.readouterr().out
    assert cli.main(["toy", "task=far"]) == 2
    assert "no 'task' named 'far'; allowed: broken, lift, reach" in capsys.readouterr().err


def test_options_may_stand_anywhere():
    assert cli.main(["-m", "toy", "num_envs=1,2", "--config-dir", ".", "task=reach"]) == 0
    assert len(list(Path("runs/toy/reach").iterdir())) == 2


@pytest.mark.parametrize("name", ["größe", "1e3", "007", "null", "true", "2026-11-28"])
def test_a_name_is_text(name: str):
    assert cli.run("toy", [f"name={name}"]).parent.name == name


def test_keys_of_an_open_section_need_no_plus(tmp_path: Path):
    config = tmp_path / "cfg/toy.yaml"
    config.write_text("defaults: [_self_, task: null]\nnum_envs: 4\nrate: 10.0\n")

    def task(*overrides: str) -> Any:
        return cli.compose("toy", overrides).get("task")

    assert task() is None
    assert task("task.goal.height=2") == task("+task.goal.height=2") == {"goal": {"height": 2}}
    assert task("task=lift", "task.goal.height=2")["goal"] == {"height": 2, "width": 1.0}
    assert task("task.goal.height=2", "task=lift")["goal"] == {"height": 2, "width": 1.0}
    assert cli.compose("toy", ["objective=rate"])["objective"] == "rate"


def test_compose_raises_what_main_prints():
    with pytest.raises(UserError, match="unknown key 'x' = 1"):
        cli.compose("toy", ["x=1"])


def dexsim(*arguments: str) -> subprocess.CompletedProcess:
    command, root = [sys.executable, "-m", "dexsim", *arguments], Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)


def test_the_real_command_helps_quickly():
    started = time.perf_counter()
    done = dexsim("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: dexsim <verb>")
    assert time.perf_counter() - started < 3  # torch alone would take longer on a busy machine


def test_the_real_command_names_a_mistake():
    done = dexsim("trian")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no verb named 'trian'; allowed: ")
    assert "Traceback" not in done.stderr
