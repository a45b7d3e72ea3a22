"""`-m`: hands a verb over to Hydra, whose sweeper chooses the jobs and whose launcher runs them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dexsim import paths
from dexsim.errors import UserError, one_line
from dexsim.launch import summary
from dexsim.launch.compose import compose, explain, is_hydras, key_of
from dexsim.launch.job import JOBS, Job, JobError, read_jobs, run_job
from dexsim.registration import offer_tasks
from dexsim.runs import RunFolder

# Each job has a run folder of ours; Hydra's would stand beside it.
_OURS = r"hydra\.(run|sweep|output_subdir|mode|job\.chdir)\b"


def sweep(verb: str, overrides: Sequence[str]) -> int:
    """Runs a sweep and returns its exit status: 0, 1, or 2 where all that failed was the user's mistake.

    The path of the sweep's folder is the last line that it prints. Jobs that an earlier run completed are not repeated.

    Raises:
        UserError: For a mistake in the sweep itself, most of which show before the first job has started.
    """
    folder, broken, stopped = _make_folder(verb, overrides), False, "killed"
    try:
        with folder:
            _multirun(verb, folder.path, overrides)
            failed = [job for job in read_jobs(folder.path) if job.error]
            if failed:
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
        jobs = _finish(folder.path, stopped) if folder.path.exists() else []
    failed = [job for job in jobs if job.error]
    return 1 if broken or not all(job.mistake for job in failed) else 2 if failed else 0


def _make_folder(verb: str, overrides: Sequence[str]) -> RunFolder:
    for override in overrides:
        if re.match(_OURS, key_of(override)):
            raise UserError(f"cannot use {override!r}: `name` and `runs_dir` say where a run's folder is")
    names = {key_of(item): item.partition("=")[2] for item in overrides if key_of(item) in ("name", "runs_dir")}
    root = str(compose(verb, [f"runs_dir={names['runs_dir']}"] if "runs_dir" in names else ()).get("runs_dir", "runs"))
    # Without a name of its own a sweep has that of its verb: its jobs may be called after what they vary.
    name = f"{verb}-{names['name']}" if re.fullmatch(r"[\w.+-]+", names.get("name", "")) else verb
    return RunFolder.create("sweep", name, {"verb": verb}, root, overrides)


def _multirun(verb: str, folder: Path, overrides: Sequence[str]) -> None:
    """Lets Hydra run the jobs.

    Raises:
        UserError: For what Hydra refuses, and whatever happens before the first job has started.
        Exception: What else happens later: in a launcher, or in a sweeper.
    """
    from hydra import version
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.errors import HydraException

    version.setbase("1.3")
    # Not by `create_main_hydra2`: its global instance would be in the way of a verb that composes other configs.
    offer_tasks()
    app = Hydra(verb, ConfigLoaderImpl(create_config_search_path(str(paths.cfg_dir()))))
    try:
        app.multirun(verb, run_job, [*_settings(folder, overrides), *overrides])
    except Exception as error:
        if (folder / JOBS).exists() and not isinstance(error, HydraException):
            raise
        (folder / "multirun.yaml").unlink(missing_ok=True)
        raise explain(error, overrides) from None
    finally:
        _stop_ray()


def _settings(folder: Path, overrides: Sequence[str]) -> list[str]:
    """Returns the overrides that keep what Hydra writes in the sweep's folder, and its logging out of ours."""
    text = str(folder.absolute()).replace("\\", "\\\\").replace("'", "\\'")
    logging = [f"hydra/{name}=none" for name in ("hydra_logging", "job_logging")]
    given = {key_of(override) for override in overrides if is_hydras(override)}
    defaults = [item for item in logging if key_of(item) not in given]
    return [f"hydra.sweep.dir='{text}'", "hydra.sweep.subdir=.", "hydra.output_subdir=null", *defaults]


def _stop_ray() -> None:
    """Ends a Ray that this process started; what its workers printed comes before the last line then."""
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()


def _finish(folder: Path, stopped: str) -> list[Job]:
    """Writes and prints what became of the jobs, and returns them; `stopped` is the status of those still running."""
    jobs = read_jobs(folder)
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
