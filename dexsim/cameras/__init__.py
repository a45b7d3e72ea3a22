"""Cameras as data: where they stand and how they project."""
