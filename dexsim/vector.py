"""The environment as gymnasium knows them: N at once (`VectorEnv`) or a single one (`SingleEnv`), in NumPy.

Infos hold `states`, what the critic sees; where an episode ends also success, episode_return, episode_length and, of a
task that has this stage, picked_up. Their form is that of gymnasium's `SyncVectorEnv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor, as_tensor, float32

from dexsim.env.contract import LearnerEnv
from dexsim.errors import require

if TYPE_CHECKING:
    from dexsim.drawing.renderer import RayRenderer
    from dexsim.env.env import Env

RENDER_MODES = ("rgb_array",)
RENDER_SIZE = (320, 240)  # width and height in pixels
# Observations are m, or joint positions as fractions of their range. They are Gaussian where they are noisy, which has
# no bound; this one is met only by a simulation that has blown up.
OBSERVATION_BOUND = 100.0
_EPISODE: tuple[tuple[str, type], ...] = (
    ("success", np.bool_),
    ("episode_return", np.float64),
    ("episode_length", np.int64),
)
Info = dict[str, Any]


class VectorEnv(gymnasium.vector.VectorEnv):
    """N copies of a task that reset themselves in the step that ends their episode (`AutoresetMode.SAME_STEP`).

    Args:
        env: the environment; it belongs to this one.
        seed: of the first `reset` that is given none; None for a random one.
        render_mode: "rgb_array" or None. Drawing is ray casting on the CPU: seconds a frame where meshes are drawn.
    """

    def __init__(self, env: LearnerEnv, seed: int | None = None, render_mode: str | None = None) -> None:
        """See the class."""
        self.torch_env, self.num_envs = env, env.num_envs
        self.render_mode, self._renderer = _render_mode(render_mode), None
        self.metadata = {**_metadata(env), "autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = _spaces(env)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._next_seed = seed
        self._started = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, Info]:
        """Start all anew.

        Args:
            seed: fixes all that follows, one for all copies; None goes on with fresh random numbers.
            options: none is known: copies that have finished start anew by themselves.

        Returns:
            Observations (N, num_obs) and infos.

        Raises:
            UserError: for a list of seeds, or for options.
        """
        _refuse_options(options)
        one = seed is None or isinstance(seed, (int, np.integer))
        require(one, "seed", seed, "a whole number or None: one fixes all copies")
        self._started = True
        seed, self._next_seed = self._next_seed if seed is None else seed, None
        super().reset(seed=seed)
        self.torch_env.seed(_fresh_seed(self.np_random) if seed is None else seed)
        obs = self.torch_env.reset()
        return _observation(obs["obs"]), _masked(
            {"states": obs["states"].cpu().numpy()}, np.ones(self.num_envs, np.bool_)
        )

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Apply actions (N, 26) in [-1, 1] for one policy period.

        Returns:
            Observations (N, num_obs), rewards (N,), terminations (N,), truncations (N,) and infos. A finished
            environment's observation is that of its new episode; `final_obs` and `final_info` have its last.

        Raises:
            UserError: for actions of another shape.
        """
        if self.closed:
            raise gymnasium.error.ClosedEnvironmentError("step() after close()")
        if not self._started:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        result = self.torch_env.step(_actions(actions, self.action_space.shape, self.torch_env))
        terminated, truncated = result.terminated.cpu().numpy(), result.truncated.cpu().numpy()
        infos = _masked({"states": result.obs["states"].cpu().numpy()}, np.ones(self.num_envs, np.bool_))
        done = terminated | truncated
        if done.any():
            infos.update(_final(result.info, done))
        return _observation(result.obs["obs"]), result.reward.double().cpu().numpy(), terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Draw every environment as it is now, (240, 320, 3) uint8 each; None without a render mode."""
        if self.render_mode is None:
            return None
        renderer = self._renderer = self._renderer or _make_renderer(self.torch_env)
        return tuple(renderer.render(i) for i in range(self.num_envs))

    def close_extras(self, **_: Any) -> None:
        """Close the simulation."""
        self.torch_env.close()


class SingleEnv(gymnasium.Env):
    """One copy of a task; after an episode has ended, `reset` is the caller's to call.

    Args:
        env: the environment, with `num_envs` 1; it belongs to this one.
        seed: as in `VectorEnv`.
        render_mode: as in `VectorEnv`.
    """

    def __init__(self, env: LearnerEnv, seed: int | None = None, render_mode: str | None = None) -> None:
        """See the class."""
        if env.num_envs != 1:
            raise ValueError(f"SingleEnv takes an environment of 1 copy, not {env.num_envs}")
        self.torch_env = env
        self.render_mode, self._renderer = _render_mode(render_mode), None
        self.metadata = _metadata(env)
        self.observation_space, self.action_space = _spaces(env)
        self._next_seed = seed
        self._ended, self._closed = True, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, Info]:
        """Start anew; as `VectorEnv.reset` but for the leading dimension."""
        _refuse_options(options)
        seed, self._next_seed = self._next_seed if seed is None else seed, None
        super().reset(seed=seed)
        self.torch_env.seed(_fresh_seed(self.np_random) if seed is None else seed)
        obs = self.torch_env.reset()
        self._ended = False
        return _observation(obs["obs"])[0], {"states": obs["states"].cpu().numpy()[0]}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Info]:
        """Apply an action (26,) in [-1, 1] for one policy period; the observation is never that of a new episode."""
        if self._closed:
            raise gymnasium.error.ClosedEnvironmentError("step() after close()")
        if self._ended:
            raise gymnasium.error.ResetNeeded("the episode has ended: call reset() before step()")
        result = self.torch_env.step(_actions(action, self.action_space.shape, self.torch_env)[None])
        terminated, truncated = bool(result.terminated), bool(result.truncated)
        self._ended = terminated or truncated
        if self._ended:
            obs, states = result.info["final_obs"], result.info["final_states"]
        else:
            obs, states = result.obs["obs"], result.obs["states"]
        info: Info = {"states": states.cpu().numpy()[0]}
        if self._ended:
            info.update((name, value.item()) for name, value in _episode(result.info).items())
        return _observation(obs)[0], float(result.reward), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """Draw the environment as it is now, (240, 320, 3) uint8; an ended episode shows the next one's start."""
        if self.render_mode is None:
            return None
        renderer = self._renderer = self._renderer or _make_renderer(self.torch_env)
        return renderer.render(0)

    def close(self) -> None:
        """Close the simulation."""
        self._closed = True
        self.torch_env.close()


