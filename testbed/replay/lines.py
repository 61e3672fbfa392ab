"""Files of traces, read within bounds: text line by line, however long the file, and bytes as a whole."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from testbed.errors import ExperimentError
from testbed.importers.draft import Left, Remainder
from testbed.replay.form import MAX_OPS, Trace

MAX_LINE_BYTES = 2**16
MAX_BINARY_BYTES = 2**28
GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Reading:
    """A trace with what was taken from its file, what was left out, and notes for the user."""

    trace: Trace
    took: tuple[str, ...]
    left: tuple[Left, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Lines:
    """The lines of a file that may be long. Faults are raised as ExperimentError, with the file and the line."""

    path: Path
    remainder: Remainder = field(default_factory=Remainder)
    ops: int = 0

    @property
    def file(self) -> str:
        """The name of the file in messages."""
        return str(self.path)

    def fail(self, line: int, message: str) -> NoReturn:
        """Raise ExperimentError at a line; line 0 is the file as a whole."""
        raise ExperimentError.at(self.file, "", message, line)

    def leave(self, what: str, line: int) -> None:
        """Note something of the file that is left out."""
        self.remainder.add(what, self.file, line)

    def count(self, line: int) -> None:
        """Count an op; refuse a file that has too many for the memory of a machine."""
        self.ops += 1
        if self.ops > MAX_OPS:
            self.fail(line, f"more than {MAX_OPS} ops; replay a part of the trace")

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield each line with its number from 1, without its end and blanks around it."""
        try:
            with self.path.open("rb") as stream:
                number = 0
                while raw := stream.readline(MAX_LINE_BYTES + 1):
                    number += 1
                    if len(raw) > MAX_LINE_BYTES:
                        self.fail(number, f"longer than {MAX_LINE_BYTES} bytes")
                    if number == 1 and raw.startswith(_BOM):
                        raw = raw[len(_BOM) :]
                    try:
                        yield number, raw.decode().strip()
                    except UnicodeDecodeError:
                        self.fail(number, "not UTF-8 text")
        except OSError as problem:
            raise unreadable(self.path, problem) from None


def unreadable(path: Path, problem: OSError) -> ExperimentError:
    """Return the error of a file that cannot be read."""
    return ExperimentError.at(str(path), "", problem.strerror or str(problem))  # type: ignore[return-value]


def head_of(path: Path, length: int = 4096) -> bytes:
    """Return how a file begins."""
    try:
        with path.open("rb") as stream:
            return stream.read(length)
    except OSError as problem:
        raise unreadable(path, problem) from None


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield the path of a file, or of what a compressed one holds: at most MAX_BINARY_BYTES. Raises ExperimentError."""
    if head_of(path, len(GZIP)) != GZIP:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="testbed-") as plain:
        plain.write(whole_bytes(path))
        plain.flush()
        yield Path(plain.name)


def whole_bytes(path: Path) -> bytes:
    """Return what a file holds, unpacked if it is compressed; at most MAX_BINARY_BYTES. Raises ExperimentError."""
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == GZIP
            stream.seek(0)
            raw = (
                gzip.GzipFile(fileobj=stream).read(MAX_BINARY_BYTES + 1)
                if packed
                else stream.read(MAX_BINARY_BYTES + 1)
            )
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise ExperimentError.at(str(path), "", f"not a gzip file: {problem}") from None
    except OSError as problem:
        raise unreadable(path, problem) from None
    if len(raw) > MAX_BINARY_BYTES:
        raise ExperimentError.at(str(path), "", f"larger than {MAX_BINARY_BYTES} bytes")
    return raw
