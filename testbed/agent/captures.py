"""Captures of runs: files in a directory of the agent's own, made anew under names that nobody can know before.

A message on the bus says that a run shall be captured, never where to; the agent names the file, and who may read the
directory fetches it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from testbed import pcapng
from testbed.errors import HostError, cannot_write

KEPT = 16
"""How many captures nobody has fetched are kept; the oldest goes first."""

_ON_MEMORY = Path("/run/testbed")
_ON_DISK = Path("/var/lib/testbed")
_FOLDER = "captures"
_SUFFIX = pcapng.SUFFIX
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.pcapng")


def folder(state: Path) -> Path:
    """Name the directory of captures of the agent of a state directory: on a disk, where the state is in memory."""
    return (_ON_DISK if state == _ON_MEMORY else state) / _FOLDER


class Captures:
    """The captures that an agent makes."""

    def __init__(self, state: Path) -> None:
        self._folder = folder(state)

    def make(self, lab: str) -> Path:
        """Make the file of a capture, empty, mode 0600; no link is followed. Raises HostError."""
        try:
            self._folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            facts = self._folder.lstat()
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
                raise HostError(f"{self._folder}: must be a directory of this user with mode 0700")
            self._make_room()
            descriptor, path = tempfile.mkstemp(dir=self._folder, prefix=f"{lab}-", suffix=_SUFFIX)
        except OSError as error:
            raise HostError(f"cannot write {self._folder}: {error.strerror}") from None
        os.close(descriptor)
        return Path(path)

    def _make_room(self) -> None:
        stamped = [(path.lstat().st_mtime_ns, path) for path in self._folder.iterdir() if path.name.endswith(_SUFFIX)]
        for _, path in sorted(stamped)[: max(len(stamped) - KEPT + 1, 0)]:
            path.unlink(missing_ok=True)


def require_writable(target: Path) -> None:
    """Raise HostError or UsageError if a file cannot be written; else it is there, empty if it was not there before."""
    try:
        with target.open("ab"):
            pass
    except OSError as error:
        raise cannot_write(target, error) from None


def fetch(state: Path, name: str, target: Path) -> None:
    """Move a capture of the agent of a state directory to `target`, with the mode of a new file. Raises HostError, UsageError."""
    if _NAME.fullmatch(name) is None:
        raise HostError(f"{name!r} is not the name of a capture")
    source = folder(state) / name
    try:
        shutil.move(source, target)
        mask = os.umask(0)
        os.umask(mask)
        target.chmod(0o666 & ~mask)
    except OSError as error:
        # No part of a file is left that looks like the whole.
        with suppress(OSError):
            if source.exists():
                target.unlink(missing_ok=True)
        problem = cannot_write(target, error)
        raise type(problem)(f"{problem}; the capture is {source}") from None
    with suppress(OSError):
        folder(state).rmdir()


def clear(state: Path) -> None:
    """Remove captures that stand in a state directory itself."""
    if (place := state / _FOLDER).is_dir() and not place.is_symlink():
        for path in place.glob(f"*{_SUFFIX}"):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            place.rmdir()