def _refuse_options(options: Mapping[str, Any] | None) -> None:
    require(not options, "options", options, "None or empty: reset() has no options here")


def _actions(actions: Any, shape: tuple[int, ...] | None, env: LearnerEnv) -> Tensor:
    """Actions as a tensor, checked before anything moves."""
    given = np.shape(actions)
    require(given == shape, "actions", f"an array of shape {given}", f"of shape {shape}")
    return as_tensor(actions, dtype=float32, device=env.device)


def _metadata(env: LearnerEnv) -> dict[str, Any]:
    return {"render_modes": list(RENDER_MODES), "render_fps": round(1 / env.dt)}


def _render_mode(mode: str | None) -> str | None:
    require(mode is None or mode in RENDER_MODES, "render_mode", mode, f"{', '.join(RENDER_MODES)} or None")
    return mode


def _make_renderer(env: LearnerEnv) -> RayRenderer:
    from dexsim.drawing.renderer import RayRenderer

    width, height = RENDER_SIZE
    # Only an `Env` has a scene to draw.
    return RayRenderer(cast("Env", env), width=width, height=height)


def _spaces(env: LearnerEnv) -> tuple[Box, Box]:
    """Observation and action space of one environment."""
    observation = Box(-OBSERVATION_BOUND, OBSERVATION_BOUND, (env.num_obs,), np.float32)
    return observation, Box(-1.0, 1.0, (env.num_actions,), np.float32)


def _fresh_seed(np_random: np.random.Generator) -> int:
    return int(np_random.integers(2**31))


def _observation(values: Tensor) -> np.ndarray:
    return values.cpu().numpy().clip(-OBSERVATION_BOUND, OBSERVATION_BOUND)


def _masked(values: Mapping[str, np.ndarray], mask: np.ndarray) -> Info:
    """Gymnasium's form of infos: each entry beside the mask of the environments that have it, zero elsewhere."""
    infos: Info = {}
    for name, value in values.items():
        value[~mask] = 0
        infos[name], infos[f"_{name}"] = value, mask.copy()
    return infos


def _episode(info: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Facts (N,) of an episode, where one has ended."""
    facts = {name: info[name].cpu().numpy().astype(kind) for name, kind in _EPISODE}
    if "picked_up" in info["stages"]:
        facts["picked_up"] = info["stages"]["picked_up"].cpu().numpy().copy()
    return facts


def _final(info: Mapping[str, Any], done: np.ndarray) -> Info:
    """`final_obs`, an object array with None where an episode goes on, and `final_info`."""
    obs = np.full(len(done), None, dtype=object)
    for i in done.nonzero()[0]:
        obs[i] = _observation(info["final_obs"][i])
    facts = {"states": info["final_states"].cpu().numpy(), **_episode(info)}
    return {"final_obs": obs, "_final_obs": done.copy(), "final_info": _masked(facts, done), "_final_info": done.copy()}
