"""What a training run tells while it learns: a line of progress, a curve, tensorboard and wandb."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from rl_games.common.algo_observer import AlgoObserver

from dexsim.errors import UserError, one_line
from dexsim.files import atomic_write, made_up_for
from dexsim.report.progress import ProgressLine, minutes
from dexsim.rl.evaluation import EPISODE

logger = logging.getLogger(__name__)

CURVE = "curve.csv"
CURVE_PERIOD = 10.0  # seconds between two writes of the curve


class Agent(Protocol):
    """What is observed: `dexsim.rl.agent.PpoAgent`, or another agent in its place.

    Attributes:
        num_actors: environments.
        stats: figures of the last epoch by name.
        writer: tensorboard's.
        budget: `dexsim.rl.agent.Budget`, which knows the seconds left.
    """

    num_actors: int
    stats: dict[str, float]
    writer: Any
    budget: Any

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        ...


class TrainingObserver(AlgoObserver):
    """Collects each epoch's figures and hands them on as one row.

    The row goes to `curve.csv`, tensorboard and wandb under the same names: `episode/...` (means of the last `window`
    finished episodes that started at the beginning), `reward/<term>` (means of a policy step), `time/...` (seconds of
    the epoch) and `ppo/...`.

    Args:
        run_dir: Folder of the run.
        window: Episodes in the running means, and the fewest that the best checkpoint is chosen by.
        wandb_run: A started wandb run, or None.
    """

    def __init__(self, run_dir: Path, window: int = 500, wandb_run: Any | None = None) -> None:
        self.row: dict[str, float] = {}
        self._window = window
        self._wandb_run = wandb_run
        self._episodes: dict[str, deque[float]] = {}
        self._terms: dict[str, torch.Tensor] = {}
        self._samples = 0
        self._best: tuple[float, ...] = ()
        self._curve = _Curve(run_dir / CURVE)
        self._line = ProgressLine()
        self._summaries_end = False

    # ------------------------------------------------------------------ rl-games' hooks

    def after_init(self, algo: Agent) -> None:
        """Learn whom to observe."""
        self._algo = algo

    def process_infos(self, infos: dict[str, Any], done_indices: torch.Tensor) -> None:
        """Take in one policy step; `done_indices` (k, 1) are the environments that ended an episode."""
        for name, value in infos.get("reward_terms", {}).items():
            self._terms[name] = self._terms.get(name, 0.0) + value.sum()
        self._samples += self._algo.num_actors
        if len(done_indices):
            ended = done_indices[:, 0]
            if "later_start" in infos:  # what started halfway would flatter the policy
                ended = ended[~infos["later_start"][ended]]
            for name, values in _episode_values(infos):
                kept = self._episodes.setdefault(name, deque(maxlen=self._window))
                kept.extend(values[ended].tolist())

    def after_print_stats(self, frame: int, epoch_num: int, total_time: float) -> None:
        """Hand on the row of a finished epoch."""
        self.row = {"frame": frame, "epoch": epoch_num, "seconds": total_time, **self._means(), **self._algo.stats}
        self._terms.clear()
        self._samples = 0
        self._curve.add(self.row)
        self._summarize(frame)
        if self._wandb_run is not None:
            self._wandb_run.log(self.row, step=frame)
        self._line.show(self._summary())

    def _summarize(self, frame: int) -> None:
        """Give tensorboard the row; its writer never recovers from a full disk."""
        if self._summaries_end:
            return
        try:
            for name, value in self.row.items():
                self._algo.writer.add_scalar(name, value, frame)
        except OSError as error:
            self._summaries_end = True
            logger.warning("tensorboard's summaries end at step %d (%s)", frame, error.strerror or error)

    # ------------------------------------------------------------------ state

    def episodes(self, name: str) -> list[float]:
        """Return a figure (`success`, `return`, ...) of the last `window` finished episodes."""
        return list(self._episodes.get(name, ()))

    def improved(self) -> bool:
        """Return whether success (then return) has risen since the best time it was asked, over a full window."""
        success, returns = self.episodes("success"), self.episodes("return")
        if len(returns) < self._window:
            return False
        score = (_mean(success), _mean(returns))
        better = score > self._best
        self._best = max(score, self._best)
        return better

    def get_state(self) -> dict[str, Any]:
        """Return what a resumed run continues from."""
        return {"best": self._best, "episodes": {name: list(kept) for name, kept in self._episodes.items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of `get_state`."""
        self._best = tuple(state["best"])
        self._episodes = {name: deque(kept, maxlen=self._window) for name, kept in state["episodes"].items()}

    def continue_curve(self, run_dir: Path, frame: int) -> None:
        """Let the curve begin with that of an earlier run, up to a frame."""
        self._curve.prepend(run_dir / CURVE, frame)

    def close(self) -> None:
        """End the progress line, the curve and tensorboard's file."""
        self._line.close()
        self._curve.write()
        with contextlib.suppress(OSError):  # already told
            self._algo.writer.close()

    # ------------------------------------------------------------------ figures

    def _means(self) -> dict[str, float]:
        episodes = {f"episode/{name}": _mean(kept) for name, kept in self._episodes.items()}
        terms = {f"reward/{name}": float(total) / self._samples for name, total in self._terms.items()}
        return {**episodes, **terms}

    def _summary(self) -> str:
        row, rate = self.row, self.row["time/steps_per_second"]
        left = self._algo.budget.seconds_left(int(row["frame"]), row["seconds"], rate)
        parts = [
            f"{_count(row['frame'])} steps",
            f"{self._algo.progress:4.0%}",
            f"{rate:,.0f} steps/s",
            f"{minutes(left)} left",
            *(f"{name.replace('_', ' ')} {row[f'episode/{name}']:.2f}" for name in EPISODE if f"episode/{name}" in row),
            *(f"{name[7:]} {value:.3g}" for name, value in row.items() if name.startswith("reward/")),
        ]
        return "  ".join(parts)


