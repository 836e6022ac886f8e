"""What a command is busy with is told where someone watches, and nowhere else."""

import io
import sys
import time

import pytest

from memline.cli.progress import busy


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


CASES = [(Terminal, False, True), (Terminal, True, False), (io.StringIO, False, False)]


@pytest.mark.parametrize(("stream", "quiet", "tells"), CASES)
def test_it_tells_a_terminal_only(monkeypatch, stream, quiet, tells):
    err = stream()
    monkeypatch.setattr(sys, "stderr", err)
    with busy("planning", quiet=quiet):
        time.sleep(0.6 if tells else 0)
    assert ("planning ... " in err.getvalue()) == tells
    assert err.getvalue().endswith("\r\033[K" if tells else "")
