"""Live figures of a lab in words and tables, as telemetry has them: for `inspect` and `events`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from testbed.report.figures import format_bytes, format_ns
from testbed.report.tables import empty_table

Document = Mapping[str, Any]


class _Column(NamedTuple):
    """A figure of a priority; one that is zero everywhere has a column only if it is shown `always`."""

    title: str
    key: str
    show: Callable[[Any], str]
    always: bool = False


def _count(number: int) -> str:
    return f"{number:,}"


def _causes(drops: Mapping[str, int]) -> str:
    return ", ".join(f"{cause} {count:,}" for cause, count in drops.items() if count)


_COLUMNS = (
    _Column("frames tx", "frames_tx", _count, always=True),
    _Column("frames rx", "frames_rx", _count, always=True),
    _Column("bytes tx", "bytes_tx", format_bytes, always=True),
    _Column("pause tx", "pause_tx", _count),
    _Column("pause rx", "pause_rx", _count),
    _Column("paused for", "paused_ns", format_ns),
    _Column("paused now", "paused", lambda _: "yes"),
    _Column("waited for credit", "credit_wait_ns", format_ns),
    _Column("queue", "queue_bytes", format_bytes),
    _Column("queue max", "queue_bytes_max", format_bytes),
    _Column("headroom max", "headroom_bytes_max", format_bytes),
    _Column("marked", "ecn_marked", _count),
    _Column("demoted", "demoted", _count),
    _Column("drops", "drops", _causes),
)


def _figure(figures: Document, column: _Column) -> str:
    """Write a figure; nothing for one that is zero."""
    value = figures.get(column.key)
    any_drop = isinstance(value, Mapping) and any(value.values())
    return column.show(value) if any_drop or (value and not isinstance(value, Mapping)) else ""


def port_table(ports: Mapping[str, Document]) -> Table | None:
    """Return what each priority of each port did so far and is at now; None where no frame has passed."""
    rows = [
        (port, priority, figures)
        for port, counters in ports.items()
        for priority, figures in counters["priorities"].items()
    ]
    columns = [column for column in _COLUMNS if column.always or any(_figure(row[2], column) for row in rows)]
    table = empty_table()
    for title in ("port", "priority"):
        table.add_column(title)
    for column in columns:
        table.add_column(column.title, justify="right")
    for port, priority, figures in rows:
        table.add_row(Text(port), priority, *(_figure(figures, column) or "-" for column in columns))
    return table if rows else None


def port_words(counters: Document) -> str:
    """Return the same of one port in a line."""
    words = []
    for priority, figures in counters.get("priorities", {}).items():
        shown = [(column.title, _figure(figures, column)) for column in _COLUMNS]
        words.append(f"priority {priority}: {', '.join(f'{title} {text}' for title, text in shown if text)}")
    return "; ".join(words) or "no frame yet"


def lab_words(lab: Document) -> str:
    """Return what a lab as a whole is at: progress, losses of the network, how faithful the emulator is and what it lost."""
    if lab.get("state") == "broken":
        return "broken"
    parts = ["a run is under way" if lab.get("busy") else "idle"]
    if lab.get("ranks"):
        parts.append(f"{lab.get('ranks_finished')} of {lab['ranks']} ranks finished")
    parts.append(f"{lab.get('frame_hops', 0):,} frame-hops")
    if drops := _causes(lab.get("drops", {})):
        parts.append(f"drops: {drops}")
    if dead := sum(deadlock.get("cured_ns") is None for deadlock in lab.get("deadlocks", ())):
        parts.append(f"deadlocks: {dead}")
    if fidelity := lab.get("fidelity"):
        parts += _fidelity_words(fidelity)
    return ", ".join(parts)


# What the emulator lost, and in what words.
_LOST = {
    "socket_drops": "dropped by sockets",
    "overflow": "lost to full queues",
    "refused": "refused by interfaces",
    "lost_in_kernel": "lost inside the kernel",
    "kernel_drops": "of hosts' kernels for which it was too slow",
}


def _fidelity_words(fidelity: Document) -> list[str]:
    """Return how well the emulator keeps up, and what it lost itself: that is no loss of the network."""
    parts = [
        f"99 % of frames at most {format_ns(fidelity['lateness_ns']['p99'])} late",
        f"late frames {fidelity.get('late_frames', 0):,}",
        f"time held back {fidelity['held_share']:.1%}",
    ]
    for key, words in _LOST.items():
        value = fidelity.get(key, 0)
        by_port = isinstance(value, Mapping)
        if count := sum(value.values()) if by_port else value:
            where = f" at {', '.join(sorted(value))}" if by_port else ""
            parts.append(f"lost by the emulator: {count:,} frames {words}{where}")
    return parts
