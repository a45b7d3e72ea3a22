"""How episodes start from a bank: which states, where the object is put, on which side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dexsim.control.symmetry import QUATERNION, VECTOR, left_hand_acts
from dexsim.env.draws import EpisodeDraws
from dexsim.env.randomization import RandomizationSettings
from dexsim.env.task import InitialState
from dexsim.errors import UserError, require
from dexsim.robots import RobotSpec
from dexsim.rotations import tilt_cosine, turn_about_z
from tasks.banks import Bank, BankName, is_own, mirror_bank

# What Table 4 scales an object by at most; what hands of a shipped bank stay clear of includes it.
LARGEST_SCALE = 1.05
# An object that differs by more from the recorded one, as a ratio, is not put into a hand; Table 4 scales by 5%.
SIZE_TOLERANCE = 0.06
STANDING = 0.98  # cosine of the tilt of an object that stands, at least


class StartStates:
    """Starts episodes from a bank: from states of the first stage, and while a policy is trained from some later ones.

    Args:
        bank: the bank; for a two-sided task as the right hand plays it.
        robot: whose joints they are.
        later_starts: share of episodes that start from later stages, where the state drawn fits the object: in an
            environment's first episode, and after `later_episodes`; in between it changes in proportion.
        later_episodes: how many episodes of an environment it takes to come from the first share to the second.
        two_sided: whether episodes may start in the bank's mirror image (`Task.two_sided`).
        device: where the tensors are.

    Attributes:
        later: (M,) bool, which states are of a later stage.
    """

    def __init__(
        self,
        bank: Bank,
        robot: RobotSpec,
        later_starts: tuple[float, float],
        later_episodes: int,
        two_sided: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        first = bank.object_pose[bank.stage == 0, 0, :3]
        if two_sided and bool(left_hand_acts(first).any()):
            y = round(float(first[:, 1].max()), 3)
            raise UserError(
                f"task.bank: an object at y = {y} m; allowed: y <= 0, nearer to the right hand, which begins"
            )
        self._shares, self._episodes = later_starts, later_episodes
        sides = [side.to(device) for side in ([bank, mirror_bank(bank, robot)] if two_sided else [bank])]
        self._joints = torch.stack([side.joint_position for side in sides])
        self._targets = torch.stack([side.joint_target for side in sides])
        bank = sides[0]
        self._pose, self._size = bank.object_pose[:, 0], bank.object_size.flatten(1)
        self._stands = tilt_cosine(self._pose[:, 3:]) > STANDING
        self.later = bank.stage > 0
        self._first = (bank.stage == 0).nonzero()[:, 0]
        order = torch.argsort(bank.stage, stable=True)
        self._later = order[self.later[order]]  # stage by stage
        self._counts = torch.unique(bank.stage[self._later], return_counts=True)[1]
        self._offsets = self._counts.cumsum(0) - self._counts
        self._image = torch.tensor([*VECTOR, *QUATERNION], dtype=torch.float64, device=device)

    def choose(self, draws: EpisodeDraws, object_size: Tensor) -> Tensor:
        """States (n,) for some episodes, whose objects' sizes are (n, 3 K) in m."""
        chosen = self._first[draws.index("bank", len(self._first))]
        if len(self._later) == 0 or max(self._shares) == 0:
            return chosen
        early, late = self._shares
        done = (draws.episodes.double() / self._episodes).clamp(max=1.0)
        later = self._draw_later(draws)
        fits = (object_size / self._size[later] - 1).abs().amax(dim=1) < SIZE_TOLERANCE
        wanted = draws.uniform("later", 1)[:, 0] < early + (late - early) * done
        return torch.where(wanted & fits, later, chosen)

    def state(
        self,
        chosen: Tensor,
        rest: Tensor,
        draws: EpisodeDraws,
        jitter: RandomizationSettings,
        mirrored: Tensor | None = None,
    ) -> InitialState:
        """How some episodes start.

        Args:
            chosen: (n,) states of the bank.
            rest: (n,) height of the object's centre when it rests, m.
            draws: of the episodes.
            jitter: by how much poses vary.
            mirrored: (n,) bool which start in the mirror image, None for none.
        """
        pose = self._place_object(chosen, rest, draws, jitter)
        if mirrored is None:
            return InitialState(self._joints[0, chosen], self._targets[0, chosen], pose[:, None])
        pose = torch.where(mirrored[:, None], pose * self._image, pose)
        side = mirrored.long()
        return InitialState(self._joints[side, chosen], self._targets[side, chosen], pose[:, None])

    def mirror_goals(self, goals: Tensor, mirrored: Tensor) -> Tensor:
        """Goals (n, P, 3), in the mirror where `mirrored` (n,) says so."""
        return torch.where(mirrored[:, None, None], goals * self._image[:3], goals)

    def describe(self, robot: RobotSpec) -> dict[str, Any]:
        """How an episode starts at the beginning of the task, as plain data: for whoever runs a policy on a robot.

        The joints are those of one state, the nearest to the middle of all; the object may be anywhere in its range.
        """
        targets, place = self._targets[0, self._first], self._pose[self._first, :3]
        middle = int((targets - targets.mean(dim=0)).square().sum(dim=1).argmin())
        state = self._first[middle]
        return {
            "joint_position": self._joints[0, state, robot.command_index.tolist()].tolist(),
            "joint_target": self._targets[0, state].tolist(),
            "object_position": self._pose[state, :3].tolist(),
            "object_range": [place.amin(dim=0).tolist(), place.amax(dim=0).tolist()],
        }

    def _draw_later(self, draws: EpisodeDraws) -> Tensor:
        """States (n,) of later stages, each stage as often as the others."""
        stage = draws.index("later_stage", len(self._counts))
        count, offset = self._counts[stage], self._offsets[stage]
        place = torch.minimum((draws.uniform("later_bank", 1)[:, 0] * count).long(), count - 1)
        return self._later[offset + place]

    def _place_object(self, chosen: Tensor, rest: Tensor, draws: EpisodeDraws, jitter: RandomizationSettings) -> Tensor:
        """Where the first object starts, (n, 7): as in the bank, resting, shifted and turned.

        An object that a hand holds already, in a state of a later stage, starts where it was recorded.
        """
        recorded = self._pose[chosen]
        place, turn = recorded[:, :2], recorded[:, 3:]
        if jitter.initial_position:
            place = place + draws.uniform("initial_position", 2, -jitter.initial_position, jitter.initial_position)
        if jitter.initial_yaw:
            yaw = draws.uniform("initial_yaw", 1, -jitter.initial_yaw, jitter.initial_yaw)[:, 0]
            turn = turn_about_z(turn, yaw)
        pose = torch.cat([place, rest[:, None], turn], dim=1)
        if len(self._later) == 0:
            return pose
        # A larger one than the recorded does not start inside the table.
        height = torch.where(self._stands[chosen], torch.maximum(recorded[:, 2], rest), recorded[:, 2])
        held = torch.cat([recorded[:, :2], height[:, None], recorded[:, 3:]], dim=1)
        return torch.where(self.later[chosen][:, None], held, pose)


