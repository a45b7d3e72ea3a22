"""How episodes start from a bank: which states, where the object is put, on which side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dexsim.backends import InitialState
from dexsim.control.symmetry import QUATERNION, VECTOR
from dexsim.env.draws import EpisodeDraws
from dexsim.env.randomization import RandomizationSettings
from dexsim.errors import require
from dexsim.robots import RobotSpec
from dexsim.rotations import quat_from_yaw, quat_multiply, tilt_cosine
from tasks.banks import Bank, mirror_bank

# What Table 4 scales an object by at most; what hands of a shipped bank stay clear of includes it.
LARGEST_SCALE = 1.05
# An object that differs by more from the recorded one, as a ratio, is not put into a hand; Table 4 scales by 5%.
SIZE_TOLERANCE = 0.06
STANDING = 0.98  # cosine of the tilt of an object that stands, at least


class StartStates:
    """Which states of a bank episodes start from: the first stage's, and while a policy is trained some later ones.

    Args:
        bank: the bank.
        later_starts: share of episodes that start from later stages, where the state drawn fits the object: in an
            environment's first episode, and after `later_episodes`; in between it changes in proportion.
        later_episodes: how many episodes of an environment it takes to come from the first share to the second.
    """

    def __init__(self, bank: Bank, later_starts: tuple[float, float], later_episodes: int) -> None:
        self._bank, self._shares, self._episodes = bank, later_starts, later_episodes
        self._first = (bank.stage == 0).nonzero()[:, 0]
        order = torch.argsort(bank.stage, stable=True)
        self._later = order[bank.stage[order] > 0]  # stage by stage
        self._counts = torch.unique(bank.stage[self._later], return_counts=True)[1]
        self._offsets = self._counts.cumsum(0) - self._counts

    def choose(self, draws: EpisodeDraws, object_size: Tensor) -> Tensor:
        """States (n,) for some episodes, whose objects' sizes are (n, 3 K) in m."""
        chosen = self._first[draws.index("bank", len(self._first))]
        if len(self._later) == 0:
            return chosen
        early, late = self._shares
        done = (draws.episodes.double() / self._episodes).clamp(max=1.0)
        later = self._draw_later(draws)
        recorded = self._bank.object_size[later].flatten(1)
        fits = (object_size / recorded - 1).abs().amax(dim=1) < SIZE_TOLERANCE
        wanted = draws.uniform("later", 1)[:, 0] < early + (late - early) * done
        return torch.where(wanted & fits, later, chosen)

    def _draw_later(self, draws: EpisodeDraws) -> Tensor:
        """States (n,) of later stages, each stage as often as the others."""
        stage = draws.index("later_stage", len(self._counts))
        count, offset = self._counts[stage], self._offsets[stage]
        place = torch.minimum((draws.uniform("later_bank", 1)[:, 0] * count).long(), count - 1)
        return self._later[offset + place]


def check_fit(name: str, size: Sequence[float], largest: Sequence[float], init: str, bank: str | None) -> None:
    """Refuse an object that would start inside the hands of a shipped bank; a file is made for whatever it is.

    Args:
        name: of the size, in the error.
        size: (3,) full extents in m.
        largest: (3,) that the bank's hands stay clear of, Table 4's scale included, m.
        init: one of `INITS`; hands at rest are clear of everything.
        bank: as a task's settings have it.
    """
    if init == "default" or (bank and bank.endswith(".npz")):
        return
    limits = [round(extent / LARGEST_SCALE, 4) for extent in largest]
    fits = all(extent <= limit + 1e-6 for extent, limit in zip(size, limits, strict=True))
    made_for = "which the shipped bank was made for; record another from init=default, task.bank=<file>.npz"
    require(fits, name, [round(extent, 4) for extent in size], f"at most {limits}, {made_for}")


def check_starts(later_starts: tuple[float, float], later_episodes: int) -> None:
    """Refuse shares and numbers of episodes that `StartStates` cannot take."""
    inside = all(0 <= share <= 1 for share in later_starts)
    require(inside, "later_starts", list(later_starts), "two shares from 0 to 1")
    require(later_episodes >= 1, "later_episodes", later_episodes, "at least 1")


def place_object(
    bank: Bank, chosen: Tensor, rest: Tensor, draws: EpisodeDraws, jitter: RandomizationSettings
) -> Tensor:
    """Where the first object of some episodes starts, (n, 7): as in the bank, resting, shifted and turned.

    An object that a hand holds already, in a state of a later stage, starts where it was recorded.

    Args:
        bank: the bank.
        chosen: (n,) its states.
        rest: (n,) height of the object's centre when it rests, m.
        draws: of the episodes.
        jitter: by how much poses vary.
    """
    recorded = bank.object_pose[chosen, 0]
    shift = draws.uniform("initial_position", 2, -jitter.initial_position, jitter.initial_position)
    turn = quat_from_yaw(draws.uniform("initial_yaw", 1, -jitter.initial_yaw, jitter.initial_yaw)[:, 0])
    turned = quat_multiply(turn, recorded[:, 3:])
    pose = torch.cat([recorded[:, :2] + shift, rest[:, None], turned], dim=1)
    # A larger one than the recorded does not start inside the table.
    standing = tilt_cosine(recorded[:, 3:]) > STANDING
    height = torch.where(standing, torch.maximum(recorded[:, 2], rest), recorded[:, 2])
    recorded = torch.cat([recorded[:, :2], height[:, None], recorded[:, 3:]], dim=1)
    return torch.where((bank.stage[chosen] == 0)[:, None], pose, recorded)


class TwoSidedBank:
    """A bank and its mirror image, for a task that either hand may play (`Task.two_sided`).

    Args:
        bank: as the right hand plays it.
        robot: whose joints they are.
    """

    def __init__(self, bank: Bank, robot: RobotSpec) -> None:
        self._right, image = bank, mirror_bank(bank, robot)
        self._position = torch.stack([bank.joint_position, image.joint_position])
        self._target = torch.stack([bank.joint_target, image.joint_target])

    def state(
        self, chosen: Tensor, mirrored: Tensor, rest: Tensor, draws: EpisodeDraws, jitter: RandomizationSettings
    ) -> InitialState:
        """How some episodes start: states `chosen` (n,) of the bank, in the mirror where `mirrored` (n,) says so.

        The other arguments are those of `place_object`.
        """
        pose = place_object(self._right, chosen, rest, draws, jitter)
        image = pose * torch.tensor([*VECTOR, *QUATERNION], dtype=torch.float64)
        pose = torch.where(mirrored[:, None], image, pose)
        side = mirrored.long()
        return InitialState(self._position[side, chosen], self._target[side, chosen], pose[:, None])


def mirrored_goals(goals: Tensor, mirrored: Tensor) -> Tensor:
    """Goals (n, P, 3), in the mirror where `mirrored` (n,) says so."""
    return torch.where(mirrored[:, None, None], goals * torch.tensor(VECTOR, dtype=torch.float64), goals)
