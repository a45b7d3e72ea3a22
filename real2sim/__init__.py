"""Logged trajectories of the real robot in, simulator parameters out."""
