"""Checkpoints: one self-contained file, written so that a kill at any moment leaves a usable one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dexsim.errors import UserError
from dexsim.files import atomic_path
from dexsim.robots.tables import check_same

FOLDER = "checkpoints"
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


@dataclass(frozen=True)
class Checkpoint:
    """What a training run has saved.

    Attributes:
        path: The file it came from.
        state: rl-games' own state (`model`, `optimizer`, `frame`, ...), what an exact resume needs beside it, and
            what the properties below name.
    """

    path: Path
    state: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config of the run that wrote it."""
        return self.state["config"]

    @property
    def spec_table(self) -> dict[str, Any]:
        """Joint table, rates, action mode and observation layout that the policy was trained with."""
        return self.state["spec_table"]

    @property
    def version(self) -> str:
        """Version of `dexsim` that wrote it."""
        return self.state["version"]

    @property
    def frame(self) -> int:
        """Environment steps trained so far."""
        return self.state["frame"]


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: The file, the folder of the run that wrote it (its last one), or a folder of such runs (the newest).

    Raises:
        UserError: There is none, or it is not one of ours.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        runs = sorted(file.glob(f"*/{FOLDER}/{LAST}"))  # run folders are named by their time
        file = runs[-1] if runs else file / FOLDER / LAST
    if not file.is_file():
        raise UserError(f"no checkpoint {path}: there is no file {file}")
    try:
        with _numpy_allowed():
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the broken bytes lead it to
        raise UserError(f"{path} is not a checkpoint of dexsim train ({type(error).__name__})") from error
    if not isinstance(state, dict) or not {"model", "config", "spec_table", "version"} <= state.keys():
        raise UserError(f"{path} is not a checkpoint of dexsim train (no model, config and spec_table in it)")
    return Checkpoint(file, state)


def check_matches(checkpoint: Checkpoint, spec_table: Mapping[str, Any], allow: Sequence[str] = ()) -> None:
    """Refuse a checkpoint that was trained for another robot or task.

    Args:
        checkpoint: The one to use.
        spec_table: `env.spec_table()` of where it is to be used.
        allow: Top-level entries of the table that may differ; the version of dexsim and the critic's state always may.

    Raises:
        UserError: With the names that differ.
    """
    skipped = {*allow, "version", "state"}
    wanted = {key: value for key, value in checkpoint.spec_table.items() if key not in skipped}
    offered = {key: value for key, value in spec_table.items() if key not in skipped}
    check_same(wanted, offered, f"checkpoint={checkpoint.path}")


class CheckpointFolder:
    """Keeps the last checkpoint, the one before it and the best one of a run.

    Args:
        run_dir: Folder of the run.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / FOLDER
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.path / LAST

    def save(self, state: Mapping[str, Any], best: bool = False) -> None:
        """Write the newest checkpoint; the file that bore its name becomes the previous one.

        `last.pt` is complete at every moment: it is copied, not moved, before it is replaced.

        Args:
            state: What to save.
            best: Whether it is also the best so far.
        """
        if self.last.exists():
            _copy(self.last, self.path / PREVIOUS)
        with atomic_path(self.last) as temporary:
            torch.save(dict(state), temporary)
        if best:
            _copy(self.last, self.path / BEST)


def random_state() -> dict[str, Any]:
    """Return the states of torch's, numpy's and python's global random numbers, as plain data."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "numpy": (name, np.asarray(keys).tolist(), position, has_gauss, gauss),
        "python": random.getstate(),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Continue the random numbers of `random_state`."""
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


@contextmanager
def _numpy_allowed() -> Iterator[None]:
    """Let the safe loader read numpy arrays, and nothing else that runs code (environments may keep such state)."""
    import _codecs

    rebuild: list[Any] = [np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0], _codecs.encode]
    dtypes = [type(np.dtype(kind)) for kind in "?bBhHiIlLqQfd"]
    with torch.serialization.safe_globals([*rebuild, np.ndarray, np.dtype, *dtypes]):
        yield
