"""One verb with one config: found by its entry point, checked, run in a run folder of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dexsim import settings
from dexsim.errors import unknown
from dexsim.launch.overrides import key_of
from dexsim.registration import entry_points, load, source
from dexsim.runs import RunFolder, find_complete, require_name, series_of

_GROUP = "dexsim.verbs"


def verbs() -> dict[str, metadata.EntryPoint]:
    """Returns the entry points of the verbs that are installed, by name."""
    return {name: point for name, point in entry_points(_GROUP).items() if source(point).is_file()}


@dataclass(frozen=True)
class Invocation:
    """A verb and all that it is run with.

    Attributes:
        verb: Its name.
        name: What the user calls the run.
        runs_dir: The folder of all runs.
        objective: The metric of `result.json` that a sweeper optimizes, where the config names one.
        config: The verb's own config, resolved.
        overrides: What the user gave, `key=value` each.
    """

    verb: str
    name: str
    runs_dir: str
    objective: str | None
    config: dict[str, Any]
    overrides: tuple[str, ...] = ()

    @classmethod
    def of(cls, verb: str, config: DictConfig, overrides: Sequence[str]) -> Invocation:
        """Resolves a composed config and takes out of it what the command line reads."""
        values = settings.plain(config)
        place = {"name": str(values.pop("name", verb)), "runs_dir": str(values.pop("runs_dir", "runs"))}
        if values.get("resume") is not None:
            given = set(map(key_of, overrides))
            resumed = _place_of(verb, str(values["resume"]))
            place |= {key: value for key, value in resumed.items() if key not in given}
        elif values.get("from") is not None and "name" not in map(key_of, overrides):
            tell = _beside_main(verb, "name_from")
            place |= {} if tell is None else {"name": tell(str(values["from"]))}
        return cls(verb, **place, objective=values.pop("objective", None), config=values, overrides=tuple(overrides))

    def check(self) -> None:
        """Lets the verb look at what it is given, without running: by the function `check` beside its `main`, if any.

        Raises:
            UserError: For what can be known to be wrong by now.
        """
        require_name(self.name)
        check = _beside_main(self.verb, "check")
        if check is not None:
            check(DictConfig(self.config), self.overrides)

    def find_complete(self) -> Path | None:
        """Returns the folder of an earlier run that did just this, to its end; None where there is none."""
        return find_complete(self.verb, self.name, self._told(), self.runs_dir)

    def make_folder(self) -> RunFolder:
        """Makes the run folder."""
        self._main()  # a verb that cannot be imported leaves none
        config = {"name": self.name, "runs_dir": self.runs_dir, **self._told()}
        return RunFolder.create(self.verb, self.name, config, self.runs_dir, self.overrides)

    def run(self, folder: RunFolder) -> None:
        """Runs the verb in a run folder, whose path is the last line that it prints."""
        try:
            with folder:
                self._main()(DictConfig(self.config), folder)
        finally:
            if folder.path.exists():
                print(folder.path, flush=True)

    def value(self, results: Mapping[str, Mapping[str, Any]], required: bool = False) -> float | None:
        """Returns the objective's value.

        Args:
            results: The content of `result.json`.
            required: Whether there must be one; an objective that the user chose must always be there.

        Raises:
            UserError: If there is none and must be one.
        """
        found = results.get(self.objective or "", {}).get("value")
        if found is not None:
            return float(found)
        chosen = self.objective is not None and "objective" in map(key_of, self.overrides)
        if chosen or required:
            known = [name for name, metric in results.items() if metric["value"] is not None]
            raise unknown(f"objective = {self.objective!r}: no metric that this run has", self.objective, known)
        return None

    def _told(self) -> dict[str, Any]:
        """Returns all that says what is run: where a checkpoint has the rest of the config, also what was given."""
        return {**self.config, **({"given": sorted(self.overrides)} if self.config.get("from") is not None else {})}

    def _main(self) -> Callable[[DictConfig, RunFolder], None]:
        return load(verbs()[self.verb])


def _place_of(verb: str, resume: str) -> dict[str, str]:
    """Returns `name` and `runs_dir` of a run that is gone on with, as far as they are known.

    Its place tells, so that the next one finds what this one adds. Of a file that was moved elsewhere the verb's module
    may know the name, if it has a function `resumed_name`.
    """
    series = series_of(resume, verb)
    if series is not None:
        return {"runs_dir": str(series[0]), "name": series[1]}
    tell = _beside_main(verb, "resumed_name")
    name = None if tell is None else tell(resume)
    return {} if name is None else {"name": name}


def _beside_main(verb: str, function: str) -> Callable[..., Any] | None:
    """Returns a function that the module of a verb may have beside its `main`."""
    point = verbs()[verb]
    load(point)
    return getattr(sys.modules.get(point.module), function, None)
