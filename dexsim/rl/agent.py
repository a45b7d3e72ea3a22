"""rl-games' PPO agent in a training loop of our own."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rl_games.algos_torch.a2c_continuous import A2CAgent
from rl_games.algos_torch.torch_ext import mean_list
from rl_games.common.tr_helpers import DefaultRewardsShaper

from dexsim.env.contract import LearnerEnv
from dexsim.errors import UserError, require
from dexsim.files import made_up_for, remove_stale
from dexsim.rl.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    best_part,
    blamed,
    check_complete,
    is_best,
    random_state,
    set_random_state,
)
from dexsim.rl.observer import TrainingObserver
from dexsim.rl.ppo import PpoSettings, rl_games_params
from dexsim.rl.vecenv import VecEnv

logger = logging.getLogger(__name__)

LEAST_RATE = 0.01  # of the initial learning rate, where the linear schedule ends


@dataclass(frozen=True)
class Budget:
    """When training ends: at whichever comes first.

    Attributes:
        frames: Environment steps, all environments together; None for no limit.
        minutes: Wall-clock, summed over resumed runs; None for no limit.
    """

    frames: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        require(self.frames is None or self.frames >= 0, "frames", self.frames, "0 or more")
        require(self.minutes is None or self.minutes >= 0, "minutes", self.minutes, "0 or more")
        require((self.frames, self.minutes) != (None, None), "frames", None, "given when minutes is not")

    def progress(self, frame: int, seconds: float) -> float:
        """Return how much is spent, in [0, 1]."""
        shares = [spent / limit if limit else 1.0 for spent, limit in self._limits(frame, seconds)]
        return min(1.0, max(shares))

    def seconds_left(self, frame: int, seconds: float, rate: float) -> float:
        """Return the wall-clock seconds until the end at so many frames a second."""
        by_frames = float("inf") if self.frames is None else (self.frames - frame) / rate
        by_minutes = float("inf") if self.minutes is None else 60 * self.minutes - seconds
        return max(0.0, min(by_frames, by_minutes))

    def _limits(self, frame: int, seconds: float) -> Iterator[Any]:
        if self.frames is not None:
            yield frame, self.frames
        if self.minutes is not None:
            yield seconds, 60 * self.minutes


class PpoAgent(A2CAgent):
    """PPO that stops by frames or wall-clock, saves atomically and resumes to the last bit.

    The algorithm is rl-games'; the loop around it is not: theirs resets the environment and the learning rate on a
    resume, keeps no random state, and knows neither wall-clock nor signals.

    Args:
        env: Environment to learn in.
        settings: Of the algorithm.
        budget: When to stop.
        observer: Told of every step and every epoch.
        run_dir: Folder of the run, for checkpoints and tensorboard summaries.
        identity: What makes a checkpoint self-contained: `config`, `spec_table` and `version`.
        seed: Of torch, numpy and python. The environment has its own.
        save_seconds: Wall-clock between two checkpoints.
    """

    vec_env: VecEnv  # pyright: ignore[reportIncompatibleVariableOverride] - ours is never None
    writer: Any

    def __init__(
        self,
        env: LearnerEnv,
        settings: PpoSettings,
        budget: Budget,
        observer: TrainingObserver,
        run_dir: Path,
        identity: Mapping[str, Any],
        seed: int = 0,
        save_seconds: float = 60.0,
    ) -> None:
        _seed(seed)
        torch.set_num_threads(settings.torch_threads)
        vec_env = VecEnv(env)
        params = rl_games_params(settings, env.num_envs, seed, env.dt, str(run_dir), str(env.device))
        params["config"].update(
            env_info=vec_env.get_env_info(),
            vec_env=vec_env,
            reward_shaper=DefaultRewardsShaper(),
            features={"observer": observer},
        )
        self.settings, self._device_type = settings, env.device.type
        self.budget = budget
        self.seconds = 0.0
        self.stats: dict[str, float] = {}  # figures of the last epoch
        self.spent = {"simulate": 0.0, "collect": 0.0, "learn": 0.0}  # seconds since `learn` was called
        self._identity = dict(identity)
        self._checkpoints = CheckpointFolder(run_dir)
        self._save_seconds = save_seconds
        self._saved_frame: int | None = None
        self._resumed: dict[str, Any] | None = None
        self._best: dict[str, Any] | None = None  # `best_part` of the best state so far
        with contextlib.redirect_stdout(io.StringIO()):  # rl-games prints its layers
            super().__init__("run", params)
        self._mirrors = env.mirrors() if settings.symmetry else None
        if self._mirrors:
            self._mirror_critic()
        Path(self.nn_dir).rmdir()  # for rl-games' checkpoints; ours lie elsewhere

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, in [0, 1]."""
        return self.budget.progress(self.frame, self.seconds)

    @property
    def last_checkpoint(self) -> Path:
        """Where the newest checkpoint is."""
        return self._checkpoints.last

    # ------------------------------------------------------------------ training loop

    def learn(self) -> bool:
        """Train until the budget is spent, with a checkpoint at the end in any case.

        Ctrl-C or SIGTERM ends it after the running epoch; a second one at once.

        Returns:
            Whether training was interrupted.

        Raises:
            UserError: The checkpoint at the end could not be written; it says which one is whole.
        """
        self._start()
        clock = _Clock(self.seconds)
        with _interruptible() as interrupted:
            saved = clock()
            while self.progress < 1.0 and not interrupted.is_set():
                self._run_epoch()
                self.seconds = clock()
                self.algo_observer.after_print_stats(self.frame, self.epoch_num, self.seconds)
                if self.seconds - saved >= self._save_seconds:
                    with made_up_for(f"the checkpoint of step {self.frame}"):
                        self.save_checkpoint()
                    saved = clock()
            self._save_last()
        return interrupted.is_set()

    def _start(self) -> None:
        self.init_tensors()
        if self._resumed is None or "rollout" not in self._resumed:
            self.obs = self.env_reset()
            return
        rollout = self._resumed["rollout"]
        self.obs, self.dones = rollout["obs"], rollout["dones"]
        self.is_tensor_obses = True
        set_random_state(self._resumed["random"])  # last: building the agent has drawn from it

    def _run_epoch(self) -> None:
        self._schedule()
        self.update_epoch()
        simulate, collect, learn, _, actor, _, _, entropies, kls, rate, _ = self.train_epoch()
        self.dataset.update_values_dict(None)
        self.frame += self.curr_frames
        times = {"simulate": simulate, "collect": collect, "learn": learn}
        self.spent = {name: seconds + times[name] for name, seconds in self.spent.items()}
        self.stats = {
            **{f"time/{name}": seconds for name, seconds in times.items()},
            "time/steps_per_second": self.curr_frames / (collect + learn),
            "ppo/learning_rate": rate,
            "ppo/kl": mean_list(kls).item(),
            "ppo/entropy": mean_list(entropies).item(),
            "ppo/actor_loss": mean_list(actor).item(),
            "ppo/critic_loss": self._critic_loss,
            "ppo/action_std": self.model.a2c_network.sigma.exp().mean().item(),
        }

    def _schedule(self) -> None:
        if self.settings.schedule == "linear":
            share = max(LEAST_RATE, 1.0 - self.progress)
            self.last_lr = share * self.settings.actor.learning_rate
            self.update_lr(self.last_lr)
            self.central_value_net.update_lr(share * self.settings.critic.learning_rate)

    # ------------------------------------------------------------------ checkpoints

    def _save_last(self) -> None:
        if self._saved_frame == self.frame:
            return
        try:
            self.save_checkpoint()
        except OSError as error:
            frame = self._saved_frame
            whole = "there is no earlier one" if frame is None else f"the one of step {frame} is whole"
            raise UserError(
                f"{self.last_checkpoint}: the checkpoint of step {self.frame} could not be written "
                f"({error.strerror or error}); {whole}"
            ) from None

    def save_checkpoint(self) -> None:
        """Write the last checkpoint, which is also the best one if the policy has become better since.

        Raises:
            OSError: The disk is full; the checkpoint before is whole.
        """
        improved = self.algo_observer.improved()
        state = self.get_full_state_weights()
        if improved:
            self._best = best_part(state)
        self._checkpoints.save(state, self._best)
        self._saved_frame = self.frame

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue a run as if it had never been stopped.

        From a `best.pt`, which does not hold them, the environments start anew.

        Raises:
            UserError: Something that this version needs is not in it, or does not fit.
        """
        expected = {"env_state": self.vec_env.get_env_state(), "observer": self.algo_observer.get_state()}
        check_complete(checkpoint, expected)
        anew = is_best(checkpoint)
        with blamed(checkpoint, "gone on with"):
            self.set_full_state_weights(checkpoint.state)
        remove_stale(checkpoint.path.parent)
        if anew:
            logger.warning("%s holds no state of the environments: they start anew", checkpoint.path)
        self._best = best_part(checkpoint.state) if anew else checkpoint.state.get("best")
        self.algo_observer.continue_curve(checkpoint.path.parent.parent, checkpoint.frame)

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Begin a new run with the networks, normalizers and optimizers of another one; all else is at its start.

        Raises:
            UserError: Something that is needed is not in it, or does not fit.
        """
        state = checkpoint.state
        with blamed(checkpoint, "started from"):
            self.set_weights(state)
            self.central_value_net.load_state_dict(state["assymetric_vf_nets"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.central_value_net.optimizer.load_state_dict(state["assymetric_vf_optimizer"])
        # The schedule of learning rates begins anew, and with it the rates that the optimizers have kept.
        self.last_lr = self.settings.actor.learning_rate
        self.update_lr(self.last_lr)
        self.central_value_net.update_lr(self.settings.critic.learning_rate)

    def get_full_state_weights(self) -> dict[str, Any]:
        """Return rl-games' state and all that it leaves out."""
        return {
            **super().get_full_state_weights(),
            **self._identity,
            "seconds": self.seconds,
            "learning_rate": self.last_lr,
            "rollout": {"obs": self.obs, "dones": self.dones},
            "observer": self.algo_observer.get_state(),
            "random": random_state(),
        }

    def set_full_state_weights(self, weights: dict[str, Any], set_epoch: bool = True) -> None:
        """Take over a state of `get_full_state_weights`."""
        super().set_full_state_weights(weights, set_epoch)
        self.seconds = weights["seconds"]
        self.last_lr = weights["learning_rate"]
        self.algo_observer.set_state(weights["observer"])
        self._resumed = weights

    # ------------------------------------------------------------------ learning

    def set_train(self) -> None:
        """Switch to training, but not again in the middle of it: that would thaw the input normalizer.

        rl-games freezes it after the first mini-epoch, and thaws it by accident with the next minibatch.
        """
        if not self.model.training:
            super().set_train()

    def _mirror_critic(self) -> None:
        """Let the critic learn from mirror images too."""
        calc_gradients = self.central_value_net.calc_gradients
        self.central_value_net.calc_gradients = lambda batch: calc_gradients(self._with_images(batch, "states"))

    def _with_images(self, batch: dict[str, Any], observations: str) -> dict[str, Any]:
        """A minibatch (n samples) followed by its mirror image: 2 n samples."""
        mirrors = self._mirrors or {}
        actions = mirrors["actions"]
        image = {
            "obs": mirrors[observations],
            "actions": actions,
            "mu": actions,
            "sigma": lambda deviation: actions(deviation).abs(),
        }
        return {
            name: torch.cat([values, image[name](values) if name in image else values])
            for name, values in batch.items()
            if isinstance(values, torch.Tensor)
        }

    def train_central_value(self) -> None:
        """Fit the critic to the rollout, its input normalizer with the first mini-epoch only."""
        critic = self.central_value_net
        critic.train()
        losses = []
        with self._autocast():
            for _ in range(critic.mini_epoch):
                losses += [critic.calc_gradients(minibatch).detach() for minibatch in critic.dataset]
                if critic.normalize_input:
                    critic.model.running_mean_std.eval()
        self._critic_loss = mean_list(losses).item()

    def calc_gradients(self, input_dict: dict[str, Any]) -> None:
        """Fit the actor to one minibatch, with its mirror image if the task is symmetric and `symmetry` is on."""
        count = len(input_dict["obs"])
        with self._autocast():
            super().calc_gradients(self._with_images(input_dict, "obs") if self._mirrors else input_dict)
        if self._mirrors:  # rl-games keeps the new mean and deviation of the samples that it gave
            *rest, mean, deviation, bounds = self.train_result
            self.train_result = (*rest, mean[:count], deviation[:count], bounds)

    def _autocast(self) -> torch.autocast:
        # without a cache: it would hold the weights of the first minibatch for all of them
        enabled = self.settings.precision == "bfloat16"
        return torch.autocast(self._device_type, torch.bfloat16, enabled=enabled, cache_enabled=False)


class _Clock:
    """Seconds of wall-clock, counted on from those of the runs before."""

    def __init__(self, seconds: float) -> None:
        self._start = time.perf_counter() - seconds

    def __call__(self) -> float:
        return time.perf_counter() - self._start


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into an event; a second one stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may catch signals
        yield event
        return

    def handle(number: int, _: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
