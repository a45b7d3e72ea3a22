"""Training: it learns, stops when it should, and resumes to the last bit."""

from __future__ import annotations

import contextlib
import csv
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dexsim.errors import UserError
from dexsim.rl import checkpoint
from dexsim.rl.agent import Budget, PpoAgent
from dexsim.rl.observer import TrainingObserver
from tests.fakes import PointEnv, ppo

LEARNER = {"units": [32, 32], "mini_epochs": 3}


def make_agent(
    run_dir: Path,
    frames: int | None = None,
    minutes: float | None = None,
    num_envs: int = 64,
    save_seconds: float = 1e9,
    **settings: Any,
) -> PpoAgent:
    env = PointEnv(num_envs)
    identity = {"config": {}, "spec_table": env.spec_table(), "version": "0"}
    observer = TrainingObserver(run_dir, window=100)
    chosen = ppo(actor=LEARNER, critic=LEARNER, **settings)
    return PpoAgent(
        env, chosen, Budget(frames, minutes), observer, run_dir, identity, seed=3, save_seconds=save_seconds
    )


def trained(agent: PpoAgent) -> PpoAgent:
    agent.learn()
    agent.algo_observer.close()
    return agent


def rows(run_dir: Path) -> list:
    with (run_dir / "curve.csv").open() as file:
        return list(csv.DictReader(file))


def assert_same(a: Any, b: Any, path: str = "") -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


def learned(run_dir: Path) -> dict[str, Any]:
    """What a run has come to, less what depends on the clock or on when checkpoints were written."""
    state = checkpoint.load(run_dir).state
    del state["seconds"], state["observer"]["best"], state["best"]
    return state


def test_it_learns(tmp_path: Path) -> None:
    trained(make_agent(tmp_path, frames=80_000, num_envs=128))
    curve = rows(tmp_path)
    assert float(curve[-1]["episode/success"]) > 0.8 > 0.3 > float(curve[5]["episode/success"])
    assert float(curve[-1]["reward/success"]) > float(curve[0]["reward/success"])
    assert (tmp_path / "checkpoints" / "best.pt").is_file()
    assert list(tmp_path.glob("tensorboard/summaries/events*"))


