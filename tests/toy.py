"""A verb of a few lines with configs of its own, for tests that run the command line in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOY = '''"""A toy."""
import logging, os, signal, sys, time
from dexsim import cli
from dexsim.errors import UserError

def check(config, overrides):
    if config["x"] == "mistaken":
        raise UserError(f"x = {config['x']!r}: expected float")

def main(config, run):
    x = config["x"]
    if x == "wrong":
        raise UserError(f"x = {x!r}: expected float")
    logging.getLogger("toy").info("x is %s", x)
    if x == 13:
        raise RuntimeError("bad luck")
    if x == 99:
        time.sleep(600)
    if x == 66:
        os.kill(os.getpid(), signal.SIGKILL)
    if x == 77:
        sys.exit("no more")
    if x == 50:
        cli.run("toy", ["x=5", f"runs_dir={run.path}"])
    run.result("cost", (x - 5.2) ** 2, "1")
    run.result("twice", 2 * x, "1")
'''
FILES = {
    "cfg/toy.yaml": "defaults: [shape: round, _self_]\nname: toy\nruns_dir: runs\nobjective: cost\nx: 1\nfile:\n",
    "cfg/shape/round.yaml": "sides: 0\n",
    "cfg/shape/square.yaml": "sides: 4\n",
    "toy_verb.py": TOY,
    "toy-0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy\nVersion: 0.1\n",
    "toy-0.1.dist-info/entry_points.txt": "[dexsim.verbs]\ntoy = toy_verb:main\n",
    "toy.py": (
        "import sys\nfrom pathlib import Path\nfrom dexsim import cli, paths\n"
        "paths.cfg_dir = lambda: Path(__file__).parent / 'cfg'\n"
        "if __name__ == '__main__':\n    sys.exit(cli.main())\n"
    ),
    # A sweeper, as a package brings one: it halves an interval towards the smaller of two objectives.
    "hydra_plugins/halving.py": (
        "from hydra.core.plugins import Plugins\nfrom hydra.plugins.sweeper import Sweeper\n"
        "class HalvingSweeper(Sweeper):\n"
        "    def __init__(self, low, high):\n        self.ends = [low, high]\n"
        "    def setup(self, *, hydra_context, task_function, config):\n"
        "        self.launcher = Plugins.instance().instantiate_launcher(\n"
        "            hydra_context=hydra_context, task_function=task_function, config=config)\n"
        "    def sweep(self, arguments):\n"
        "        for step in range(3):\n"
        "            jobs = [[*arguments, f'x={end}'] for end in self.ends]\n"
        "            done = self.launcher.launch(jobs, initial_job_idx=2 * step)\n"
        "            worse = max((0, 1), key=lambda i: done[i].return_value)\n"
        "            self.ends[worse] = sum(self.ends) / 2\n"
    ),
    "cfg/hydra/sweeper/halving.yaml": "_target_: hydra_plugins.halving.HalvingSweeper\nlow: 4.0\nhigh: 8.0\n",
}


def write(folder: Path) -> None:
    """Write the toy's files into a folder: `python toy.py toy x=2` there runs it."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "cfg/hydra/launcher").symlink_to(ROOT / "cfg/hydra/launcher")


def environment(*paths: Path, **variables: str) -> dict[str, str]:
    """The environment of a process that finds modules in these folders too."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *paths))), **variables}


def run(folder: Path, *arguments: str, script: str = "toy.py", **options: Any) -> subprocess.CompletedProcess:
    """Run the command line of a folder with the toy's files."""
    command = [sys.executable, script, *arguments]
    environ = environment(folder, **options.pop("variables", {}))
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300, **options)
