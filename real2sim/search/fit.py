"""A fit: the stages of a search one after the other, stored after every step, so that a killed one goes on."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import dexsim
from dexsim.errors import UserError
from dexsim.files import atomic_write, made_up_for
from dexsim.robots import constants
from real2sim.search import state as files
from real2sim.search.base import Search, SearchSettings
from real2sim.search.cma import hash_seed
from real2sim.search.make import batch_size, make_search
from real2sim.search.problem import Problem

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One step of a fit.

    Attributes:
        stage: which stage it was of, from 0.
        method: its method.
        count: which step of the stage, from 1.
        mse: the best so far on the stretch that the stage simulates, rad^2.
        robot_seconds: simulated so far, s.
        seconds: wall time so far, s.
    """

    stage: int
    method: str
    count: int
    mse: float
    robot_seconds: float
    seconds: float


@dataclass
class _State:
    """All that a fit needs to go on.

    Attributes:
        x: (P,) the result of the last stage that has ended.
        stage: the one under way.
        search: its search, None before its first step.
        steps: what has been done.
    """

    x: np.ndarray
    stage: int = 0
    search: Search | None = None
    steps: list[Step] = field(default_factory=list)


class Fit:
    """Runs the stages of a search on a problem.

    Args:
        problem: the problem.
        stages: what to run.
        path: where its state is kept; what is there already is gone on with.
        seed: of everything random.

    Raises:
        UserError: if what is there is another problem's or of other stages.
    """

    def __init__(self, problem: Problem, stages: Sequence[SearchSettings], path: Path, seed: int) -> None:
        self.problem, self.stages, self.path, self.seed = problem, tuple(stages), path, seed
        self._identity = _identity(problem, self.stages, seed)
        self._state = _State(problem.space.start.copy())
        if path.exists():
            self._state = self._restored(files.read(path))
            _log.info("going on after %d steps of %s", len(self._state.steps), path.stem)

    @property
    def x(self) -> np.ndarray:
        """(P,) the result so far."""
        return self._state.x if self._state.search is None else self._state.search.x

    @property
    def search(self) -> Search | None:
        """The last search that took a step."""
        return self._state.search

    @property
    def steps(self) -> list[Step]:
        """What has been done, also before it was resumed."""
        return self._state.steps

    @property
    def robot_seconds(self) -> float:
        """Simulated so far, s."""
        return self.steps[-1].robot_seconds if self.steps else 0.0

    @property
    def seconds(self) -> float:
        """Wall time so far, s."""
        return self.steps[-1].seconds if self.steps else 0.0

    @property
    def last(self) -> Problem:
        """The whole log in the physics steps that the last stage took."""
        return self.problem.part(None, self.stages[-1].timestep)

    def run(self) -> None:
        """Go through what is left of the stages."""
        for step in self._steps():
            _log.info("%s", self._line(step))

    def _steps(self) -> Iterator[Step]:
        while self._state.stage < len(self.stages):
            stage = self.stages[self._state.stage]
            part = self.problem.part(stage.window_s, stage.timestep)
            if self._state.search is None:
                self._state.search = self._begin(self._state.stage, self._state.x)
            while not self._state.search.done:
                yield self._take(part, self._state.search)
            self._state.x, self._state.stage = self.x, self._state.stage + 1
            if self._state.stage < len(self.stages):
                self._state.search = None
            self._store()

    def _take(self, part: Problem, search: Search) -> Step:
        began, simulated = time.perf_counter(), part.robot_seconds
        search.step(part)
        method = self.stages[self._state.stage].method
        spent = self.robot_seconds + part.robot_seconds - simulated
        seconds = self.seconds + time.perf_counter() - began
        self.steps.append(Step(self._state.stage, method, search.count, search.mse, spent, seconds))
        self._store()
        return self.steps[-1]

    def _store(self) -> None:
        # Going on with what was stored, to the last bit: then it makes no difference whether it had to be read.
        state, search = self._state, self._state.search
        data = files.encode(
            {
                "identity": self._identity,
                "x": state.x,
                "stage": state.stage,
                "search": None if search is None else search.get_state(),
                "steps": [astuple(step) for step in state.steps],
            }
        )
        with made_up_for(f"the state of the fit after {len(state.steps)} steps"):
            atomic_write(self.path, data)
        self._state = self._restored(files.decode(data, self.path))

    def _restored(self, stored: Mapping[str, Any]) -> _State:
        """The state that a file holds; raises UserError for one of another fit."""
        self._check_identity(stored.get("identity"))
        try:
            steps = [_step(*row) for row in stored["steps"]]
            state = _State(files.same_kind(stored["x"], self._state.x), int(stored["stage"]), None, steps)
            if not 0 <= state.stage <= len(self.stages):
                raise ValueError("no such stage")
            if stored["search"] is not None:  # that of the last stage stays when it has ended
                state.search = self._begin(min(state.stage, len(self.stages) - 1), state.x)
                state.search.set_state(stored["search"])
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
            raise files.no_state(self.path) from None
        return state

    def _check_identity(self, stored: Any) -> None:
        """Refuse the state of another fit, and say what is another."""
        if not isinstance(stored, Mapping):
            raise files.no_state(self.path)
        names = {"numbers": "values of the log or the robot", "version": f"version ({stored.get('version')})"}
        other = [names.get(key, key) for key, value in self._identity.items() if stored.get(key) != value]
        if other:
            what = "is the state of a fit of another log, or with other settings"
            raise UserError(f"{self.path}: {what}: {', '.join(other)}")

    def _begin(self, stage: int, x: np.ndarray) -> Search:
        seed = hash_seed(self.seed, stage)  # two stages do not try the same
        return make_search(self.stages[stage], self.problem.space, x, seed)

    def _line(self, step: Step) -> str:
        stage = self.stages[step.stage]
        rate = step.robot_seconds / max(step.seconds, 1e-9)
        left = self._cost(stage) * (stage.steps - step.count if not self._ended(step) else 0)
        left += sum(self._cost(other) * other.steps for other in self.stages[step.stage + 1 :])
        return (
            f"{step.method:<12} {step.count:>3}/{stage.steps}  best {step.mse:.3g} rad^2  {step.seconds:.0f} s, "
            f"at most {left / rate:.0f} s left  {rate:,.0f} robot-seconds/s"
        )

    def _ended(self, step: Step) -> bool:
        return self._state.search is not None and self._state.search.done and step is self.steps[-1]

    def _cost(self, stage: SearchSettings) -> float:
        """Robot-seconds of a step, in physics steps of the backend's size."""
        finer = 1.0 if stage.timestep is None else self.problem.settings.timestep / stage.timestep
        return finer * batch_size(stage, self.problem.space) * self.problem.part(stage.window_s).log.duration


def _identity(problem: Problem, stages: Sequence[SearchSettings], seed: int) -> dict[str, Any]:
    """What a state is of: version, log, clocks, robot, space, simulator, stages and seed."""
    space, log = problem.space, problem.log
    digest = hashlib.sha256()
    robot = constants(space.robot)
    arrays = (log.time, log.command, log.position, space.low, space.high, space.start, space.prior)
    for array in (*arrays, *(robot[name] for name in sorted(robot))):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "version": dexsim.__version__,
        "log": log.digest,
        "parameters": [parameter.name for parameter in space.parameters],
        "numbers": digest.hexdigest(),
        "simulator": [problem.settings.name, problem.settings.timestep],  # threads change nothing
        "stages": [asdict(stage) for stage in stages],
        "seed": seed,
    }


def _step(stage: int, method: str, count: int, *numbers: float) -> Step:
    mse, robot_seconds, seconds = map(float, numbers)
    if not 0 <= robot_seconds + seconds <= files.LARGEST:
        raise ValueError("no times")
    return Step(int(stage), str(method), int(count), mse, robot_seconds, seconds)
