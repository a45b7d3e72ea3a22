"""Ways to search: each improves a vector of free parameters step by step, on one batch of simulated robots."""

from real2sim.search.base import Search, SearchSettings, batch_size, make_search

__all__ = ["Search", "SearchSettings", "batch_size", "make_search"]
