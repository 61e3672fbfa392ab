"""One tree of errors, each with the exit code that it ends a command with.

| class | who is to blame | exit code |
|---|---|---|
| `UsageError`, `TopologyError`, `ExperimentError` | whoever wrote the input | 2 |
| `DriverError`, `HostError` | the machine that the lab runs on | 3 |
| `InvariantViolation` | the testbed itself, or the network under test | 1 |
"""

from __future__ import annotations

import difflib
import errno as errno_names
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


class TestbedError(Exception):
    """Anything that the testbed reports to its user without a traceback."""

    # The name starts with "Test": without this pytest would try to collect it wherever it is imported.
    __test__: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class UsageError(TestbedError):
    """A command line, parameter or value that cannot be meant."""

    exit_code = 2


class UnitError(UsageError, ValueError):
    """A quantity that cannot be read; a ValueError too, so that models may raise it while they validate."""


@dataclass(frozen=True, order=True)
class Fault:
    """One thing wrong with an input file. `line` counts from 1; 0 means that the input has no lines."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class InputError(UsageError):
    """Every fault found in one input, in the order of its lines."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        if not self.faults:
            raise ValueError("an InputError needs at least one fault")
        super().__init__("\n".join(str(fault) for fault in self.faults))

    @classmethod
    def at(cls, file: str, key: str, message: str, line: int = 0) -> InputError:
        """Make an error of this class from a single fault."""
        return cls([Fault(file, line, key, message)])


class TopologyError(InputError):
    """A lab that cannot be built as described."""


class ExperimentError(InputError):
    """An experiment that cannot be run as described."""


class DriverError(TestbedError):
    """An operation on the system that failed. `errno` is 0 when the system gave none."""

    exit_code = 3

    def __init__(self, operation: str, errno: int = 0, detail: str = "") -> None:
        self.operation = operation
        self.errno = errno
        self.detail = detail
        reason = f"{os.strerror(errno)} ({errno_names.errorcode.get(errno, errno)})" if errno else ""
        super().__init__(": ".join(part for part in (operation, reason, detail) if part))


class HostError(TestbedError):
    """Something that this machine lacks: privileges, a kernel feature, a program."""

    exit_code = 3


# What keeps a sound path from being written: the machine's state, not the path.
_OF_THE_MACHINE = {
    errno_names.ENOSPC,
    errno_names.EDQUOT,
    errno_names.EACCES,
    errno_names.EPERM,
    errno_names.EROFS,
    errno_names.EIO,
    errno_names.EMFILE,
    errno_names.ENFILE,
}


def machine_fault(error: BaseException) -> str | None:
    """Return in one line what the machine lacks, if that is what an error says; None of any other."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if not isinstance(error, OSError) or error.errno not in _OF_THE_MACHINE:
        return None
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def cannot_write(path: object, error: OSError) -> UsageError | HostError:
    """Return the error that says why a file cannot be written: HostError for a full disk or a missing permission."""
    message = f"cannot write {path}: {error.strerror or error}"
    return HostError(message) if error.errno in _OF_THE_MACHINE else UsageError(message)


class InvariantViolation(TestbedError):
    """A law of the fabric that did not hold, with all that is needed to see it again."""

    exit_code = 1

    def __init__(self, event: str, time_ps: int, seed: int, replay: str) -> None:
        self.event = event
        self.time_ps = time_ps
        self.seed = seed
        self.replay = replay
        super().__init__(f"{event} at {time_ps} ps (seed {seed}); to see it again: {replay}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the known word most like `word`, or the choices if none is near."""
    choices = sorted(set(known))
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known: {', '.join(choices)}" if choices else ""
