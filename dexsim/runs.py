"""The folder of one run, and the interval of a success rate."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dexsim import __version__
from dexsim.errors import UserError, parsing, require
from dexsim.files import atomic_write
from dexsim.launch.overrides import OURS
from dexsim.paths import assets_dir

_CONFIG, _LOG, _RESULT, _RUN = "config.yaml", "log.txt", "result.json", "run.json"
_NAME = re.compile(r"\w[\w.+-]*")
_LONGEST_TEXT, _LONGEST_LIST = 300, 100  # in a config that people read


class RunFolder:
    """Where one run keeps what it writes: its resolved config, log, results and outputs.

    As a context manager it sends what the `logging` module reports, and the traceback of a crash, to `log.txt`, and
    says in `run.json` when the run started, when it ended and how: running, complete, failed or interrupted. A run
    that is killed stays "running". One that ends in a `UserError` before it wrote anything of its own leaves no folder
    behind.

    Attributes:
        path: The folder.
        name: What the user calls the run.
        overrides: What the user gave, `key=value` each.
        results: What `result` has recorded so far: name to value, unit, n and interval.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.overrides: Sequence[str] = ()
        self.results: dict[str, dict[str, Any]] = {}
        self._record: dict[str, Any] = {}
        self._log = contextlib.ExitStack()

    @classmethod
    def create(
        cls, verb: str, name: str, config: Any, root: str | Path = "runs", overrides: Sequence[str] = ()
    ) -> RunFolder:
        """Makes `root/verb/name/YYYY-mm-dd_HH-MM-SS` and writes the resolved config into it.

        Args:
            verb: What runs.
            name: What the user calls it.
            config: A `DictConfig` or any other mapping.
            root: The folder of all runs.
            overrides: What the user gave, `key=value` each.

        Raises:
            UserError: For a name that is none, or a `root` in which no folder can be made.
        """
        require_name(name)
        resolved = OmegaConf.create(config)
        try:
            run = cls(_make_unique(Path(root) / verb / name / time.strftime("%Y-%m-%d_%H-%M-%S")), name)
            run.write_config(resolved)
        except OSError as error:
            raise UserError(f"runs_dir = {str(root)!r}: cannot make a run there ({error.strerror})") from None
        run.overrides = tuple(overrides)
        run._record = {"verb": verb, "name": name, "overrides": [*overrides], **_identity(resolved)}
        return run

    def write_config(self, config: Any, file: str = _CONFIG) -> None:
        """Writes a config as YAML for people: what would fill pages, like the content of a mesh, is cut short."""
        resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
        atomic_write(self.path / file, OmegaConf.to_yaml(OmegaConf.create(shortened(resolved))))

    def result(
        self, name: str, value: float, unit: str, n: int | None = None, interval: Sequence[float] | None = None
    ) -> None:
        """Records one metric and rewrites `result.json`; a value that is not finite becomes null.

        Args:
            name: The metric, "success_rate".
            value: Its value.
            unit: Its unit, "1" for a ratio or a count.
            n: The number of episodes or samples behind it.
            interval: Its 95% confidence interval, (low, high).
        """
        self.results[name] = {
            "value": _finite(value),
            "unit": unit,
            "n": None if n is None else int(n),
            "interval": None if interval is None else [_finite(bound) for bound in interval],
        }
        atomic_write(self.path / _RESULT, json.dumps(self.results, indent=2, allow_nan=False) + "\n")

    def __enter__(self) -> RunFolder:
        self._log.enter_context(_logged_to(self.path / _LOG))
        self._write_record("running", start=_now(), end=None)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        self._log.close()
        if isinstance(error, UserError) and {entry.name for entry in self.path.iterdir()} <= {_CONFIG, _LOG, _RUN}:
            shutil.rmtree(self.path)
            with contextlib.suppress(OSError):  # the folders of its name and its verb, where nothing else is in them
                self.path.parent.rmdir()
                self.path.parent.parent.rmdir()
            return
        ended = "interrupted" if isinstance(error, KeyboardInterrupt) else "complete" if error is None else "failed"
        with contextlib.suppress(OSError):  # on a full disk what the run ended in matters more
            if error is not None:
                with (self.path / _LOG).open("a", encoding="utf-8") as log:
                    log.writelines(traceback.format_exception(kind, error, trace))
            self._write_record(ended, end=_now())

    def _write_record(self, status: str, **times: str | None) -> None:
        self._record = {**self._record, "status": status, **times}
        atomic_write(self.path / _RUN, json.dumps(self._record, indent=2) + "\n")


def require_name(name: str) -> None:
    """Refuses a name of a run that cannot be that of a folder."""
    require(_NAME.fullmatch(name) is not None, "name", name, "letters, digits and any of _ . + -")


def find_complete(verb: str, name: str, config: Any, root: str | Path = "runs") -> Path | None:
    """Returns the newest folder of a complete run of this version with the same config and unchanged inputs.

    Args:
        verb: What runs.
        name: What the user calls it.
        config: As for `RunFolder.create`.
        root: The folder of all runs.

    Returns:
        A folder with a `result.json`, or None.
    """
    identity = _identity(OmegaConf.create(config))
    complete = [
        (_started(record), folder)
        for folder in (Path(root) / verb / name).glob("*")
        if (folder / _RESULT).is_file()
        and (record := _read_record(folder)).get("status") == "complete"
        and all(record.get(key) == identity[key] for key in identity)
    ]
    return max(complete, default=(None, None))[1]


