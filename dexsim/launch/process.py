"""What a process of the command line is set right in first: where it finds modules, its encoding, its streams.

It imports next to nothing: a module that comes before may be taken from the wrong place.
"""

import os
import re
import sys

_HOME = os.path.dirname(os.path.dirname(os.path.realpath(os.path.dirname(__file__))))


def set_up() -> None:
    """Sets this process right, which may start it anew: not for one that runs a program of the user's."""
    open_streams()
    use_utf8()
    current_folder_last()


def is_command_line() -> bool:
    """Returns whether this process runs `dexsim` or `python -m dexsim`, not a program that imports it."""
    # Python has not yet put the file in the place of "-m" while it imports the package.
    if sys.argv[:1] == ["-m"]:
        return re.search(r"(^|\0)-\w*m\0?dexsim(\0|$)", "\0".join(sys.orig_argv)) is not None
    return os.path.basename(sys.argv[0] if sys.argv else "") == "dexsim"


def current_folder_last() -> None:
    """Searches modules in the current folder last: `tasks`, `wandb` and others there hide no package of that name.

    `python -m` and a `PYTHONPATH` with an empty part have it before everything else. Nothing changes in a checkout,
    where this package itself is found there.
    """
    here = os.getcwd()
    others = [entry for entry in sys.path if os.path.abspath(entry) != here]
    if len(others) < len(sys.path) and here != _HOME:
        sys.path[:] = [*others, here]


def use_utf8() -> None:
    """Starts the process anew in Python's UTF-8 mode where files would be read and named in ASCII.

    Neither could PyTorch be imported there, nor a folder be named `läufe`. In the C locale Python does so itself,
    unless it is told not to. What is printed stays in ASCII.
    """
    if sys.getfilesystemencoding() != "ascii" or os.environ.get("PYTHONUTF8") == "1" or not sys.executable:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ.setdefault("PYTHONIOENCODING", "ascii:backslashreplace")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def open_streams() -> None:
    """Opens standard streams that the process was started without: the next file would take the place of one."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(nowhere, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
