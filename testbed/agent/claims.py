"""Who drives which lab: a lock for each lab in the system, held by the process that has its data plane.

Labs are the machine's, whatever state directory or broker an agent has; so are these locks, which end with whoever holds
them. The file of a lock says the name of the agent, and goes with its claim.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.bus.messages import is_name
from testbed.errors import DriverError, HostError
from testbed.system import locks

DIRECTORY = Path("/run/testbed-labs")
_NAME_BYTES = 64


class Claims:
    """The labs that this process drives. `name` is what others are told: that of an agent, or a command."""

    def __init__(self, name: str, directory: Path = DIRECTORY) -> None:
        self._name = name
        self._directory = directory
        self._held: dict[str, int] = {}
        self._guard = threading.Lock()

    def take(self, lab: str) -> None:
        """Claim a lab; one that is claimed already stays so. Raises HostError naming the owner if there is another."""
        with self._guard:
            if lab in self._held:
                return
            descriptor = locks.take(self._path(lab))
            if descriptor is None:
                raise HostError(
                    f"lab {lab} is driven by {self._owner(lab)}; send the request to that one, or end it first"
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, self._name.encode()[:_NAME_BYTES], 0)
            self._held[lab] = descriptor

    def release(self, lab: str) -> None:
        """Give a lab up, if it is claimed here."""
        with self._guard:
            descriptor = self._held.pop(lab, None)
            if descriptor is None:
                return
            # Removed while it is locked: whoever waits for it makes another.
            self._path(lab).unlink(missing_ok=True)
            os.close(descriptor)
            with suppress(OSError):
                self._directory.rmdir()

    def owner(self, lab: str) -> str | None:
        """Name the other process that drives a lab; None if this one does, or nobody."""
        with self._guard:
            return None if lab in self._held else self._owner(lab)

    @contextmanager
    def held(self, lab: str) -> Iterator[None]:
        """Claim a lab for a while, if that was not done already. Raises HostError naming another owner."""
        before = lab in self._held
        self.take(lab)
        try:
            yield
        finally:
            if not before:
                self.release(lab)

    def close(self) -> None:
        """Give all labs up."""
        for lab in list(self._held):
            self.release(lab)

    def _owner(self, lab: str) -> str | None:
        try:
            descriptor = os.open(self._path(lab), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DriverError(f"open {self._path(lab)}", error.errno or 0) from error
        try:
            if locks.is_free(descriptor):
                return None
            name = os.pread(descriptor, _NAME_BYTES, 0).decode(errors="replace")
            return f"{name}, {locks.holder(descriptor)}"
        finally:
            os.close(descriptor)

    def _path(self, lab: str) -> Path:
        if not is_name(lab):
            raise HostError(f"{lab!r} is not the name of a lab")
        return self._directory / f"{lab}.lock"


class NoClaims(Claims):
    """Claims where nobody else can have labs: each is granted, and nothing is written."""

    def __init__(self) -> None:
        super().__init__("")

    def take(self, lab: str) -> None:
        """Do nothing."""

    def release(self, lab: str) -> None:
        """Do nothing."""

    def owner(self, lab: str) -> str | None:
        """Return None: there is no other."""
        return None