def find_run(path: str | Path, file: str) -> Path | None:
    """Returns the run folder that a path means.

    Args:
        path: A run folder; or a folder of runs, of which the one that started last is meant, whatever their names.
        file: What the run must have written, as a path in its folder.

    Returns:
        The run folder, or None where `path` is neither.

    Raises:
        UserError: For several runs of which one does not say when it started.
    """
    folder = Path(path).expanduser()
    if (folder / file).is_file():
        return folder
    runs = sorted(each.parents[len(Path(file).parts) - 1] for each in folder.glob(f"*/{file}"))
    times = {run: _started(_read_record(run)) for run in runs}
    silent = [run for run in runs if not times[run]]
    if len(runs) > 1 and silent:
        raise UserError(f"{folder}: which run is the newest is not known: no start in {silent[0] / _RUN}; name one")
    # A copy started when its original did: of the two the one that was written to last.
    return max(runs, key=lambda run: (times[run], (run / file).stat().st_mtime_ns), default=None)


def series_of(path: str | Path, verb: str) -> tuple[Path, str] | None:
    """Returns the folder of all runs and the name that a run of a verb has by its place, `root/verb/name/time`.

    Args:
        path: The run folder, a file in it or in a folder of it, or the folder of the runs of that name.
        verb: What ran.

    Returns:
        None where no such run is found: it was moved, or never made here.
    """
    given = Path(path).expanduser()
    for place in dict.fromkeys((given.absolute(), given.resolve())):  # by its name, then by what a link leads to
        run = next((each for each in (place, *place.parents[:2]) if (each / _RUN).is_file()), None)
        names = place if run is None else run.parent
        if names.parent.name == verb and _NAME.fullmatch(names.name) and names.is_dir():
            root = names.parents[1]
            return root if given.is_absolute() else Path(os.path.relpath(root)), names.name
    return None


def shortened(value: Any) -> Any:
    """Returns a config value with texts and lists that would fill pages cut short, for a file that people read."""
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:20]}... ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        count = _count(value)
        return f"({count} values)" if count > _LONGEST_LIST else [shortened(item) for item in value]
    return value


def _count(value: Any) -> int:
    return sum(map(_count, value)) if isinstance(value, (list, tuple)) else 1


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the metrics in the `result.json` of a run folder; none where it has none.

    Raises:
        UserError: The file was damaged.
    """
    file = folder / _RESULT
    if not file.is_file():
        return {}
    with parsing(file, "the results of a run"):
        results = json.loads(file.read_text(encoding="utf-8"))
        for name, metric in results.items():
            value, (low, high) = metric["value"], metric["interval"] or (0.0, 1.0)
            if not all(
                number is None or isinstance(number, (int, float)) for number in (value, low, high, metric["n"])
            ):
                raise UserError(f"{file}: {name} = {metric!r}: must have numbers")
    return results


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Returns the 95% Wilson score interval of a success rate; (0, 1) when nothing was tried.

    Raises:
        ValueError: If there are more successes than tries, or fewer than none.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes = {successes}: must be between 0 and n = {n}")
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    low, high = binomtest(successes, n).proportion_ci(method="wilson")  # its ends are exactly 0 and 1
    return float(low), float(high)


def _identity(config: Any) -> dict[str, Any]:
    """Returns what makes two runs of a verb the same: its version, its config and the state of its inputs."""
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    values = {key: value for key, value in resolved.items() if key not in OURS}
    text = json.dumps(values, sort_keys=True, default=str)
    # Banks, robots and objects that ship are named without a path, so all of them count.
    paths = sorted({str(assets_dir()), *_strings(values)})
    inputs = {path: _newest(path) for path in paths if os.path.exists(path)}
    return {"version": __version__, "config": hashlib.sha256(text.encode()).hexdigest(), "inputs": inputs}


def _strings(value: Any) -> Iterator[str]:
    """Yields every string in nested mappings and lists, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)


def _newest(path: str) -> int:
    """Returns when a file, or the newest file or folder below a folder, was last changed, in ns since 1970."""
    below = [os.path.join(folder, file) for folder, _, files in os.walk(path) for file in [".", *files]]
    times = [os.lstat(path).st_mtime_ns]
    for each in below:
        with contextlib.suppress(FileNotFoundError):  # a run that writes into the folder removes its temporary files
            times.append(os.lstat(each).st_mtime_ns)
    return max(times)


def _read_record(folder: Path) -> dict[str, Any]:
    """Returns the content of a folder's `run.json`; nothing where it has none that can be read."""
    try:
        record = json.loads((folder / _RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _started(record: Mapping[str, Any]) -> str:
    """Returns when a run started, as text that sorts; nothing where its record does not say."""
    try:
        return datetime.fromisoformat(record["start"]).astimezone(UTC).isoformat(timespec="microseconds")
    except (KeyError, TypeError, ValueError, OverflowError):
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


class _LogFile(logging.FileHandler):
    """A log whose disk may be full: that is said once, by what cannot be saved, and is no reason to stop."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Sends what is logged, from INFO on, to a file too; what other handlers show stays as it was."""
    root = logging.getLogger()
    before, others = root.level, [handler for handler in root.handlers if handler.level == logging.NOTSET]
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if before > logging.INFO:  # a program of the user's, which wants no more than that on its own handlers
        for other in others:
            other.setLevel(before)
        root.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        if before > logging.INFO:
            root.setLevel(before)
            for other in others:
                other.setLevel(logging.NOTSET)


def _make_unique(path: Path) -> Path:
    """Makes a new folder; one that starts in the same second as another gets a number."""
    for count in range(1000):
        candidate = path if count == 0 else path.with_name(f"{path.name}-{count}")
        with contextlib.suppress(FileExistsError):
            candidate.mkdir(parents=True)
            return candidate
    raise FileExistsError(path)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