def draw_goal(
    draws: EpisodeDraws,
    rest: Tensor,
    x: tuple[float, float],
    y: tuple[float, float],
    height: tuple[float, float],
) -> Tensor:
    """Goals (n, 3) in m, drawn from ranges [low, high]; heights are above the object's resting height `rest` (n,)."""
    parts = [draws.uniform(f"goal_{i}", 1, *bounds) for i, bounds in enumerate((x, y, height))]
    return torch.cat([*parts[:2], parts[2] + rest[:, None]], dim=1)


def starts_from_shipped(init: str, bank: BankName | None) -> bool:
    """Whether episodes start with the hands of a shipped bank; a file is made for whatever it is."""
    return init != "default" and (bank is None or not is_own(bank))


def check_fit(name: str, size: Sequence[float], largest: Sequence[float], init: str, bank: BankName | None) -> None:
    """Refuse an object that would start inside the hands of a shipped bank; a file is made for whatever it is.

    Args:
        name: of the size, in the error.
        size: (3,) full extents in m.
        largest: (3,) that the bank's hands stay clear of, Table 4's scale included, m.
        init: one of `tasks.banks.INITS`; hands at rest are clear of everything.
        bank: as a task's settings have it.
    """
    if not starts_from_shipped(init, bank):
        return
    limits = [round(extent / LARGEST_SCALE, 4) for extent in largest]
    fits = all(extent <= limit + 1e-6 for extent, limit in zip(size, limits, strict=True))
    made_for = "which the shipped bank was made for; record another from init=default, task.bank=<file>.npz"
    require(fits, name, [round(extent, 4) for extent in size], f"at most {limits}, {made_for}")
