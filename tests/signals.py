"""Programs that signals end, also where the tests run under nohup or in the background."""

import sys
from collections.abc import Sequence

__all__ = ["with_default_signals"]

_PROGRAM = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def with_default_signals(argv: Sequence[str]) -> list[str]:
    """The command line of a program that takes the signals which this process may ignore."""
    return [sys.executable, "-c", _PROGRAM, *argv]
