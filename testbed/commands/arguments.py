"""Bounds on the arguments of the command line, checked before any of them is understood."""

from __future__ import annotations

import re
from collections.abc import Sequence

from testbed.errors import UsageError
from testbed.units import MAX_DIGITS

# Linux itself takes no longer one (MAX_ARG_STRLEN); nothing of ours needs a tenth of that.
MAX_CHARS = 16 * 1024
_LONG_NUMBER = re.compile(
    rf"\d{{{MAX_DIGITS + 1}}}|0[xX][0-9a-fA-F_]{{{MAX_DIGITS + 1}}}|0[oO][0-7_]{{{MAX_DIGITS + 1}}}"
)
# What follows belongs to a program in a node, which may take anything.
_EXEC = "exec"


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise UsageError for an argument that is too long, is not text, or holds a number with more digits than are read."""
    for number, argument in enumerate(arguments, start=1):
        if argument == _EXEC:
            return
        shown = f"argument {number}, {argument[:24]!a}{'…' if len(argument) > 24 else ''}"
        if len(argument) > MAX_CHARS:
            raise UsageError(f"{shown}: longer than {MAX_CHARS} characters; put it into a file")
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{shown}: not text in UTF-8") from None
        if _LONG_NUMBER.search(argument):
            raise UsageError(f"{shown}: a number of more than {MAX_DIGITS} digits")
