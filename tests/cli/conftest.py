"""What the tests of commands share."""

import sys

import pytest

from mien.cli import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command in this process; returns its exit code, standard output and standard error."""

    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["mien", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return stopped.value.code, out, err

    return go
