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
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dexsim import __version__
from dexsim.errors import UserError, require
from dexsim.files import atomic_write
from dexsim.paths import assets_dir

_CONFIG, _LOG, _RESULT, _RUN = "config.yaml", "log.txt", "result.json", "run.json"
_NOT_THE_VERBS = {"name", "runs_dir", "objective"}  # keys that the command line reads


class RunFolder:
    """Where one run keeps what it writes: its resolved config, log, results and outputs.

    As a context manager it sends what the `logging` module reports, and the traceback of a crash, to `log.txt`, and
    says in `run.json` when the run started, when it ended and how: running, complete, failed or interrupted. A run
    that is killed stays "running". One that ends in a `UserError` before it wrote anything of its own leaves no folder
    behind.

    Attributes:
        path: The folder.
        overrides: What the user gave, `key=value` each.
        given: The keys of the verb's own config among them, at its top level.
        results: What `result` has recorded so far: name to value, unit, n and interval.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.overrides: Sequence[str] = ()
        self.given: set[str] = set()
        self.results: dict[str, dict[str, Any]] = {}
        self._record: dict[str, Any] = {}
        self._handler: logging.Handler | None = None

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
        require(re.fullmatch(r"\w[\w.+-]*", name) is not None, "name", name, "letters, digits and any of _ . + -")
        try:
            run = cls(_make_unique(Path(root) / verb / name / time.strftime("%Y-%m-%d_%H-%M-%S")))
        except OSError as error:
            raise UserError(f"runs_dir = {str(root)!r}: cannot make a folder there ({error.strerror})") from None
        run.overrides = tuple(overrides)
        run.given = {re.split(r"[=.]", override.lstrip("+~"))[0] for override in overrides} - _NOT_THE_VERBS
        resolved = OmegaConf.create(config)
        atomic_write(run.path / _CONFIG, OmegaConf.to_yaml(resolved, resolve=True))
        run._record = {"verb": verb, "name": name, "overrides": [*overrides], **_identity(resolved)}
        return run

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
        self._handler = logging.FileHandler(self.path / _LOG, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(self._handler)
        self._write_record("running", start=_now(), end=None)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler.close()
        if isinstance(error, UserError) and {entry.name for entry in self.path.iterdir()} <= {_CONFIG, _LOG, _RUN}:
            shutil.rmtree(self.path)
            return
        if error is not None:
            with (self.path / _LOG).open("a", encoding="utf-8") as log:
                log.writelines(traceback.format_exception(kind, error, trace))
        ended = "interrupted" if isinstance(error, KeyboardInterrupt) else "complete" if error is None else "failed"
        self._write_record(ended, end=_now())

    def _write_record(self, status: str, **times: str | None) -> None:
        self._record = {**self._record, "status": status, **times}
        atomic_write(self.path / _RUN, json.dumps(self._record, indent=2) + "\n")


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
    for folder in sorted((Path(root) / verb / name).glob("*"), reverse=True):
        if (folder / _RESULT).is_file():
            record = _read_record(folder)
            if record.get("status") == "complete" and all(record.get(key) == identity[key] for key in identity):
                return folder
    return None


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the metrics in the `result.json` of a run folder; none where it has none."""
    file = folder / _RESULT
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


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
    values = {key: value for key, value in resolved.items() if key not in _NOT_THE_VERBS}
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _make_unique(path: Path) -> Path:
    """Makes a new folder; one that starts in the same second as another gets a number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for count in range(1000):
        candidate = path if count == 0 else path.with_name(f"{path.name}-{count}")
        with contextlib.suppress(FileExistsError):
            candidate.mkdir()
            return candidate
    raise FileExistsError(path)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