class _Curve:
    """A CSV file with a row an epoch. It is rewritten whole, since columns join when the first episodes end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[Mapping[str, Any]] = []
        self._due = time.perf_counter() + CURVE_PERIOD

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row, which is on the disk within seconds."""
        self._rows.append(row)
        if time.perf_counter() >= self._due:
            self.write()

    def prepend(self, path: Path, frame: int) -> None:
        """Begin with the rows of an earlier curve up to a frame, if there is such a file."""
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if float(row["frame"]) <= frame] + self._rows

    def write(self) -> None:
        """Bring all rows to the disk."""
        columns = dict.fromkeys(name for row in self._rows for name in row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(columns))
        writer.writeheader()
        writer.writerows(self._rows)
        with made_up_for("the curve"):
            atomic_write(self._path, text.getvalue())
        self._due = time.perf_counter() + CURVE_PERIOD


@contextmanager
def wandb_run(
    mode: Literal["offline", "online", "disabled"], run_dir: Path, config: Mapping[str, Any]
) -> Iterator[Any | None]:
    """Track with wandb: a started run, or None, which ends with the block, however that ends.

    Args:
        mode: `online`, `offline` (files in the run folder, which `wandb sync` uploads) or `disabled`.
        run_dir: Folder of the run; it names the wandb run, unless wandb's own variables do (`WANDB_PROJECT`, ...).
        config: Resolved config of the run.

    Raises:
        UserError: wandb refuses: nobody is logged in, or its server cannot be reached.
    """
    if mode == "disabled":
        yield None
        return
    import wandb
    from wandb.errors import Error

    quiet = wandb.Settings(silent=mode == "offline", console="off")
    project = os.environ.get("WANDB_PROJECT", "dexsim")
    name = os.environ.get("WANDB_NAME", f"{run_dir.parent.name}/{run_dir.name}")
    try:
        run = wandb.init(project=project, name=name, dir=str(run_dir), mode=mode, config=dict(config), settings=quiet)
    except Error as error:
        raise UserError(f"wandb = {mode!r}: {one_line(error)}; wandb=offline needs no account") from None
    try:
        yield run
    except BaseException:  # not the run's own context manager, which prints a traceback
        run.finish(exit_code=1)
        raise
    run.finish()


def _episode_values(infos: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    yield from ((name, infos[key].float()) for name, key in EPISODE.items() if key in infos)
    yield from (
        (f"stage_{name}", value.float()) for name, value in infos.get("stages", {}).items() if name not in EPISODE
    )


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _count(frames: float) -> str:
    return f"{frames / 1e6:.2f} M" if frames >= 1e6 else f"{frames / 1e3:.0f} k"
