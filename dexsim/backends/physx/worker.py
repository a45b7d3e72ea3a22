"""Some of the environments, in this process or in one of their own; which it is changes no number."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np

from dexsim.backends.physx.simulation import Row, Simulation
from dexsim.errors import UserError
from dexsim.scene import Scene

# Name of a part of the state -> its shape for one environment of J joints, K objects, F fingertips, P pairs.
SHAPES: dict[str, Callable[[int, int, int, int], tuple[int, ...]]] = {
    "joint_position": lambda j, k, f, p: (j,),
    "joint_velocity": lambda j, k, f, p: (j,),
    "object_pose": lambda j, k, f, p: (k, 7),
    "object_velocity": lambda j, k, f, p: (k, 6),
    "fingertip_position": lambda j, k, f, p: (f, 3),
    "palm_pose": lambda j, k, f, p: (2, 12),
    "contact": lambda j, k, f, p: (p,),
}


class Memory:
    """Arrays that processes share: the state, and what goes into a step.

    Args:
        scene: says how wide they are.
        num_envs: N.
    """

    def __init__(self, scene: Scene, num_envs: int) -> None:
        """See the class."""
        robot = scene.robot
        sizes = (len(robot.joint_names), len(scene.objects), len(robot.fingertips), len(scene.contacts))
        self._shapes = {name: (num_envs, *shape(*sizes)) for name, shape in SHAPES.items()}
        self._shapes |= {"target": (num_envs, len(robot.commands)), "wrench": (num_envs, sizes[1], 6)}
        self._raw = {name: RawArray("d", max(1, int(np.prod(shape)))) for name, shape in self._shapes.items()}

    def array(self, name: str) -> np.ndarray:
        """(N, ...) float64; all processes see the same."""
        shape = self._shapes[name]
        return np.frombuffer(self._raw[name], count=int(np.prod(shape))).reshape(shape)


class Simulations:
    """The environments first to last of a backend.

    Args:
        scene: what to simulate.
        memory: shared by all.
        first: number of the first one.
        values: name -> (n, k) parameters, one row for each environment.
    """

    def __init__(self, scene: Scene, memory: Memory, first: int, values: Mapping[str, np.ndarray]) -> None:
        """See the class."""
        self._arrays = {name: memory.array(name) for name in (*SHAPES, "target", "wrench")}
        count = len(next(iter(values.values())))
        self._first = first
        self._values = [{name: value[i].copy() for name, value in values.items()} for i in range(count)]
        rows = [Row(**{name: self._arrays[name][first + i] for name in SHAPES}) for i in range(count)]
        self._all = [Simulation(scene, row) for row in rows]
        rest = scene.robot.expand_coupled(np.clip(0.0, *scene.robot.command_limits.T))
        poses = np.array([[*item.position, 1.0, 0.0, 0.0, 0.0] for item in scene.objects]).reshape(-1, 7)
        for simulation, own in zip(self._all, self._values, strict=True):
            simulation.reset(rest, rest[scene.robot.command_index], poses, own)

    def set_parameters(self, ids: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Keep parameters (n, k) of the environments `ids`; `rebuild` or a reset makes them count."""
        for row, i in enumerate(ids):
            self._values[i - self._first].update({name: value[row].copy() for name, value in values.items()})

    def rebuild(self, ids: np.ndarray) -> None:
        """Go on with the parameters as they are now."""
        for i in ids:
            self._all[i - self._first].rebuild(self._values[i - self._first])

    def reset(self, ids: np.ndarray, joints: np.ndarray, targets: np.ndarray, poses: np.ndarray) -> None:
        """Start the environments `ids` anew; a row for each."""
        for i, *start in zip(ids, joints, targets, poses, strict=True):
            self._all[i - self._first].reset(*start, self._values[i - self._first])

    def step(self, substeps: int) -> np.ndarray:
        """Advance all with the shared targets and wrenches; (n,) whether each is broken."""
        target, wrench = self._arrays["target"], self._arrays["wrench"]
        broken = [each.step(target[i], wrench[i], substeps) for i, each in enumerate(self._all, self._first)]
        return np.array(broken, dtype=bool)

    def rollout(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Targets (n, S, 26) of their own; positions and efforts (n, S, 26), (n,) whether each is broken."""
        wrenches = self._arrays["wrench"][self._first : self._first + len(self._all)]
        rolled = [each.rollout(*given) for each, *given in zip(self._all, targets, wrenches, strict=True)]
        positions, efforts, broken = zip(*rolled, strict=True)
        return np.stack(positions), np.stack(efforts), np.array(broken, dtype=bool)


class Worker:
    """`Simulations` in a process of their own; `ask` sends a call, `answer` waits for what it returned.

    The first answer, to no call, comes when they are built.

    Args:
        arguments: of `Simulations`.
    """

    def __init__(self, *arguments: Any) -> None:
        """See the class."""
        # A copy of this process would have its threads' locks. The new one imports the main module again: a script
        # that makes environments does so below `if __name__ == "__main__"`.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, method: str, *arguments: Any) -> None:
        """Call a method of its simulations."""
        try:
            self._pipe.send((method, arguments))
        except OSError:
            raise self._gone() from None

    def answer(self) -> Any:
        """What the last call returned; raises what it raised."""
        try:
            result, error = self._pipe.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(1.0)
        if self._process.is_alive():  # in the middle of a call
            self._process.terminate()

    def _gone(self) -> RuntimeError:
        self._process.join(1.0)
        what = f"a process of the backend physx ended by itself (exit code {self._process.exitcode})"
        return RuntimeError(f'{what}; a script that uses it needs `if __name__ == "__main__":`')


class Here:
    """`Simulations` in this process, with the face of a `Worker`."""

    def __init__(self, *arguments: Any) -> None:
        """See the class."""
        self._simulations: Any = Simulations(*arguments)
        self._result: Any = None

    def ask(self, method: str, *arguments: Any) -> None:
        """See `Worker`."""
        self._result = getattr(self._simulations, method)(*arguments)

    def answer(self) -> Any:
        """See `Worker`."""
        return self._result

    def close(self) -> None:
        """See `Worker`."""
        self._simulations = None


def _serve(pipe: Connection, arguments: tuple[Any, ...]) -> None:
    """The life of a worker: build, then answer calls until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    made: list[Any] = []
    with contextlib.suppress(EOFError, OSError):
        pipe.send(_tried(lambda: made.append(Simulations(*arguments))))
        while made:
            method, given = pipe.recv()
            pipe.send(_tried(lambda: getattr(made[0], method)(*given)))  # noqa: B023


def _tried(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What a call returns, or its error in a form that can be sent."""
    try:
        return call(), None
    except UserError as error:
        return None, UserError(str(error))
    except Exception:
        return None, RuntimeError(f"in a process of the backend physx:\n{traceback.format_exc()}")
