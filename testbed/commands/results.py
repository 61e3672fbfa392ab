"""Directories for results, each taken by one command at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from testbed.errors import UsageError, cannot_write

_PARENT = Path("results")
_ROOM_BYTES = 64 * 1024  # what the result of a small run takes


@contextmanager
def result_directory(chosen: Path | None, name: str) -> Iterator[Path]:
    """Make and hold a directory for results: the `chosen` one, else a new one, ./results/<name>-<UTC time>[-n].

    One that was made here goes again if nothing was written into it. Raises UsageError if another command holds it, or what
    `errors.cannot_write` makes of a failure.
    """
    made: list[Path] = []
    try:
        directory = _new(name, made) if chosen is None else _existing(chosen, made)
        # Held by a lock on itself, which leaves nothing behind and ends with this process, whatever ends that.
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise cannot_write(chosen or _PARENT, error) from None
    try:
        _hold(descriptor, directory)
        _require_room(directory)
        yield directory
    finally:
        os.close(descriptor)
        with suppress(OSError):
            for each in reversed(made):
                each.rmdir()


def _new(name: str, made: list[Path]) -> Path:
    """Make a directory of a name that nobody has; that it was there already is told by making it, not by looking."""
    _existing(_PARENT, made)
    base = _PARENT / f"{name}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"
    candidate, number = base, 1
    while True:
        try:
            candidate.mkdir()
        except FileExistsError:
            number += 1
            candidate = base.with_name(f"{base.name}-{number}")
        else:
            made.append(candidate)
            return candidate


def _existing(directory: Path, made: list[Path]) -> Path:
    """Make a directory, and those above it, if it is not there; append what was made."""
    if not directory.is_dir():
        _existing(directory.parent, made)
        with suppress(FileExistsError):
            directory.mkdir()
            made.append(directory)
    return directory


def _require_room(directory: Path) -> None:
    """Raise what `errors.cannot_write` makes of it if a result cannot be written here; before the run, not after it."""
    try:
        with tempfile.TemporaryFile(dir=directory) as trial:
            trial.write(bytes(_ROOM_BYTES))
            trial.flush()
    except OSError as error:
        raise cannot_write(directory, error) from None


def _hold(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{directory}: another command is writing its result there; name another place") from None
    except OSError:
        pass  # a file system that locks no directories, as NFS does
