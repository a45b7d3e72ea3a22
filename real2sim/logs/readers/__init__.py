"""Readers of logs: one for each kind of file, each of which makes a `Recording`."""
