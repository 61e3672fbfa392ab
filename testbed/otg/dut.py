"""What scripts read from a switch over ssh: counters, watermarks and buffers under the columns of SONiC's commands. Pure.

The commands are those of sonic-utilities: `show pfc counters`, `show priority-group watermark headroom|shared`,
`show priority-group drop counters`, `show queue counters`, `show queue watermark unicast`, `show buffer configuration`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.contract.plan import Plan, Switch
from testbed.otg.validation import Refused

Row = Mapping[str, Any]
"""A row by column: numbers, and texts."""
_PRIORITIES = range(8)


@dataclass(frozen=True)
class Table:
    """A table of a command: its title, where it has one, and its rows by column."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]

    def text(self) -> str:
        """Return it as it is printed, numbers at the right and with commas between thousands."""
        shown = [
            [f"{row[each]:,}" if isinstance(row[each], int) else str(row[each]) for each in self.columns]
            for row in self.rows
        ]
        widths = [max(len(row[i]) for row in [list(self.columns), *shown]) for i in range(len(self.columns))]
        lines = ["  ".join(text.rjust(width) for text, width in zip(self.columns, widths, strict=True))]
        lines.append("  ".join("-" * width for width in widths))
        lines += ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in shown]
        return "\n".join([*([self.title] if self.title else []), *lines]) + "\n"

    def data(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"title": self.title, "columns": list(self.columns), "rows": [dict(row) for row in self.rows]}


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def show(plan: Plan, report: Mapping[str, Any], switch: str | None, words: Sequence[str]) -> list[Table]:
    """Return what a command prints on a switch, the only one where none is named. Raises Refused for what it does not know."""
    known = {node["name"]: node for node in plan["nodes"] if node["kind"] == "switch"}
    name = switch if switch is not None else next(iter(known)) if len(known) == 1 else ""
    if name not in known:
        raise Refused([f"switch: the lab has {', '.join(known) or 'no switch'}; name one of them"])
    asked = " ".join(words).removeprefix("show ")
    command = _COMMANDS.get(asked)
    if command is None:
        raise Refused([f"command: {asked[:80]} is not known here; these are: {', '.join(_COMMANDS)}"])
    return command(known[name], lambda port, priority: _figures(report, name, port, priority))


Figures = Callable[[str, int], Mapping[str, Any]]


def _figures(report: Mapping[str, Any], switch: str, port: str, priority: int) -> Mapping[str, Any]:
    figures: Mapping[str, Any] = report["ports"][f"{switch}:{port}"]["priorities"].get(str(priority), {})
    return figures


def _by_priority(switch: Switch, figures: Figures, key: str, title: str, first: str, prefix: str) -> Table:
    columns = [first, *(f"{prefix}{each}" for each in _PRIORITIES)]
    rows = [
        {first: port["name"], **{f"{prefix}{each}": figures(port["name"], each).get(key, 0) for each in _PRIORITIES}}
        for port in switch["ports"]
    ]
    return Table(title, columns, rows)


def _pfc_counters(switch: Switch, figures: Figures) -> list[Table]:
    return [
        _by_priority(switch, figures, "pause_rx", "", "Port Rx", "PFC"),
        _by_priority(switch, figures, "pause_tx", "", "Port Tx", "PFC"),
    ]


def _watermark(key: str, title: str, prefix: str) -> Callable[[Switch, Figures], list[Table]]:
    return lambda switch, figures: [_by_priority(switch, figures, key, title, "Port", prefix)]


def _drops(figures: Mapping[str, Any]) -> int:
    """Return the frames that a port lost for want of memory, or to the watchdog."""
    drops = figures.get("drops", {})
    return sum(drops.get(cause, 0) for cause in ("headroom", "buffer", "watchdog"))


def _pg_drops(switch: Switch, figures: Figures) -> list[Table]:
    columns = ["Port", *(f"PG{each}" for each in _PRIORITIES)]
    rows = [
        {"Port": port["name"], **{f"PG{each}": _drops(figures(port["name"], each)) for each in _PRIORITIES}}
        for port in switch["ports"]
    ]
    return [Table("Ingress PG dropped packets:", columns, rows)]


def _queue_counters(switch: Switch, figures: Figures) -> list[Table]:
    columns = ["Port", "TxQ", "Counter/pkts", "Counter/bytes", "Drop/pkts", "Drop/bytes"]
    tables = []
    for port in switch["ports"]:
        rows = []
        for each in _PRIORITIES:
            figure = figures(port["name"], each)
            # The switch counts what it loses where it comes in, in frames.
            counted = {"Counter/pkts": figure.get("frames_tx", 0), "Counter/bytes": figure.get("bytes_tx", 0)}
            rows.append({"Port": port["name"], "TxQ": f"UC{each}", **counted, "Drop/pkts": "N/A", "Drop/bytes": "N/A"})
        tables.append(Table("", columns, rows))
    return tables


def _buffers(switch: Switch, figures: Figures) -> list[Table]:
    """Return the priority groups of a switch with the fields that BUFFER_PROFILE has for them, in bytes."""
    columns = ["Port", "pg", "size", "xoff", "xon", "xon_offset", "static_th", "dynamic_th"]
    rows: list[Row] = []
    for group in switch["priority_groups"]:
        alpha = group.get("alpha_log2")
        static = group.get("xoff_bytes")
        rows.append(
            {
                "Port": switch["ports"][group["port"]]["name"],
                "pg": group["priority"],
                "size": group.get("reserve_bytes", 0),
                "xoff": group["headroom_bytes"],
                "xon": group.get("xon_bytes", 0),
                "xon_offset": group.get("xon_offset_bytes", 0),
                "static_th": static if static is not None and alpha is None else "N/A",
                "dynamic_th": alpha if alpha is not None else "N/A",
            }
        )
    pool = {
        "pool": "ingress_lossless_pool",
        "type": "ingress",
        "size": switch.get("pool_bytes", switch["buffer_bytes"]),
        "xoff": switch.get("headroom_pool_bytes", 0),
    }
    return [Table("", list(pool), [pool]), Table("", columns, rows)]


_COMMANDS: Mapping[str, Callable[[Switch, Figures], list[Table]]] = {
    "pfc counters": _pfc_counters,
    "priority-group watermark headroom": _watermark("headroom_bytes_max", "Ingress headroom per PG:", "PG"),
    "priority-group watermark shared": _watermark("shared_bytes_max", "Ingress shared pool occupancy per PG:", "PG"),
    "priority-group drop counters": _pg_drops,
    "queue counters": _queue_counters,
    "queue watermark unicast": _watermark("queue_bytes_max", "Egress shared pool occupancy per unicast queue:", "UC"),
    "buffer configuration": _buffers,
}
