"""Reinforcement learning: rl-games' PPO over a `dexsim` environment, its checkpoints, players and exports."""
