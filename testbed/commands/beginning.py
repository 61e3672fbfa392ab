"""The part of a command that may be cut off anywhere: what it is made of is imported, and files are read."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130


def _end(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted before anything was begun\n")
    os._exit(INTERRUPTED)


@contextmanager
def nothing_begun() -> Iterator[None]:
    """Have an interrupt end this process at once, with a word.

    As an exception it could get lost: what imports call on their way, such as the ends of weak references, ignores exceptions.
    """
    before = signal.getsignal(signal.SIGINT)
    if (
        before is not signal.default_int_handler
    ):  # ignored, as in the background of a shell's script, or somebody else's
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
