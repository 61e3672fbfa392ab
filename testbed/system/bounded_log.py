"""Logs within bounds: a file that has grown to its limit is kept as `FILE.1`, in place of the one before, and begun anew.

Run as a program, with the path of a log, it writes there what comes on its standard input.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

LIMIT_BYTES = 1 << 20
OLDER = ".1"
_CHUNK_BYTES = 1 << 16
_MODE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW


def open_log(path: Path) -> int:
    """Open a log for appending, mode 0600; return its descriptor. Raises OSError."""
    return os.open(path, _MODE, 0o600)


def rotate(path: Path, *descriptors: int, limit_bytes: int = LIMIT_BYTES) -> None:
    """Begin a log anew if it has reached its limit: `descriptors`, by which it is written, are those of the new file then.

    Nothing is done where the first of them is not the file at `path`, or where the system refuses.
    """
    with suppress(OSError):
        facts = os.fstat(descriptors[0])
        if facts.st_size < limit_bytes or not os.path.samestat(facts, path.lstat()):
            return
        path.replace(path.with_name(path.name + OLDER))
        new = open_log(path)
        for descriptor in descriptors:
            os.dup2(new, descriptor)
        os.close(new)


class Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Write to standard error; where that is the log at `path`, keep it within bounds, and what else is written there."""

    def __init__(self, path: Path) -> None:
        super().__init__(sys.stderr)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        super().emit(record)
        rotate(self._path, sys.stderr.fileno(), sys.stdout.fileno())


def keep(path: Path, source: int = 0) -> None:
    """Write into a log what comes from a descriptor, to its end."""
    log = open_log(path)
    while chunk := os.read(source, _CHUNK_BYTES):
        # What finds no room is lost: who writes must not be held up.
        with suppress(OSError):
            os.write(log, chunk)
        rotate(path, log)
    os.close(log)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
