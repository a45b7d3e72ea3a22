"""What holds for every test process, and for those that tests start."""

import os

# The workers of pytest-xdist share the cores: a process that computes with a thread on each core slows the others down.
# Set before torch is imported, which reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
