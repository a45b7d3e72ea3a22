"""Entry points are found by group, and what they name is imported even where a user's folders have the same names."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from dexsim.errors import UserError
from dexsim.registration import entry_points, load
from tests import toy


def test_the_first_distribution_that_has_a_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [("a", "first:main", "ours"), ("b", "first:main", "theirs")], [("a", "second:main", "ours")]
    found = [SimpleNamespace(entry_points=[metadata.EntryPoint(*point) for point in some]) for some in points]
    monkeypatch.setattr(metadata, "distributions", lambda: found)
    assert {name: point.value for name, point in entry_points("ours").items()} == {"a": "first:main"}


PACKAGES = ("tasks", "deploy", "distill", "real2sim")
DEPENDENCIES = ("wandb", "hydra", "omegaconf", "gymnasium", "torch", "yaml", "rich", "email", "queue")


def python(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess:
    """Run Python in a folder, with more entries before the path of modules."""
    environ = toy.environment()
    environ["PYTHONPATH"] = path + environ["PYTHONPATH"]
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["package", "file", "folder"])
@pytest.mark.parametrize("path", ["", ":"])  # an empty entry is the current folder
def test_what_lies_in_the_current_folder_hides_nothing(tmp_path: Path, kind: str, path: str):
    for name in (*PACKAGES, *DEPENDENCIES):
        file = tmp_path / (f"{name}.py" if kind == "file" else f"{name}/{'__init__' if kind == 'package' else 'x'}.py")
        file.parent.mkdir(exist_ok=True)
        file.write_text("raise SystemExit('mine')\n")
    command = tmp_path / "bin/dexsim"  # as an installer makes it
    command.parent.mkdir()
    command.write_text("import sys\nfrom dexsim.cli import main\nsys.exit(main())\n")
    for start in (["-m", "dexsim"], [str(command)]):
        done = python(tmp_path, *start, "--help", path=path)
        assert "  train      Train a policy" in done.stdout, done.stderr
    for verb, mistake in (("train", "num_envs=0"), ("autotune", "seed=-1")):
        done = python(tmp_path, "-m", "dexsim", verb, mistake, path=path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"error: {'num_envs = 0' if verb == 'train' else 'log is missing'}")


@pytest.mark.parametrize("call", ["make('dexsim/BoxLift-v0')", "make_vec('dexsim/BoxLift-v0', num_envs=2)"])
@pytest.mark.parametrize("file", ["tasks/__init__.py", "tasks.py"])
def test_a_package_beside_a_script_is_named(tmp_path: Path, call: str, file: str):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine = 1\n")
    (tmp_path / "script.py").write_text(f"import dexsim, gymnasium, tasks\nassert tasks.mine\ngymnasium.{call}\n")
    done = python(tmp_path, "script.py")
    *_, last = done.stderr.splitlines()
    place = tmp_path / file.removesuffix("/__init__.py")
    assert last.startswith(
        f"dexsim.errors.UserError: {place} is in the way of dexsim's package 'tasks', {toy.ROOT}/tasks,"
    )


def test_a_verb_of_a_package_in_the_way_is_one_line(tmp_path: Path):
    (tmp_path / "tasks.py").touch()
    (tmp_path / "script.py").write_text(
        "from dexsim import cli\nraise SystemExit(cli.main(['export', 'checkpoint=x']))\n"
    )
    done = python(tmp_path, "script.py")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: {tmp_path}/tasks.py is in the way of dexsim's package 'tasks'")
    assert not (tmp_path / "runs").exists()


def test_a_package_of_others_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"no_such.push:Push .* cannot be imported: there is no package 'no_such'"):
        load(metadata.EntryPoint("push", "no_such.push:Push", "dexsim.tasks"))
    with pytest.raises(UserError, match=r"tests is in the way of tests.no_such:Push \(dexsim.tasks\) which has"):
        load(metadata.EntryPoint("push", "tests.no_such:Push", "dexsim.tasks"))
