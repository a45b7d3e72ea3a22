"""Hydra's state is that of the process: a program with a Hydra of its own finds it as it was."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir, version
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from omegaconf import OmegaConf

from dexsim import cli
from dexsim.launch import verb as launch_verb
from tests import toy

PROGRAM = """
from pathlib import Path
import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from dexsim import cli, paths
paths.cfg_dir = lambda: Path(__file__).parent / "cfg"
store = ConfigStore.instance()
store.store(name="mine", node={"speed": 1, "defaults": ["_self_", {"shape": "own"}]})
store.store(group="shape", name="own", node={"sides": 5})

@hydra.main(version_base="1.2", config_path=None, config_name="mine")
def main(config):
    def state():
        return GlobalHydra.instance(), GlobalHydra.instance().hydra, ConfigStore.instance(), HydraConfig.get().job.name
    before, stored = state(), str(store.repo)
    assert cli.compose("toy", ["shape=square"])["shape"] == {"sides": 4}
    folder = cli.run("toy", ["x=3", "name=first"])
    assert cli.main(["toy", "-m", "x=1,2", "name=swept"]) == 0
    assert cli.main(["toy", "shape=own"]) == 2  # that is the program's, not ours
    assert state() == before and str(store.repo) == stored
    assert hydra.version.getbase().minor == 2
    assert hydra.compose("mine", ["speed=4"]) == {"speed": 4, "shape": {"sides": 5}}
    print(folder, config.shape.sides, HydraConfig.get().runtime.choices.shape)

main()
"""


def test_a_program_with_its_own_hydra_runs_verbs(tmp_path: Path):
    toy.write(tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    for flags in ([], ["-m"]):
        done = toy.run(tmp_path, *flags, "shape=own", script="program.py")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].endswith(" 5 own")
    assert len(list(tmp_path.glob("runs/toy/first/*"))) == 2
    assert len(list(tmp_path.glob("runs/toy/swept/*"))) == 2  # the second sweep found them complete


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    toy.write(tmp_path)
    monkeypatch.setattr("dexsim.paths.cfg_dir", lambda: tmp_path / "cfg")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("configs")
def test_what_there_was_is_there_after_an_error_too():
    cli.compose("toy")  # finds Hydra's own launchers and sweepers, which are for all
    before, stored = dict(Singleton._instances), str(ConfigStore.instance().repo)
    for given in (["x=1"], ["y=1"], ["shape=squar"], ["x=[1"]):
        cli.main(["toy", "--cfg", "all", *given])
        cli.main(["toy", "-m", "hydra/launcher=nope", *given])
    after = dict(Singleton._instances)
    assert {kind: after[kind] for kind in before} == before
    assert str(ConfigStore.instance().repo) == stored
    assert not GlobalHydra.instance().is_initialized()


def test_a_hydra_that_is_initialized_stays_so(configs: Path):
    with initialize_config_dir(str(configs / "cfg"), version_base="1.2"):
        mine = GlobalHydra.instance().hydra
        assert cli.compose("toy", ["x=4"])["x"] == 4
        assert GlobalHydra.instance().hydra is mine
        assert str(version.getbase()) == "1.2"
        assert compose("toy", ["x=7"])["x"] == 7


def test_a_resolver_of_the_program_s_own_stays(configs: Path):
    OmegaConf.register_new_resolver("now", lambda pattern: f"mine {pattern}", replace=True)
    cli.compose("toy")
    assert OmegaConf.create({"a": "${now:x}"})["a"] == "mine x"
    OmegaConf.clear_resolver("now")


@pytest.mark.usefixtures("configs")
def test_threads_compose_at_once():
    found: dict[int, object] = {}

    def work(number: int) -> None:
        for _ in range(3):
            found[number] = cli.compose("toy", [f"x={number}"])["x"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {number: number for number in range(4)}
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.usefixtures("configs")
def test_a_thread_composes_while_a_sweep_runs(monkeypatch: pytest.MonkeyPatch):
    composed = []

    def main(config: object, run: object) -> None:
        thread = threading.Thread(target=lambda: composed.append(cli.compose("toy", ["x=9"])["x"]))
        thread.start()
        thread.join(60)

    monkeypatch.setattr(launch_verb, "load", lambda point: main)
    assert cli.main(["toy", "-m", "x=1,2"]) == 0
    assert composed == [9, 9]
