"""One cell of the table: a policy, an engine, a robot, and the episodes that it came to.

A cell is kept as a file, written whole or not at all, with a key of all that its numbers depend on: whoever finds the
same key need not run it again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dexsim import __version__, settings
from dexsim.backends.make import finest_step, load_settings
from dexsim.files import atomic_write
from dexsim.rl.checkpoint import Checkpoint
from dexsim.rl.evaluation import Episode
from tasks.registry import EnvSettings
from tasks.verbs.evaluate import EvaluateSettings, Subject, environment_of

FOLDER = "cells"
# Kinds of robots: the checkpoint's own, with constants that only their seed knows, with what a fit found of those.
NOMINAL, HIDDEN, TUNED = "nominal", "hidden", "tuned"


@dataclass(frozen=True)
class Column:
    """A robot.

    Attributes:
        name: "nominal", "hidden_1000", "tuned_1000".
        kind: `NOMINAL`, `HIDDEN` or `TUNED`.
        tuned: file of its constants, None for the checkpoint's own.
    """

    name: str
    kind: str
    tuned: Path | None = None


@dataclass(frozen=True)
class Place:
    """Where a cell stands.

    Attributes:
        block: label of its checkpoint.
        engine: name of its row.
        column: its robot.
        as_trained: whether all but the robot is as in training.
    """

    block: str
    engine: str
    column: Column
    as_trained: bool

    @property
    def row(self) -> str:
        """Its row, for people."""
        return f"{self.block}, {self.engine}"

    def __str__(self) -> str:
        """For people."""
        return f"{self.row}, {self.column.name}"


@dataclass(frozen=True)
class Outcome:
    """What a cell came to.

    Attributes:
        place: where it stands.
        episodes: one entry an episode (`dexsim.rl.evaluation.run_episodes`).
        nonfinite: environments that were not finite.
        seconds: it took.
    """

    place: Place
    episodes: Sequence[Episode]
    nonfinite: int
    seconds: float

    @property
    def success(self) -> tuple[int, int]:
        """Successes, and episodes."""
        return sum(bool(episode["success"]) for episode in self.episodes), len(self.episodes)


@dataclass(frozen=True)
class Cell:
    """What is run for a place in the table.

    Attributes:
        place: where it stands.
        options: of the evaluation.
        checkpoint: the policy's.
        digest: of the checkpoint's file.
    """

    place: Place
    options: EvaluateSettings
    checkpoint: Checkpoint
    digest: str

    def run(self, path: Path) -> Outcome:
        """Run it, or take what its file holds from before.

        Args:
            path: its file.

        Raises:
            UserError: the engine cannot simulate it.
        """
        found = self.known(path)
        if found is not None:
            return found
        began = time.perf_counter()
        episodes, nonfinite = Subject.of(self.options, self.checkpoint).roll_out()
        outcome = Outcome(self.place, episodes, nonfinite, time.perf_counter() - began)
        kept = {"key": self.key, "episodes": episodes, "nonfinite": nonfinite, "seconds": outcome.seconds}
        atomic_write(path, json.dumps(kept))
        return outcome

    def known(self, path: Path) -> Outcome | None:
        """What its file holds from before; None where that is another cell's, damaged, or not there."""
        try:
            kept: Any = json.loads(path.read_text(encoding="utf-8"))
            if kept["key"] != self.key:
                return None
            return Outcome(self.place, kept["episodes"], kept["nonfinite"], kept["seconds"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    @cached_property
    def environment(self) -> EnvSettings:
        """What it is measured in."""
        return environment_of(self.checkpoint.config, self.options)

    @property
    def weight(self) -> float:
        """How long it takes in comparison with others: physics steps for a second of each episode."""
        return self.options.episodes / finest_step(load_settings(self.environment.backend))

    @cached_property
    def key(self) -> str:
        """Of all that the episodes depend on."""
        environment = settings.to_dict(self.environment.with_content())
        environment["backend"] = {**environment["backend"], "threads": 0}
        facts = {
            "version": __version__,
            "checkpoint": self.digest,
            "environment": environment,
            "episodes": [self.options.episodes, self.options.copies, self.options.seed],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def digest_of(checkpoint: Checkpoint) -> str:
    """SHA-256 of a checkpoint's file."""
    return hashlib.sha256(checkpoint.path.read_bytes()).hexdigest()


def file_of(folder: Path, block: int, place: Place) -> Path:
    """The file of a cell of the checkpoint with a number, below a run folder."""
    return folder / FOLDER / f"{block}-{place.engine}-{place.column.name}.json"
