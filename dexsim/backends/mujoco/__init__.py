"""The CPU backend: scenes compiled for MuJoCo and stepped by its batch engine."""
