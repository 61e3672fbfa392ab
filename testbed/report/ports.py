"""What happened at ports and in the memories of switches, as tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rich.text import Text

from testbed.report.figures import format_bytes, format_count, format_span
from testbed.report.tables import NotedTable, table_of
from testbed.run.counters import Drops, PriorityCounters
from testbed.run.result import RunResult

PORT_ROWS = 40
# Up to so many rows, ports where nothing remarkable happened are shown too.
QUIET_PORT_ROWS = 24
BUFFER_ROWS = 16


def port_table(result: RunResult) -> NotedTable:
    """Return pauses, occupancy and drops by port and priority.

    In a small lab of every priority that carried frames, in a larger one only where there was something to see. Congestion
    marks and credits have columns where there are any; pauses, unless there are credits instead.
    """
    carried = [
        (name, number, counters) for name, port in result.ports.items() for number, counters in port.priorities.items()
    ]
    eventful = [row for row in carried if _has_something_to_say(row[2])]
    shown = carried if len(carried) <= QUIET_PORT_ROWS else eventful
    present = [column for column in _COLUMNS if any(column.figure(counters) for _, _, counters in shown)]
    if not any(column in _CREDIT_COLUMNS for column in present):
        # What is nearly always of interest: that there was none.
        present = [column for column in _COLUMNS if column in present or column in _PAUSE_COLUMNS]
    right = ("frames tx", *(column.title for column in present), "queue max", "headroom max")
    table = table_of("Ports", left=("port", "prio"), right=right)
    table.add_column("drops", justify="right", overflow="fold", ratio=1)
    for name, number, counters in shown[:PORT_ROWS]:
        table.add_row(
            Text(name),
            number,
            format_count(counters.frames_tx),
            *(column.show(column.figure(counters)) for column in present),
            format_bytes(counters.queue_bytes_max) if counters.queue_bytes_max else "-",
            format_bytes(counters.headroom_bytes_max) if counters.headroom_bytes_max else "-",
            _drops(counters.drops),
        )
    notes = []
    quiet = len(result.ports) - len({name for name, _, _ in eventful})
    if quiet:
        notes.append(f"{quiet} of {len(result.ports)} ports had no pause, wait, headroom, mark or drop")
    if demoted := sum(counters.demoted for _, _, counters in carried):
        notes.append(f"{demoted:,} frames of hosts' kernels asked for a lossless priority and went on a lossy one")
    if len(shown) > PORT_ROWS:
        notes.append(f"{len(shown) - PORT_ROWS} more rows in run.json")
    return NotedTable(table if shown else None, "; ".join(notes))


def buffer_table(result: RunResult) -> NotedTable:
    """Return how full the memories of switches have been, the fullest first."""
    table = table_of("Buffers", left=("switch",), right=("most held", "below thresholds", "headroom", "lossy"))
    used = sorted(
        ((name, marks) for name, marks in result.pools.items() if marks.buffer_bytes_max),
        key=lambda entry: -entry[1].buffer_bytes_max,
    )
    for name, marks in used[:BUFFER_ROWS]:
        parts = (marks.buffer_bytes_max, marks.shared_bytes_max, marks.headroom_bytes_max, marks.lossy_bytes_max)
        table.add_row(Text(name), *(format_bytes(size) if size else "-" for size in parts))
    omitted = len(used) - BUFFER_ROWS
    return NotedTable(table if used else None, f"{omitted} more switches in run.json" if omitted > 0 else "")


def _has_something_to_say(counters: PriorityCounters) -> bool:
    return bool(
        counters.pause_tx
        or counters.pause_rx
        or counters.paused_ns
        or counters.headroom_bytes_max
        or counters.ecn_marked
        or counters.demoted
        or counters.credit_wait_ns
        or any(count for _, count in _causes(counters.drops))
    )


def _causes(drops: Drops) -> list[tuple[str, int]]:
    return [(cause, count) for cause, count in drops.model_dump().items() if isinstance(count, int)]


def _drops(drops: Drops) -> str:
    return "\n".join(f"{cause} {count:,}" for cause, count in _causes(drops) if count) or "-"


class _Column(NamedTuple):
    title: str
    figure: Callable[[PriorityCounters], float]
    show: Callable[[Any], str]


_PAUSE_COLUMNS = (
    _Column("pause tx", lambda counters: counters.pause_tx, format_count),
    _Column("pause rx", lambda counters: counters.pause_rx, format_count),
    _Column("paused", lambda counters: counters.paused_ns, format_span),
)

_CREDIT_COLUMNS = (
    _Column("credit tx", lambda counters: counters.credit_tx, format_count),
    _Column("credit rx", lambda counters: counters.credit_rx, format_count),
    _Column("credit wait", lambda counters: counters.credit_wait_ns, format_span),
)

_COLUMNS = (
    _Column("ECN marks", lambda counters: counters.ecn_marked, format_count),
    _Column("demoted", lambda counters: counters.demoted, format_count),
    *_CREDIT_COLUMNS,
    *_PAUSE_COLUMNS,
)
