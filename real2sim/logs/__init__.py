"""Logs of a robot: reading, checking and importing them."""
