"""Specialists in, one generalist diffusion policy out."""
