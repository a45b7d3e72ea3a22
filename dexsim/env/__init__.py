"""The batched environment: a task on a simulator, with randomization, resets and bookkeeping."""
