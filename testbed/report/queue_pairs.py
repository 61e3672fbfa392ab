"""The table of queue pairs: which ports they run between, where hosts have several ports or ranks."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from testbed.report.figures import format_count
from testbed.report.tables import NotedTable, table_of
from testbed.run.result import RunResult

ROWS = 32


def queue_pair_table(result: RunResult) -> NotedTable:
    """Return the queue pairs with their ports and UDP source ports; none where every host has one port and one rank."""
    directions: dict[int, list[dict[str, Any]]] = {}
    for qp in result.qps:
        if "port_a" in qp:
            directions.setdefault(qp["qpn"], []).append(qp)
    table = table_of("Queue pairs", left=("rank", "port", "rank", "port"), right=("UDP port", "packets there", "back"))
    for there, *back in list(directions.values())[:ROWS]:
        ends = (there["rank_a"], there["port_a"], there["rank_b"], there["port_b"])
        packets = (format_count(there["packets_tx"]), format_count(sum(qp["packets_tx"] for qp in back)))
        table.add_row(*(Text(str(end)) for end in ends), str(there["source_port"]), *packets)
    omitted = len(directions) - ROWS
    note = f"{omitted} more queue pairs in run.json" if omitted > 0 else ""
    return NotedTable(table if directions else None, note)
