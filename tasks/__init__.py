"""What the robot learns: tasks, their rewards and initial states, training and evaluation."""

from __future__ import annotations

from tasks.registry import TRAINING_ONLY, EnvSettings, make_env, make_task, task_class, task_names

__all__ = ["TRAINING_ONLY", "EnvSettings", "make_env", "make_task", "task_class", "task_names"]
