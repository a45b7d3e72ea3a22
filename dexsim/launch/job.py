"""One job of a sweep, in whatever process a launcher of Hydra runs it.

What a job does, and how it ends, stands in `jobs/<number>.json` of the sweep's folder from its start on: whoever
started the sweep learns of it there even if the job's process is killed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import DictConfig

from dexsim import settings
from dexsim.errors import UserError, one_line, parsing, unknown
from dexsim.files import atomic_write
from dexsim.launch.process import current_folder_last
from dexsim.launch.verb import Invocation
from dexsim.report import terminal
from dexsim.runs import read_results

logger = logging.getLogger(__name__)

JOBS = "jobs"
STATUS = ("running", "complete", "already complete", "failed", "interrupted", "killed")


class JobError(RuntimeError):
    """A job of a sweep ended in an error; unlike most errors of libraries it can be sent to another process."""


@dataclass
class Job:
    """How a job of a sweep stands.

    Attributes:
        number: Its place in the sweep, from 0.
        overrides: Its own, `key=value` each.
        status: One of `STATUS`; "killed" if its process ended without a word.
        objective: The metric that a sweeper optimizes.
        folder: Its run folder, if it has one.
        error: What it ended in, in one line.
        mistake: Whether that was a mistake of the user's.
    """

    number: int
    overrides: Sequence[str]
    status: str = "running"
    objective: str | None = None
    folder: str | None = None
    error: str | None = None
    mistake: bool = False

    def write(self, sweep: Path) -> None:
        """Writes the job into the folder of its sweep."""
        atomic_write(sweep / JOBS / f"{self.number}.json", json.dumps(asdict(self), indent=2) + "\n")


def read_jobs(sweep: Path) -> list[Job]:
    """Returns the jobs of a sweep that started, in their order; a damaged file is left out, with a warning."""
    jobs = []
    for file in (sweep / JOBS).glob("[0-9]*.json"):
        try:
            jobs.append(_read(file))
        except UserError as error:
            logger.warning("%s", error)
    return sorted(jobs, key=lambda job: job.number)


def _read(file: Path) -> Job:
    with parsing(file, "a job of a sweep"):
        job = settings.build(Job, json.loads(file.read_text(encoding="utf-8")))
        if job.status not in STATUS:
            raise unknown(f"{file}: status = {job.status!r}", job.status, STATUS)
        return job


def run_job(config: DictConfig) -> float | None:
    """Runs a job and returns the value of its objective: the task function that Hydra's launchers call.

    Raises:
        JobError: The job failed. Under the basic sweeper, which has no use for values and would drop the batches that
            follow, a failed job returns None instead; its file tells.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    if sys.flags.safe_path:  # set for the processes of a sweep, but Ray's put the current folder first all the same
        current_folder_last()
    os.chdir(hydra.runtime.cwd)  # paths are relative to where the sweep was started, on any machine
    logging.basicConfig(format="%(message)s")
    logging.getLogger().setLevel(logging.DEBUG if hydra.verbose is True else logging.INFO)
    job, sweep = Job(hydra.job.num, list(hydra.overrides.task)), Path(hydra.sweep.dir)
    optimizes = not str(hydra.sweeper["_target_"]).endswith(".BasicSweeper")
    job.write(sweep)
    try:
        with terminal.tolerant():
            return _run(str(hydra.job.config_name), config, job, optimizes)
    except KeyboardInterrupt:
        job.status, job.error = "interrupted", "interrupted"
        raise
    except (Exception, SystemExit) as error:
        job.status, job.mistake = "failed", isinstance(error, UserError)
        job.error = one_line(error) if job.mistake else f"{type(error).__name__}: {one_line(error)}"
        if optimizes:
            raise JobError(job.error) from None
        return None
    finally:
        if job.folder is not None and not Path(job.folder).exists():
            job.folder = None
        job.write(sweep)


def _run(verb: str, config: DictConfig, job: Job, optimizes: bool) -> float | None:
    """Runs a verb unless a complete run did the same, and returns the objective's value."""
    invocation = Invocation.of(verb, config, job.overrides)
    job.objective = invocation.objective
    done = invocation.find_complete()
    if done is not None:
        job.folder = str(done)
        print(f"already complete: {done}", flush=True)
        value = invocation.value(read_results(done), optimizes)
        job.status = "already complete"
        return value
    folder = invocation.make_folder()
    job.folder = str(folder.path)
    invocation.run(folder)
    value = invocation.value(folder.results, optimizes)
    job.status = "complete"
    return value
