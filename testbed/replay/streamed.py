"""Traces of gigabytes, which stay on disk while they are replayed: read once, matched once, and no op of them in Python.

Memory is that of the largest rank while the file is read, 24 bytes an op and 8 a dependency, and afterwards that of what is
under way: `MOST_LIVE` in dataplane/src/goal/matching.rs bounds it. What is on disk takes 44 bytes an op and 4 a dependency.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from testbed.errors import ExperimentError, Fault
from testbed.importers.draft import Left, counted
from testbed.replay.form import Json, Trace
from testbed.replay.goal_reading import NIC_LEFT_OUT, PIECE_BYTES, Heard, reading_error, unheard
from testbed.replay.lines import Reading, unpacked, unreadable

if TYPE_CHECKING:
    from testbed._dataplane import GoalTrace

SMALLEST_BYTES = 2**25
"""From here on a file is replayed from disk where it can be."""
MOST_OPS = 2**32
_PIECE_EVENTS = 2**16


@dataclass(frozen=True)
class Streamed(Trace):
    """A trace on disk. Its ranks have no ops here; `goal` has them, and which of them send to which on a channel."""

    goal: GoalTrace | None = None

    @property
    def sends(self) -> list[tuple[int, int, int]]:
        """Sender, receiver and channel of messages that leave their rank, each once."""
        return [] if self.goal is None else self.goal.sends()

    def data(self) -> Json:
        """Return what there is to say of it as JSON data, which `trace_from` refuses: it cannot leave this process."""
        return {"files": list(self.files), "ranks": len(self.ranks)}


def read_streamed(path: Path, *, is_binary: bool, reading: Heard = unheard, matching: Heard = unheard) -> Reading:
    """Read a file of GOAL onto disk, and match its messages. Raises ExperimentError, with its place, for what is wrong with it.

    `reading` hears of bytes, `matching` of ops.
    """
    from testbed._dataplane import GoalTrace

    try:
        with unpacked(path) as plain:
            goal = GoalTrace(str(plain), is_binary, MOST_OPS)
            while not goal.read(PIECE_BYTES):
                reading(goal.offset(), goal.bytes())
    except OSError as problem:
        raise unreadable(path, problem) from None
    except ValueError as fault:
        raise reading_error(path, fault) from None
    reading(goal.offset(), goal.bytes())
    try:
        while not goal.match_messages(_PIECE_EVENTS):
            matching(goal.ended(), goal.ops())
    except OSError as problem:
        raise unreadable(path, problem) from None
    except ValueError as faults:
        _raise(path, faults.args[0])
    matching(goal.ops(), goal.ops())
    times, line = goal.nics()
    left = (Left(NIC_LEFT_OUT, str(path), line, times),) if times else ()
    trace = Streamed((str(path),), ((),) * goal.ranks(), goal=goal)
    took = (counted(goal.ranks(), "rank"), counted(goal.ops(), "op"))
    return Reading(trace.check(), took, left, ("replayed from disk",))


def _raise(path: Path, faults: list[Any]) -> NoReturn:
    """Raise what the data plane finds wrong with a trace: of each its rank, op and line, words, and op and line of another op."""

    def fault(rank: int, op: tuple[int, int] | None, message: str, other: tuple[int, int] | None) -> Fault:
        if other is not None:
            message += f" ({path}:{other[1]})" if other[1] else f" ({path}, op {other[0]})"
        if op is None:
            return Fault(str(path), 0, "", message)
        return Fault(str(path), op[1], f"rank {rank}" if op[1] else f"rank {rank}, op {op[0]}", message)

    raise ExperimentError([fault(*each) for each in faults])
