"""Ways to search: each improves a vector of free parameters step by step, on one batch of simulated robots."""
