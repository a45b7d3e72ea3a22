"""`-m`: hands a verb over to Hydra, whose sweeper chooses the jobs and whose launcher runs them."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from dexsim.errors import UserError, one_line
from dexsim.launch import summary
from dexsim.launch.compose import load, own_hydra, read_all
from dexsim.launch.explain import explain
from dexsim.launch.job import JOBS, Job, JobError, read_jobs, run_job
from dexsim.launch.overrides import assign, is_hydras, key_of, value_of
from dexsim.launch.verb import Invocation
from dexsim.runs import RunFolder

if TYPE_CHECKING:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.plugins.sweeper import Sweeper

# Each job has a run folder of ours; Hydra's would stand beside it.
_OURS = r"hydra\.(run|sweep|output_subdir|job\.chdir)\b"
_THEIRS = r"hydra([./](launcher|sweeper|callbacks)|/(job|hydra)_logging|\.(verbose|searchpath|job\.env_(set|copy)))\b"
_EFFECTIVE = (
    "hydra/launcher, hydra/sweeper, hydra/callbacks and their keys, hydra/job_logging, hydra/hydra_logging, "
    "hydra.verbose, hydra.searchpath, hydra.job.env_set, hydra.job.env_copy"
)


def sweep(verb: str, overrides: Sequence[str], options: str | None = None) -> int:
    """Runs a sweep and returns its exit status: 0, 1, or 2 where all that failed was the user's mistake.

    The path of the sweep's folder is the last line that it prints. Jobs that an earlier run completed are not repeated.

    Args:
        verb: What each job runs.
        overrides: `key=value` each, some with several values.
        options: A folder of more options, as of `--config-dir`.

    Raises:
        UserError: For mistakes that show before the first job has started, a line each.
    """
    given = read_all(verb, overrides, sweep=True)
    _refuse(given)
    with own_hydra(options) as loader:
        config = load(loader, verb, given, sweep=True)
        jobs = _checked_jobs(verb, config, loader)
        return _run(verb, given, jobs, loader)


def _refuse(overrides: Sequence[str]) -> None:
    """Refuses settings of Hydra's that would have no effect."""
    for override in overrides:
        if re.match(_OURS, key_of(override)):
            raise UserError(f"cannot use {override!r}: `name` and `runs_dir` say where a run's folder is")
        if is_hydras(override) and not re.match(_THEIRS, key_of(override)):
            raise UserError(f"cannot use {override!r}: of Hydra's own settings only these have an effect: {_EFFECTIVE}")


def _checked_jobs(verb: str, config: DictConfig, loader: ConfigLoaderImpl) -> list[list[str]] | None:
    """Returns the overrides of each job, all of which were found right; None where the sweeper chooses as it goes.

    Raises:
        UserError: With a line for each job with a mistake, or only one where all have the same.
    """
    from dexsim.launch.launching import jobs_of

    with _explained(config, loader):
        jobs = jobs_of(_sweeper(config, loader), _overrides(config, "task"))
    if jobs is None:
        return None
    hydras = _overrides(config, "hydra")
    with _quiet():  # what is worth to say, each job says when it runs
        found = [_mistake(verb, job, hydras, loader) for job in jobs]
    mistakes = {number: mistake for number, mistake in enumerate(found) if mistake is not None}
    if len(mistakes) == len(jobs) and len(set(mistakes.values())) == 1:
        raise UserError(mistakes[0])
    if mistakes:
        raise UserError("\n".join(f"job {i} ({' '.join(jobs[i])}): {text}" for i, text in mistakes.items()))
    return jobs


