"""What of a robot feels what: one table of its regions, whichever engine simulates.

A part of a scene is a region and a side: table and objects are `ENVIRONMENT`, they and the torso have no side. Engines
that filter by bits get them from `collision_bits`, and leave out the pairs of `neighbours` besides.
"""

from __future__ import annotations

import functools

from dexsim.robots.spec import REGIONS, SIDES, RobotSpec

ENVIRONMENT = "environment"
ANY, OTHER, NEVER = "on any side", "on the other side only", "never"
# Region x region, each pair once. Links of one hand, or of one arm, are joined or out of each other's reach. Upper arms
# and objects do not meet the torso: its shape is the box around it, which at the waist reaches 7 cm beyond the robot.
TOUCHES: dict[str, dict[str, str]] = {
    ENVIRONMENT: {ENVIRONMENT: ANY},
    "torso": {ENVIRONMENT: NEVER, "torso": NEVER},
    "arm": {ENVIRONMENT: ANY, "torso": NEVER, "arm": OTHER},
    "forearm": {ENVIRONMENT: ANY, "torso": ANY, "arm": OTHER, "forearm": OTHER},
    "hand": {ENVIRONMENT: ANY, "torso": ANY, "arm": OTHER, "forearm": ANY, "hand": OTHER},
}
SIDELESS = (ENVIRONMENT, "torso")
# Every (region, side) there is; its place is its bit.
PARTS = (
    *((region, "") for region in SIDELESS),
    *((region, side) for region in REGIONS if region not in SIDELESS for side in SIDES),
)


def may_touch(first: tuple[str, str], second: tuple[str, str]) -> bool:
    """Whether two parts, each (region, side), feel each other where they meet."""
    (region, side), (other, other_side) = first, second
    rule = TOUCHES[region][other] if other in TOUCHES[region] else TOUCHES[other][region]
    return rule == ANY or (rule == OTHER and side != other_side)


@functools.cache
def collision_bits(region: str, side: str) -> tuple[int, int]:
    """Type and affinity of a part: a pair collides where the type of one meets the affinity of the other."""
    part = (region, "" if region in SIDELESS else side)
    affinity = sum(1 << bit for bit, other in enumerate(PARTS) if may_touch(part, other))
    return 1 << PARTS.index(part), affinity


def neighbours(robot: RobotSpec) -> tuple[tuple[str, str], ...]:
    """Pairs of links that touch at rest, whatever their regions: a palm lies two wrist joints from its own forearm.

    Its fingers do not, and links of one joint are left out by every engine.
    """
    return tuple((palm.link, robot.shaped_above(palm.link)) for palm in robot.palms)
