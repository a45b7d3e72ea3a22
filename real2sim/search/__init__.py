"""Ways to search: each improves a vector of free parameters step by step, on one batch of simulated robots."""

from real2sim.search.base import Search, SearchSettings, make_search

__all__ = ["Search", "SearchSettings", "make_search"]