@pytest.mark.parametrize("schedule", ["adaptive", "linear"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, schedule: str) -> None:
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    trained(make_agent(whole, frames=20_480, schedule=schedule))
    # the first part is cut off by a signal, so that its schedule is the one of the whole run
    agent = make_agent(first, frames=20_480, schedule=schedule)
    stop_at(agent, 10_240)
    assert agent.learn()
    agent.algo_observer.close()
    rest = make_agent(second, frames=20_480, schedule=schedule)
    rest.resume(checkpoint.load(first))
    trained(rest)
    assert_same(learned(second), learned(whole))
    assert [row["episode/return"] for row in rows(second)] == [row["episode/return"] for row in rows(whole)]


def stop_at(agent: PpoAgent, frame: int) -> None:
    """Send ourselves Ctrl-C in the epoch that ends at a frame."""
    step = agent.vec_env.step

    def step_then_interrupt(actions: torch.Tensor) -> Any:
        if agent.frame + agent.batch_size == frame and agent.epoch_num not in sent:
            sent.add(agent.epoch_num)
            signal.raise_signal(signal.SIGINT)
        return step(actions)

    sent: set = set()
    agent.vec_env.step = step_then_interrupt


def test_ctrl_c_ends_the_epoch_with_a_checkpoint(tmp_path: Path) -> None:
    agent = make_agent(tmp_path, frames=1_000_000)
    stop_at(agent, 4_096)
    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background
    assert agent.learn()
    assert checkpoint.load(tmp_path).frame == 4_096
    assert signal.getsignal(signal.SIGINT) is before


def test_resuming_removes_what_a_kill_left(tmp_path: Path) -> None:
    trained(make_agent(tmp_path / "first", frames=1_024))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale = tmp_path / "first" / "checkpoints" / f".last.{dead.pid}.tmp.pt"
    stale.touch()
    make_agent(tmp_path / "second", frames=2_048).resume(checkpoint.load(tmp_path / "first"))
    assert not stale.exists()
    assert checkpoint.load(tmp_path / "first").frame == 1_024


def test_minutes_end_training(tmp_path: Path) -> None:
    agent = trained(make_agent(tmp_path, minutes=0.01))
    assert 0.6 <= agent.seconds < 5
    assert checkpoint.load(tmp_path).state["seconds"] == agent.seconds


def test_time_outs_are_bootstrapped_and_failures_are_not(tmp_path: Path) -> None:
    agent = make_agent(tmp_path, frames=1024)
    env = agent.vec_env.env
    assert isinstance(env, PointEnv)
    agent.vec_env.reset()
    env.position[:] = 0.5
    env.goal[:] = -0.5
    env.length[0] = env.max_episode_length - 1
    env.goal[1] = 3.0
    env.length[2], env.goal[2] = env.max_episode_length - 1, 3.0
    _, _, dones, infos = agent.vec_env.step(torch.zeros(env.num_envs, 3))
    assert dones[:4].tolist() == [1, 1, 1, 0]
    assert infos["time_outs"][:4].tolist() == [True, False, False, False]


def test_bfloat16_learns_too(tmp_path: Path) -> None:
    trained(make_agent(tmp_path, frames=80_000, num_envs=128, precision="bfloat16"))
    assert float(rows(tmp_path)[-1]["episode/success"]) > 0.8


@pytest.mark.parametrize(
    ("frames", "minutes", "frame", "seconds", "progress"),
    [(100, None, 50, 1e9, 0.5), (None, 1.0, 10**9, 30, 0.5), (100, 1.0, 10, 45, 0.75), (100, None, 200, 0, 1.0)],
)
def test_progress(frames: Any, minutes: Any, frame: int, seconds: float, progress: float) -> None:
    assert Budget(frames, minutes).progress(frame, seconds) == progress


def test_a_budget_must_end() -> None:
    with pytest.raises(UserError, match="frames"):
        Budget()


@contextlib.contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let no file grow beyond a size in bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_a_save_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    agent = make_agent(tmp_path, frames=4_096, save_seconds=0.0)
    save, limit = agent.save_checkpoint, contextlib.ExitStack()

    def save_with_little_room() -> None:
        if agent.frame == 3_072:
            limit.enter_context(disk_of(20_000))
        try:
            save()
        finally:
            limit.close()

    agent.save_checkpoint = save_with_little_room
    assert not agent.learn()
    assert caplog.messages == ["the checkpoint of step 3072 was not written (File too large); it is tried again"]
    kept = [checkpoint.load(tmp_path / "checkpoints" / name).frame for name in ("last.pt", "previous.pt")]
    assert kept == [4_096, 2_048]


def test_a_disk_that_stays_full_leaves_what_was_whole(tmp_path: Path) -> None:
    agent = make_agent(tmp_path, frames=2_048, save_seconds=0.0)
    save, limit = agent.save_checkpoint, contextlib.ExitStack()

    def save_until_it_is_full() -> None:
        save()
        limit.enter_context(disk_of(20_000))

    agent.save_checkpoint = save_until_it_is_full
    message = r"step 2048 could not be written \(File too large\); the one of step 1024 is whole"
    with limit, pytest.raises(UserError, match=message):
        agent.learn()
    assert checkpoint.load(tmp_path).frame == 1_024


def test_the_best_policy_goes_with_a_resumed_run(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    trained(make_agent(first, frames=20_480, save_seconds=0.0))
    best = checkpoint.load(first / "checkpoints" / "best.pt")
    for name in ("best.pt", "previous.pt"):
        (first / "checkpoints" / name).unlink()
    going_on = make_agent(second, frames=21_504)
    going_on.resume(checkpoint.load(first))
    going_on.algo_observer.improved = lambda: False
    trained(going_on)
    found = checkpoint.load(second / "checkpoints" / "best.pt")
    assert found.frame == best.frame > 0
    assert_same(found.state["model"], best.state["model"])
    anew = make_agent(third, frames=best.frame + 1_024)  # from the best policy itself: its environments start anew
    anew.resume(found)
    trained(anew)
    assert checkpoint.load(third).frame == best.frame + 1_024
    assert float(rows(third)[-1]["frame"]) == best.frame + 1_024


def test_what_another_version_lacks_is_named(tmp_path: Path) -> None:
    trained(make_agent(tmp_path, frames=1_024))
    old = checkpoint.load(tmp_path)
    del old.state["env_state"]["velocity"], old.state["rollout"], old.state["format"]
    pattern = (
        r"last\.pt was written by dexsim 0 \(format 1\) and cannot be gone on with by dexsim .*: it has no rollout, "
    )
    with pytest.raises(UserError, match=pattern + r"env_state\.velocity; it can be evaluated"):
        make_agent(tmp_path / "next", frames=2_048).resume(old)
    odd = checkpoint.load(tmp_path)
    odd.state["env_state"]["random"] = "none"
    with pytest.raises(UserError, match=r"written by dexsim 0 .* and cannot be gone on with .*"):
        make_agent(tmp_path / "next", frames=2_048).resume(odd)