def _mistake(verb: str, job: list[str], hydras: list[str], loader: ConfigLoaderImpl) -> str | None:
    try:
        config = load(loader, verb, [*hydras, *job])
        Invocation.of(verb, _without_hydra(config), job).check()
    except UserError as error:
        return str(error)
    except Exception:  # no mistake of the user's: the job will tell
        pass
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def _run(verb: str, overrides: Sequence[str], jobs: list[list[str]] | None, loader: ConfigLoaderImpl) -> int:
    folder, broken, stopped = _make_folder(verb, overrides, loader), False, "killed"
    try:
        with folder:
            _multirun(verb, folder.path, overrides, loader)
            begun = read_jobs(folder.path)
            failed = [job for job in begun if job.error]
            if failed or any(job.status == "running" for job in begun):
                raise JobError(f"{len(failed)} jobs failed")
    except JobError:
        pass  # its file tells
    except UserError:
        raise
    except KeyboardInterrupt:
        stopped = "interrupted"
        raise
    except Exception as error:  # a worker was killed, or a sweeper gave up
        print(f"error: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
        broken = True
    finally:
        ended = _finish(folder.path, stopped, jobs or []) if folder.path.exists() else []
    failed = [job for job in ended if job.error]
    return 1 if broken or not all(job.mistake for job in failed) else 2 if failed else 0


def _make_folder(verb: str, overrides: Sequence[str], loader: ConfigLoaderImpl) -> RunFolder:
    names = {key_of(item): value_of(item) for item in overrides if key_of(item) in ("name", "runs_dir")}
    given = [assign("runs_dir", names["runs_dir"])] if "runs_dir" in names else []
    root = str(load(loader, verb, given).get("runs_dir", "runs"))
    # Without a name of its own a sweep has that of its verb: its jobs may be called after what they vary.
    name = f"{verb}-{names['name']}" if re.fullmatch(r"[\w.+-]+", names.get("name", "")) else verb
    return RunFolder.create("sweep", name, {"verb": verb}, root, overrides)


def _multirun(verb: str, folder: Path, overrides: Sequence[str], loader: ConfigLoaderImpl) -> None:
    """Lets Hydra run the jobs: what its own multirun does, but that it waits for every job.

    Raises:
        UserError: For what Hydra refuses, and whatever happens before the first job has started.
        Exception: What else happens later: in a launcher, or in a sweeper.
    """
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import configure_log
    from hydra.errors import HydraException

    from dexsim.launch.launching import PatientLauncher, is_basic

    config = load(loader, verb, [*_settings(folder, overrides), *overrides], sweep=True)
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    try:
        callbacks = Callbacks(config)
        callbacks.on_multirun_start(config=config, config_name=verb)
        sweeper: Any = _sweeper(config, loader, callbacks)
        if is_basic(sweeper) and sweeper.launcher is not None:
            sweeper.launcher = PatientLauncher(sweeper.launcher, folder)
            sweeper.validate_batch_is_legal = lambda batch: None  # they were all checked
        with _same_modules():
            sweeper.sweep(_overrides(config, "task"))
        callbacks.on_multirun_end(config=config, config_name=verb)
    except Exception as error:
        if (folder / JOBS).exists() and not isinstance(error, HydraException):
            raise
        (folder / "multirun.yaml").unlink(missing_ok=True)
        raise explain(error, overrides, loader) from None
    finally:
        _stop_ray()


def _sweeper(config: DictConfig, loader: ConfigLoaderImpl, callbacks: Any = None) -> Sweeper:
    from hydra._internal.callbacks import Callbacks
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext

    context = HydraContext(config_loader=loader, callbacks=callbacks or Callbacks())
    return Plugins.instance().instantiate_sweeper(config=config, hydra_context=context, task_function=run_job)


@contextlib.contextmanager
def _explained(config: DictConfig, loader: ConfigLoaderImpl) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise explain(error, _overrides(config, "task"), loader) from None


def _overrides(config: DictConfig, kind: str) -> list[str]:
    """Returns what was given, of the verb's own keys ("task") or of Hydra's ("hydra")."""
    found: Any = OmegaConf.to_container(config.hydra.overrides[kind], resolve=False)
    return found


def _without_hydra(config: DictConfig) -> Any:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _settings(folder: Path, overrides: Sequence[str]) -> list[str]:
    """Returns the overrides that keep what Hydra writes in the sweep's folder, and its logging out of ours."""
    given = {key_of(override) for override in overrides if is_hydras(override)}
    groups = [f"hydra/{name}" for name in ("hydra_logging", "job_logging")]
    defaults = [f"{group}=none" for group in groups if group not in given]
    return [
        assign("hydra.sweep.dir", folder.absolute()), "hydra.sweep.subdir=.", "hydra.output_subdir=null", *defaults,
    ]  # fmt: skip


@contextlib.contextmanager
def _same_modules() -> Iterator[None]:
    """Lets processes that are started from here find modules where this one does, the current folder not first."""
    found = {"PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path), "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in found}
    os.environ.update(found)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _stop_ray() -> None:
    """Ends a Ray that this process started; what its workers printed comes before the last line then."""
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()


def _finish(folder: Path, stopped: str, known: Sequence[Sequence[str]]) -> list[Job]:
    """Writes and prints what became of the jobs, and returns them.

    Args:
        folder: Of the sweep.
        stopped: The status of jobs that are still running.
        known: The overrides of each job, as far as they were known beforehand; some may not have started.
    """
    found = {job.number: job for job in read_jobs(folder)}
    found |= {i: Job(i, overrides, "not started") for i, overrides in enumerate(known) if i not in found}
    jobs = [found[number] for number in sorted(found)]
    for job in jobs:
        if job.status == "running":
            job.status, job.error = stopped, f"its process was {stopped}"
            job.write(folder)
    summary.write_csv(folder / "sweep.csv", jobs)
    summary.print_table(jobs)
    for job in jobs:
        if job.error:
            print(f"error: job {job.number} ({' '.join(job.overrides)}): {job.error}", file=sys.stderr)
    print(folder, flush=True)
    return jobs
