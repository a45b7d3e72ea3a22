"""Checkpoints: one self-contained file, written so that a kill at any moment leaves a usable one.

`last.pt` has all that an exact resume needs, and in it the best policy so far; `best.pt` is that policy with its
learner's state, but without that of the environments, which start anew where it is gone on with.
"""

from __future__ import annotations

import copy
import io
import logging
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dexsim import __version__
from dexsim.errors import UserError, problem_of
from dexsim.files import atomic_path, atomic_write
from dexsim.robots.tables import check_same
from dexsim.runs import find_run

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
FORMAT = 2  # of the state; 1 had no number
_HERE = f"dexsim {__version__} (format {FORMAT})"
_REQUIRED = {"model": dict, "config": dict, "spec_table": dict, "version": str, "frame": int}
_IDENTITY = ("config", "spec_table", "version", "name")
# What going on needs beside the policy: of the learner, and of the environments.
_LEARNER = (
    "optimizer", "assymetric_vf_nets", "assymetric_vf_optimizer", "epoch", "seconds", "learning_rate", "observer",
)  # fmt: skip
_ENVIRONMENTS = ("env_state", "rollout", "random")


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
    def name(self) -> str | None:
        """What the user calls the run that wrote it."""
        return self.state.get("name")

    @property
    def author(self) -> str:
        """What wrote it: version of `dexsim` and format."""
        return f"dexsim {self.state['version']} (format {self.state.get('format', 1)})"

    @property
    def is_ours(self) -> bool:
        """Whether this version of `dexsim` wrote it, or one that writes the same."""
        return (self.state["version"], self.state.get("format", 1)) == (__version__, FORMAT)

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
    run = find_run(file, f"{FOLDER}/{LAST}") if file.is_dir() else None
    if run is not None:
        if run != file:
            logger.info("the newest run in %s: %s", file, run.name)
        file = run / FOLDER / LAST
    if not file.is_file():
        wanted = f"{file / FOLDER / LAST}, nor one of a run in it" if file.is_dir() else file
        raise UserError(f"no checkpoint {path}: there is no file {wanted}")
    try:
        with _numpy_allowed():
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the broken bytes lead it to
        raise UserError(f"{path} is not a checkpoint of dexsim train ({type(error).__name__})") from error
    kinds = state if isinstance(state, dict) else {}
    broken = [name for name, kind in _REQUIRED.items() if not isinstance(kinds.get(name), kind)]
    if broken:
        raise UserError(f"{path} is not a checkpoint of dexsim train (no {', '.join(broken)} in it)")
    return Checkpoint(file, state)


@contextmanager
def blamed(checkpoint: Checkpoint, doing: str) -> Iterator[None]:
    """Turns what a checkpoint's state breaks into one line that names the file and what wrote it.

    Args:
        checkpoint: Whose state is used in the block.
        doing: What it is used for: "evaluated".

    Raises:
        UserError: In place of any error that a missing or a misshapen value leads to; one that the user made has the
            author added, where that is another version.
    """
    try:
        yield
    except UserError as error:
        if checkpoint.is_ours:
            raise
        raise UserError(f"{error}; {checkpoint.path} was written by {checkpoint.author}") from None
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        who = f"{checkpoint.path} was written by {checkpoint.author}"
        raise UserError(f"{who} and cannot be {doing} by {_HERE}: {problem_of(error)}") from error


def check_complete(checkpoint: Checkpoint, expected: Mapping[str, Any]) -> None:
    """Refuse to go on with a checkpoint that lacks a part of the state.

    Args:
        checkpoint: The one to go on with.
        expected: Parts of the state as this version writes them, by their key; of these every key must be there.

    Raises:
        UserError: With the version that wrote it and what is missing.
    """
    needed = _LEARNER if is_best(checkpoint) else (*_LEARNER, *_ENVIRONMENTS)
    missing = [key for key in needed if key not in checkpoint.state]
    for part in expected.keys() & checkpoint.state.keys():
        missing += _missing(expected[part], checkpoint.state[part], part)
    if missing:
        raise UserError(
            f"{checkpoint.path} was written by {checkpoint.author} and cannot be gone on with by {_HERE}: it has no "
            f"{', '.join(missing)}; it can be evaluated and exported"
        )


def is_best(checkpoint: Checkpoint) -> bool:
    """Return whether it is a `best.pt`, which has no state of the environments."""
    return not checkpoint.state.keys() & set(_ENVIRONMENTS)


def _missing(expected: Any, found: Any, path: str) -> list[str]:
    """Paths of the keys of nested dicts that are not there."""
    if not isinstance(expected, Mapping):
        return []
    if not isinstance(found, Mapping):
        return [path]
    missing = [f"{path}.{key}" for key in expected if key not in found]
    return missing + [
        inner for key in expected if key in found for inner in _missing(expected[key], found[key], f"{path}.{key}")
    ]


def check_matches(
    checkpoint: Checkpoint, spec_table: Mapping[str, Any], allow: Sequence[str] = (), critic: bool = False
) -> None:
    """Refuse a checkpoint that was trained for another robot or task.

    Args:
        checkpoint: The one to use.
        spec_table: `env.spec_table()` of where it is to be used.
        allow: Top-level entries of the table that may differ; the version of dexsim always may.
        critic: Whether the critic goes on too, so that its state must be the same.

    Raises:
        UserError: With the names that differ.
    """
    skipped = {*allow, "version", *(() if critic else ("state",))}
    wanted = {key: value for key, value in checkpoint.spec_table.items() if key not in skipped}
    offered = {key: value for key, value in spec_table.items() if key not in skipped}
    author = "" if checkpoint.is_ours else f", written by {checkpoint.author},"
    check_same(wanted, offered, f"checkpoint={checkpoint.path}{author}")


class CheckpointFolder:
    """Keeps the last checkpoint, the one before it and the best one of a run.

    Args:
        run_dir: Folder of the run.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / FOLDER
        self.path.mkdir(parents=True, exist_ok=True)
        self._best: Mapping[str, Any] | None = None

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.path / LAST

    def save(self, state: Mapping[str, Any], best: Mapping[str, Any] | None = None) -> None:
        """Write the newest checkpoint; the file that bore its name becomes the previous one.

        `last.pt` is complete at every moment: it is copied, not moved, before it is replaced.

        Args:
            state: What to save.
            best: `best_part` of the best state so far, which goes into `last.pt` too.

        Raises:
            OSError: The disk is full. What was there is still whole.
        """
        whole = _packed({**state, "format": FORMAT, "best": best})
        if self.last.exists():
            _copy(self.last, self.path / PREVIOUS)
        atomic_write(self.last, whole)
        if best is not None and best is not self._best:
            identity = {key: state[key] for key in _IDENTITY if key in state}
            atomic_write(self.path / BEST, _packed({**best, **identity, "format": FORMAT}))
            self._best = best


def best_part(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a state that is the best so far: a copy of all that belongs to the learner."""
    other = (*_IDENTITY, *_ENVIRONMENTS, "best")
    return copy.deepcopy({key: value for key, value in state.items() if key not in other})


def _packed(state: Mapping[str, Any]) -> bytes:
    """The bytes of a checkpoint: torch says of a full disk only that its writer failed, a file object says why."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


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
