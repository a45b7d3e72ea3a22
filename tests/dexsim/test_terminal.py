"""Whatever becomes of what is printed, a run goes on to its end."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from dexsim.report import terminal
from dexsim.report.progress import ProgressLine
from tests import toy

# What a verb and the libraries below it do with their streams.
CHATTY = '''"""A toy."""
import logging, os, subprocess, sys
from rich.table import Table
from dexsim.report import terminal
from dexsim.report.progress import ProgressLine

def main(config, run):
    line = ProgressLine()
    for i in range(200):
        print("größe", i, "x" * 1000)
        print("größe", i, file=sys.stderr)
        line.show("größe")
        logging.getLogger("toy").warning("größe %d", i)
    sys.stdout.writelines(["a", "b"])
    table = Table("größe", title="[c] :cat:")
    table.add_row("[red]")
    terminal.console().print(table)
    subprocess.run(["echo", "child"])
    with open(run.path / "files.txt", "w") as file:
        file.write(str(file.fileno()))
    run.result("done", 1, "1")
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    toy.write(tmp_path)
    (tmp_path / "toy_verb.py").write_text(CHATTY)
    return tmp_path


def shell(folder: Path, line: str, **variables: str) -> subprocess.CompletedProcess:
    """Run a line of bash in which `toy` is the command line; the last line of its output is its own status."""
    script = f'toy() {{ {shlex.quote(sys.executable)} toy.py toy "$@"; }}\n{line}'
    environ = toy.environment(folder, **variables)
    return subprocess.run(["bash", "-c", script], cwd=folder, env=environ, capture_output=True, timeout=120)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("toy | true; echo ${PIPESTATUS[0]}", 0),
        ("toy | head -1 >&2; echo ${PIPESTATUS[0]}", 0),
        ("toy 2>&1 | true; echo ${PIPESTATUS[0]}", 0),
        ("toy 2> >(true) >/dev/null; echo $?", 0),
        ("toy >/dev/full; echo $?", 1),
        ("toy >/dev/full 2>&1; echo $?", 1),
        ("toy >&-; echo $?", 0),
        ("toy >&- 2>&- <&-; echo $?", 0),
        ("toy -m x=1,2 | true; echo ${PIPESTATUS[0]}", 0),
        ("toy -m x=1,2 hydra/launcher=joblib_laptop 2>&1 | true; echo ${PIPESTATUS[0]}", 0),
    ],
)
def test_a_run_ends_whatever_becomes_of_its_output(folder: Path, line: str, status: int):
    done = shell(folder, line)
    assert done.stdout.splitlines()[-1] == str(status).encode()
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    runs = list(folder.glob("runs/toy/toy/*"))
    assert len(runs) == (2 if "-m" in line else 1)
    for run in runs:
        assert (run / "result.json").is_file()
        assert "größe 199" in (run / "log.txt").read_text(encoding="utf-8")
        assert int((run / "files.txt").read_text()) > 2  # none took the place of a stream that was closed


def test_what_is_lost_is_told_but_for_a_closed_pipe(folder: Path):
    assert shell(folder, "toy --help >/dev/full; echo $?").stdout == b"1\n"
    full = shell(folder, "toy --help >/dev/full").stderr
    assert full == b"error: what was printed is lost: No space left on device\n"
    for line in ("toy --help | true", "toy --help 2>&1 | true", "toy --help >&-"):
        assert shell(folder, line).stderr == b""
    assert shell(folder, "toy --fast 2>&1 | true; echo ${PIPESTATUS[0]}").stdout == b"2\n"


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TERM": "dumb", "COLUMNS": "20", "NO_COLOR": "1"},
    ],
)
def test_a_poor_terminal_gets_what_it_can_show(folder: Path, variables: dict[str, str]):
    done = shell(folder, "toy name=größe", **variables)
    assert done.returncode == 0, done.stderr
    encoding = variables.get("PYTHONIOENCODING", "utf-8" if "TERM" in variables else "ascii")
    out = done.stdout.decode(encoding)
    shown = "gr\\xf6\\xdfe" if encoding == "ascii" else "größe"
    assert f"{shown} 199" in out
    assert out.splitlines()[-1].startswith(f"runs/toy/{shown}/")
    assert "[c]" in out
    assert ":cat:" in out
    assert "[red]" in out
    assert len(list((folder / "runs/toy/größe").iterdir())) == 1
    wrong = shell(folder, "toy größe=1", **variables)
    assert wrong.returncode == 2
    assert wrong.stderr.decode(encoding).startswith(f"error: cannot read '{shown}=1'")


def test_a_program_whose_output_nobody_reads_runs_verbs(folder: Path):
    code = "import toy; from dexsim import cli; cli.run('toy', ['name=größe'])"
    done = shell(folder, f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} | true; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout, b"Traceback" in done.stderr) == (b"0\n", False)
    assert len(list(folder.glob("runs/toy/größe/*/result.json"))) == 1


def test_streams_are_as_they_were_afterwards(monkeypatch: pytest.MonkeyPatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", None)
    with terminal.tolerant():
        print("a")
        ProgressLine().show("b")
        with terminal.tolerant():
            print("c", file=sys.stderr)
            out.close()
            print("d")
            assert not sys.stdout.isatty()
    assert (sys.stdout, sys.stderr) == (out, None)
    ProgressLine().close()


def test_tables_fold_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(os.environ, "COLUMNS", "20")
    table = Table("a", "b", "c")
    table.add_row("[can],[tin]", "größe" * 10, "x" * 30)
    terminal.console().print(table)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 20
