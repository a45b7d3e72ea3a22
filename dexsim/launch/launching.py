"""What a sweep is made of: its jobs, known beforehand where Hydra's basic sweeper runs it, and a launcher for them."""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from dexsim.errors import one_line
from dexsim.launch.job import Job, read_jobs

Overrides = Sequence[str]
# Package of a launcher -> whose function it asks for the outcome of a job, and what stands for none.
_WAITS: dict[str, tuple[str, str, Any]] = {
    "hydra_ray_launcher": ("ray", "get", None),
    "hydra_submitit_launcher": ("submitit:Job", "results", [None]),
}


def jobs_of(sweeper: Any, overrides: Overrides) -> list[list[str]] | None:
    """Returns the overrides of each job, as the sweeper will run them; None for one that chooses as it goes.

    Args:
        sweeper: One of Hydra's, set up.
        overrides: Of the verb's own keys, some with several values.
    """
    # Not by its type: Hydra imports its plugins a second time, and a class of theirs is then another one.
    if type(sweeper).__name__ != BasicSweeper.__name__ or sweeper.hydra_context is None:
        return None
    more = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    parsed = parser.parse_overrides([*more, *overrides])
    return [job for batch in sweeper.split_arguments(parsed, sweeper.max_batch_size) for job in batch]


class PatientLauncher(Launcher):
    """Runs every job of a batch to its end, even if processes of others are killed.

    joblib ends all processes of a batch where one is killed: what had started is repeated, each job alone so that the
    guilty one takes no other with it, and what had not is launched again. Ray and submitit would no longer be waited
    for.

    Args:
        launcher: Hydra's, set up.
        folder: Of the sweep.
    """

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self._launcher, self._folder = launcher, folder

    def setup(self, **_: Any) -> None:
        """Has been done."""

    def launch(self, job_overrides: Sequence[Overrides], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs jobs; how each ended stands in its file, so that nothing need be returned."""
        self._launch(dict(enumerate(job_overrides, initial_job_idx)))
        return [JobReturn(list(overrides), status=JobStatus.COMPLETED) for overrides in job_overrides]

    def _launch(self, jobs: Mapping[int, Overrides]) -> None:
        for first, batch in _contiguous(jobs):
            try:
                self._run(batch, first)
            except Exception:
                stood = {job.number: job for job in read_jobs(self._folder)}
                begun = {i: overrides for i, overrides in enumerate(batch, first) if i in stood}
                if not begun:
                    raise  # no job is to blame: the launcher itself has failed
                for i, overrides in begun.items():
                    if stood[i].status == "running":
                        self._run_alone(overrides, i)
                self._launch({i: overrides for i, overrides in enumerate(batch, first) if i not in begun})

    def _run_alone(self, overrides: Overrides, number: int) -> None:
        with contextlib.suppress(Exception):  # killed again: its file still says that it runs
            self._run([overrides], number)

    def _run(self, batch: Sequence[Overrides], first: int) -> None:
        problems: list[Exception | None] = []
        with _waiting_for_all(self._launcher, problems):
            self._launcher.launch(list(batch), initial_job_idx=first)
        begun = {job.number for job in read_jobs(self._folder)}
        for i, overrides in enumerate(batch):
            if first + i not in begun:
                problem = problems[i] if i < len(problems) else None
                error = "it never started" if problem is None else f"{type(problem).__name__}: {one_line(problem)}"
                Job(first + i, list(overrides), "failed", error=error).write(self._folder)


def _contiguous(jobs: Mapping[int, Overrides]) -> Iterator[tuple[int, list[Overrides]]]:
    """Yields the first number and the overrides of jobs whose numbers follow each other."""
    batch: list[Overrides] = []
    for number in sorted(jobs):
        if number - 1 not in jobs:
            batch = []
        batch.append(jobs[number])
        if number + 1 not in jobs:
            yield number + 1 - len(batch), batch


@contextlib.contextmanager
def _waiting_for_all(launcher: Launcher, problems: list[Exception | None]) -> Iterator[None]:
    """Lets the launchers of Ray and submitit wait for the jobs that follow one that was killed.

    They ask for one job after the other, and an error ends that: here it goes into `problems`, an item for each job.
    """
    package = type(launcher).__module__.split(".")[1]
    if package not in _WAITS:
        yield
        return
    place, name, nothing = _WAITS[package]
    owner = pkgutil.resolve_name(place)
    ask = getattr(owner, name)

    def patient(job: Any) -> Any:
        try:
            result = ask(job)
        except Exception as error:
            problems.append(error)
            return nothing
        problems.append(None)
        return result

    setattr(owner, name, patient)
    try:
        yield
    finally:
        setattr(owner, name, ask)
