"""What the parsers of all commands share. Only argparse is loaded, so that ``--help`` is instant."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from mil_heatmaps.version import __version__
from mil_heatmaps.words import near


class CommandParser(argparse.ArgumentParser):
    """The parser of one command: it has ``--version``, and suggests the most similar flag for an unknown one.

    Parameters
    ----------
    prog, usage : str
        The command's name, and its shortest useful arguments.
    """

    def __init__(self, prog: str, usage: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            usage=f"{prog} {usage}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--version", action="version", version=f"{prog} {__version__}", help="print the version")

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with code 2."""
        head, _, rest = message.partition("unrecognized arguments: ")
        if rest:
            known = [flag for action in self._actions for flag in action.option_strings]
            meant = near(rest.split()[0].partition("=")[0], known)
            message = f"{head}no flag {rest.split()[0]}" + (f"; did you mean {meant}?" if meant else "")
        self.lacking(message)
        self.exit(2)

    def lacking(self, message: str) -> int:
        """Print the usage and what is missing; return the exit code 2."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: error: {message} (--help shows all flags, with examples)", file=sys.stderr)
        return 2


def count(text: str) -> int:
    """Return a whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def count_or_none(text: str) -> int:
    """Return a whole number of at least 0, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {value}")
    return value


count.__name__ = count_or_none.__name__ = "whole number"  # argparse shows it: "invalid whole number value: 'x'"
