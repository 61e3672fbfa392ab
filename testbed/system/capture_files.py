"""Files that a capture goes into: one, or a ring of some that follow each other; each ends with a whole block."""

from __future__ import annotations

import itertools
import os
import stat
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from testbed.system import output


class Blocks:
    """A file that ends with a whole block, however little room there is for the next."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, blocks: Sequence[bytes]) -> None:
        """Write blocks, all of each or nothing. Raises OSError, ReaderGone for a closed pipe."""
        data, done = memoryview(b"".join(blocks)), 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except BrokenPipeError:
            raise output.ReaderGone from None
        except OSError:
            facts = os.fstat(self._descriptor)
            if stat.S_ISREG(facts.st_mode):
                ends = [0, *itertools.accumulate(map(len, blocks))]
                os.ftruncate(self._descriptor, facts.st_size - (done - max(end for end in ends if end <= done)))
            raise


@dataclass(frozen=True)
class Bounds:
    """When a file of a ring is full, and how many of them are kept; None is without a bound."""

    bytes: int | None = None
    frames: int | None = None
    files: int | None = None

    def is_full(self, length: int, frames: int, more: int) -> bool:
        """Whether a block of `more` bytes goes into the next file. One that holds nothing yet takes any."""
        if frames == 0:
            return False
        return (self.bytes is not None and length + more > self.bytes) or frames == self.frames


class Ring:
    """Files `name_00001.pcapng`, `name_00002.pcapng`, …, each with its own head; of them the newest are kept."""

    def __init__(self, path: Path, bounds: Bounds, open_file: Callable[[Path], BinaryIO]) -> None:
        self._path = path
        self._bounds = bounds
        self._open_file = open_file
        self._head: Sequence[bytes] = ()
        self._file: BinaryIO | None = None
        self._length = self._frames = self.made = 0
        self.kept: deque[Path] = deque()

    def begin(self, head: Sequence[bytes]) -> None:
        """Begin the first file; every file begins with these blocks. Raises OSError."""
        self._head = head
        self._next()

    def write(self, blocks: Sequence[bytes]) -> None:
        """Write blocks of a frame each. Raises OSError; the files are whole all the same."""
        batch: list[bytes] = []
        for block in blocks:
            if self._bounds.is_full(self._length, self._frames, len(block)):
                self._flush(batch)
                self._next()
                batch = []
            batch.append(block)
            self._length += len(block)
            self._frames += 1
        self._flush(batch)

    def _flush(self, batch: Sequence[bytes]) -> None:
        if batch and self._file is not None:
            Blocks(self._file.fileno()).write(batch)

    def _next(self) -> None:
        self.close()
        if len(self.kept) == self._bounds.files:
            with suppress(FileNotFoundError):
                self.kept.popleft().unlink()
        self.made += 1
        path = numbered(self._path, self.made)
        self._file = self._open_file(path)
        self.kept.append(path)
        self._length, self._frames = sum(map(len, self._head)), 0
        Blocks(self._file.fileno()).write(self._head)

    def close(self) -> None:
        """Close the last file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Single:
    """The one file, or pipe, of a capture without a ring."""

    def __init__(self, out: BinaryIO) -> None:
        self._blocks = Blocks(out.fileno())

    def begin(self, head: Sequence[bytes]) -> None:
        """Write what the file begins with."""
        self._blocks.write(head)

    def write(self, blocks: Sequence[bytes]) -> None:
        """Write blocks of a frame each."""
        self._blocks.write(blocks)


def numbered(path: Path, number: int) -> Path:
    """Return the name of a file of a ring."""
    return path.with_name(f"{path.stem}_{number:05}{path.suffix}")


def existing(path: Path) -> list[Path]:
    """Return the files of a ring of this name that are there."""
    tail = f"{path.stem}_" + "[0-9]" * 5 + path.suffix
    return sorted(each for each in path.parent.glob(tail) if each.is_file()) if path.parent.is_dir() else []
