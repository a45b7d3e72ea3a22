"""Every installed verb has help and a config, refuses a key that it does not know, and checks the jobs of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from dexsim import cli

VERBS = sorted(cli.verbs())
# Verb -> a sweep whose second job is wrong, and what is said of it.
SWEEPS = {
    "autotune": (("seed=0,-1", "log=no.csv"), "seed = -1: must be 0 to 4294967295"),
    "bench": (("steps=1,0",), "steps = 0: must be at least 1"),
    "demo": (("episodes=1,0",), "episodes = 0: must be at least 1"),
    "evaluate": (("forces=[push],[pusch]", "checkpoint=no"), "forces = ['pusch']: must be a list of "),
    "excite": (("interface=simulated,simulatd",), "interface = 'simulatd': no robot interface of that name; allowed"),
    "export": (("name=a,b/c", "checkpoint=no"), "name = 'b/c': must be letters"),
    "play": (("port=0", "task.bank=box_lift,no"), "task.bank = 'no': no file "),
    "transfer": (("episodes=1,0", "checkpoint=no"), "episodes = 0: must be at least 1"),
    "train": (("task=grasp_and_reach", "task.objects=[can],[cann]"), "no object or group named 'cann'"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: dexsim {verb} ")


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_key_is_named(verb: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main([verb, "no_such_key=12"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown key 'no_such_key' = 12; allowed: ")


@pytest.mark.parametrize("verb", VERBS)
def test_a_sweep_with_a_wrong_job_runs_none(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    given, message = SWEEPS[verb]
    assert cli.main([verb, "-m", *given]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: job 1 (")
    assert message in last
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("robot.tuned=no.yaml,neither.yaml", "robot.tuned = 'no.yaml': no such file"),
        ("randomization.frame_lag=2,3", "randomization.frame_lag = 2.0: must be 0 to 1"),
        ("control.policy_hz=7,8", "policy_hz"),
        ("resume=no,neither", "no checkpoint no"),
    ],
)
def test_what_a_training_names_is_looked_at_before(
    given: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "-m", given]) == 2
    assert message in capsys.readouterr().err.splitlines()[0]
    assert list(tmp_path.iterdir()) == []
