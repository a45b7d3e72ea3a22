"""What may be written on a command line, and what is printed to be pasted into one."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from dexsim import cli
from dexsim.errors import UserError
from dexsim.launch import overrides
from tests import toy

# Names that files and folders of users have.
NAMES = [
    "plain/run-1.2",
    "läufe",
    "runs (1)",
    "x=y/t.parquet",
    "it's",
    'a "b"',
    "a b  c",
    "a#b&c;d|e<f>g!h^i`j",
    "a,b",
    "[a]",
    "[2026] läufe",
    "{a: 1}",
    "$HOME",
    "${a}",
    "größe ${a} (1)",
    "back\\slash",
    "ends in \\",
    "\\'",
    "~",
    "~/x",
    "2026",
    "1e3",
    "007",
    "null",
    "true",
    "f(1)",
    "range(1,3)",
    "100%",
    "*?",
    "日本",
    "",
]


def composed(*given: str) -> list[object]:
    """The value of the toy's key `file`, as a verb would see it."""
    config = cli.compose("toy", given)
    return config["file"]


@pytest.fixture(autouse=True)
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write(tmp_path)
    monkeypatch.setattr("dexsim.paths.cfg_dir", lambda: tmp_path / "cfg")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_any_text_can_be_assigned(name: str):
    assert composed(overrides.assign("file", name)) == name
    assert overrides.read(overrides.assign("file", name)) == overrides.assign("file", name)


@pytest.mark.parametrize("name", NAMES)
def test_a_printed_command_means_the_same_in_a_shell(name: str):
    printed = overrides.command("toy", "--cfg", "job", overrides.assign("file", name), "x=2")
    done = subprocess.run(
        ["sh", "-c", f"dexsim() {{ printf '%s\\0' \"$@\"; }}\n{printed}"], capture_output=True, check=True
    )
    assert done.stdout.decode().split("\0")[:-1] == shlex.split(printed)[1:]
    _, _, _, given, _ = shlex.split(printed)[1:]
    assert composed(given) == name


@pytest.mark.parametrize(
    "name",
    ["läufe", "runs (1)", "x=y/t.parquet", "it's", "a b", "a#b&c;d|e<f>g!h^i`j", "[2026] läufe", "日本", "f(1)"],
)
def test_a_text_that_hydra_cannot_read_is_read_as_it_stands(name: str):
    assert composed(f"file={name}") == name
    assert composed(f"file=[{name},b]") == [name, "b"]
    assert composed(f"file={{a: {name}}}") == {"a": name}


def test_what_hydra_can_read_keeps_its_meaning():
    for text in ("x=3", "x=1,2", "x=[1,2]", "x='a b'", "x=range(1,3)", "x=a\\,b", "+x=${name}", "~x", "x= 3"):
        assert overrides.read(text, sweep=True) == text


def test_a_home_folder_is_found_as_in_a_shell(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/größe")
    assert composed("file=~/x") == "/home/größe/x"
    assert composed("file=[~/x,~]") == ["/home/größe/x", "/home/größe"]
    assert composed("file='~/x'") == "~/x"


def test_an_interpolation_beside_other_characters_is_one():
    assert composed("file=läufe/${name}") == "läufe/toy"


def test_commas_of_a_sweep_stay_commas():
    assert overrides.read("file=läufe/a,läufe (1,2),[ä,b]", True) == 'file="läufe/a","läufe (1,2)",["ä",b]'
    assert overrides.read("file=choice(ä,b)", True) == 'file=choice("ä",b)'
    assert overrides.read("name=1,2", True) == 'name="1","2"'


def test_without_a_sweep_the_quoting_that_works_is_shown():
    with pytest.raises(UserError, match="ä,b's has several values: -m runs once with each, ") as found:
        composed("file=ä,b's")
    (shown,) = shlex.split(str(found.value).partition(" is a list, ")[2].removesuffix(" a text"))
    assert composed(shown) == "ä,b's"
    with pytest.raises(UserError, match=r"range\(1,3\) has several values: -m runs once with each, '.*' is a text"):
        composed("file=range(1,3)")


def test_values_are_told_without_their_quotes():
    assert overrides.value_of('+file="läufe"') == "läufe"
    assert overrides.value_of("x=2") == "2"
    assert overrides.given(["+task.alpha=2", "rl=cpu", "~seed", "name=x", "hydra.verbose=true"]) >= {
        "task",
        "rl",
        "seed",
    }
