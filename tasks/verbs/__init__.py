"""The verbs of the command line that belong to tasks: train, evaluate, play, export, bench, demo."""
