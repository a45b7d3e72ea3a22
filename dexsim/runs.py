"""The folder of one run, and the interval of a success rate."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import shutil
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dexsim.errors import UserError, require
from dexsim.files import atomic_write

_CONFIG, _LOG, _RESULT = "config.yaml", "log.txt", "result.json"


class RunFolder:
    """Where one run keeps what it writes: its resolved config, log, results and outputs.

    As a context manager it sends what the `logging` module reports, and the traceback of a crash, to `log.txt`. A run
    that ends in a `UserError` before it wrote anything of its own leaves no folder behind.

    Attributes:
        path: The folder.
        overrides: What the user gave, `key=value` each.
        given: The keys of the config among them, at its top level.
        results: What `result` has recorded so far: name to value, unit, n and interval.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.overrides: Sequence[str] = ()
        self.given: set[str] = set()
        self.results: dict[str, dict[str, Any]] = {}
        self._handler: logging.Handler | None = None

    @classmethod
    def create(cls, verb: str, name: str, config: Any, root: str | Path = "runs") -> RunFolder:
        """Makes `root/verb/name/YYYY-mm-dd_HH-MM-SS` and writes the resolved config into it.

        Args:
            verb: What runs.
            name: What the user calls it.
            config: A `DictConfig` or any other mapping.
            root: The folder of all runs.
        """
        require(re.fullmatch(r"\w[\w.+-]*", name) is not None, "name", name, "letters, digits and any of _ . + -")
        run = cls(_make_unique(Path(root) / verb / name / time.strftime("%Y-%m-%d_%H-%M-%S")))
        atomic_write(run.path / _CONFIG, OmegaConf.to_yaml(OmegaConf.create(config), resolve=True))
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
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler.close()
        if isinstance(error, UserError) and {entry.name for entry in self.path.iterdir()} <= {_CONFIG, _LOG}:
            shutil.rmtree(self.path)
        elif error is not None:
            with (self.path / _LOG).open("a", encoding="utf-8") as log:
                log.writelines(traceback.format_exception(kind, error, trace))


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Returns the 95% Wilson score interval of a success rate; (0, 1) when nothing was tried.

    Raises:
        ValueError: If there are more successes than tries, or fewer than none.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes = {successes}: must be between 0 and n = {n}")
    if n == 0:
        return 0.0, 1.0
    z = 1.959963984540054  # the 97.5% quantile of the normal distribution
    rate, spread = successes / n, z * z / n
    centre = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(rate * (1 - rate) * spread + spread * spread / 4) / (1 + spread)
    # At the ends the bound is exactly 0 or 1; rounding would miss it.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


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
