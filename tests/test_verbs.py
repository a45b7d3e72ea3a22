"""Every installed verb has help and a config, and refuses a key that it does not know."""

from __future__ import annotations

import pytest

from dexsim import cli

VERBS = sorted(cli.verbs())


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: dexsim {verb} ")


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_key_is_named(verb: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main([verb, "no_such_key=12"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown key 'no_such_key' = 12; allowed: ")
