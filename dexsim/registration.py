"""Makes the environments of the packages above this one known to gymnasium, without importing them."""

from __future__ import annotations

from importlib import metadata

_GROUP = "dexsim.gymnasium"
_NAMESPACE = "dexsim"


def register_environments() -> None:
    """Register what the entry points of the group `dexsim.gymnasium` name; nothing where gymnasium is not installed.

    An entry point "BoxLift-v0 = tasks.gym:box_lift" becomes "dexsim/BoxLift-v0". What it names builds a single
    environment, or, given `num_envs`, that many at once; it is imported when the first one is made.
    """
    # Not `metadata.entry_points(group=...)`: Python 3.8 and 3.9 do not select by group.
    found = [point for distribution in metadata.distributions() for point in distribution.entry_points]
    points = {point.name: point.value for point in reversed(found) if point.group == _GROUP}
    if not points:
        return
    try:
        import gymnasium
    except ImportError:
        return
    for name, value in points.items():
        if f"{_NAMESPACE}/{name}" not in gymnasium.registry:
            gymnasium.register(f"{_NAMESPACE}/{name}", entry_point=value, vector_entry_point=value)
