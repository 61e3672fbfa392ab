"""Files of GOAL, text and binary, as the data plane reads them: rank by rank, in the memory of the largest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from testbed.errors import ExperimentError
from testbed.importers.draft import Left, counted
from testbed.importers.text import shown
from testbed.replay.form import MAX_OPS, Op, Trace
from testbed.replay.lines import Reading, unpacked, unreadable

PS_PER_NS = 1000
PIECE_BYTES = 2**23
"""What is read between two looks at progress and interrupts: a tenth of a second."""

NIC_LEFT_OUT = "nic of a message, whose port the lab says"

Heard = Callable[[int, int], None]
"""Hears how many bytes of a file have been read, and how many it has."""


def unheard(done: int, total: int) -> None:
    """Show no progress."""


def read_whole(path: Path, *, is_binary: bool, progress: Heard = unheard) -> Reading:
    """Read a file of GOAL as one trace. Raises ExperimentError, with the line or the byte, for what is wrong with it."""
    from testbed._dataplane import GoalReader

    ranks: list[tuple[Op, ...]] = []
    with unpacked(path) as plain:
        try:
            reader = GoalReader(str(plain), is_binary, MAX_OPS)
            is_over = False
            while not is_over:
                is_over = reader.advance(PIECE_BYTES)
                progress(reader.offset(), reader.bytes())
                ranks += [tuple(map(Op._make, ops)) for ops in reader.take_ranks()]
        except OSError as problem:
            raise unreadable(path, problem) from None
        except ValueError as fault:
            raise reading_error(path, fault) from None
    times, line = reader.nics()
    left = (Left(NIC_LEFT_OUT, str(path), line, times),) if times else ()
    trace = Trace((str(path),), tuple(ranks))
    took = (counted(len(ranks), "rank"), counted(sum(map(len, ranks)), "op"))
    return Reading(trace.check(), took, left)


def reading_error(path: Path, fault: ValueError) -> ExperimentError:
    """Return a fault of the data plane as an error with its place."""
    line, byte, message, quoted = fault.args
    key = "" if byte is None else f"byte {byte}"
    text = message if quoted is None else message.replace("{}", shown(quoted))
    return ExperimentError.at(str(path), key, text, line)  # type: ignore[return-value]
