"""Entry points are found by group."""

from __future__ import annotations

from importlib import metadata
from types import SimpleNamespace

import pytest

from dexsim.registration import entry_points


def test_the_first_distribution_that_has_a_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [("a", "first:main", "ours"), ("b", "first:main", "theirs")], [("a", "second:main", "ours")]
    found = [SimpleNamespace(entry_points=[metadata.EntryPoint(*point) for point in some]) for some in points]
    monkeypatch.setattr(metadata, "distributions", lambda: found)
    assert {name: point.value for name, point in entry_points("ours").items()} == {"a": "first:main"}
