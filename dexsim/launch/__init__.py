"""How a verb runs: its config is composed, then it runs once, or Hydra runs it as a sweep of many jobs."""
