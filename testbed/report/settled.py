"""The settled state of a run, at the port whose queue was deepest: what it sent and held, on the whole and by windows."""

from __future__ import annotations

from testbed.report.figures import format_bytes, format_ns
from testbed.report.tables import NotedTable, table_of
from testbed.run.counters import PriorityCounters, Settled, Window

WINDOW_ROWS = 16


def settled_table(settled: Settled | None) -> NotedTable:
    """Return, of the deepest queue, what it held and sent in the settled state and in its last windows."""
    if settled is None:
        return NotedTable(None, "")
    depths = [
        (counters.queue_bytes_max, name, number)
        for name, port in settled.ports.items()
        for number, counters in port.priorities.items()
    ]
    if not depths:
        return NotedTable(None, "nothing was sent in the settled state")
    _, name, number = max(depths, key=lambda entry: entry[0])
    title = f"Settled state of the deepest queue, {name} priority {number}"
    right = ("from", "to", "sent", "queue least", "queue most", "at the end")
    table = table_of(title, left=("part",), right=right)
    table.add_row("all of it", *_cells(settled, name, number))
    shown = settled.windows[-WINDOW_ROWS:]
    first = settled.windows_omitted + len(settled.windows) - len(shown)
    for place, window in enumerate(shown, first):
        table.add_row(f"window {place}", *_cells(window, name, number))
    return NotedTable(table, f"{'earlier windows and ' if first else ''}other ports are in run.json")


def _cells(part: Window, name: str, number: str) -> tuple[str, ...]:
    port = part.ports.get(name)
    counters = PriorityCounters() if port is None else port.priorities.get(number, PriorityCounters())
    rate_gbps = counters.bytes_tx * 8 / (part.to_ns - part.from_ns)
    extra = counters.model_extra or {}
    held = (extra.get("queue_bytes_min") or 0, counters.queue_bytes_max, extra.get("queue_bytes", 0))
    return format_ns(part.from_ns), format_ns(part.to_ns), f"{rate_gbps:.2f} Gb/s", *map(format_bytes, held)
