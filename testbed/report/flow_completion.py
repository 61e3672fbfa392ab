"""The table of a workload of flows: how long they took, and against the empty network, by classes of sizes."""

from __future__ import annotations

from testbed.report.figures import format_bytes, format_ns
from testbed.report.tables import NotedTable, table_of
from testbed.run.flow_result import FlowClass, FlowCompletion
from testbed.run.result import RunResult


def flows_text(result: RunResult, flows: FlowCompletion) -> str:
    """Return the lines above the table: what was run, and what load it was."""
    lines = [
        f"# {flows.all.count} flows ({flows.sizes}), {result.collective.ranks} ranks, lab {result.lab}, seed {result.seed}",
        f"# {result.clock} clock, dilation {result.dilation}; times are nominal",
    ]
    if flows.load is not None:
        lines.append(
            f"# Load of the sources' links: asked {flows.load.asked:.4g}, drawn {flows.load.offered:.4g}, "
            f"on the wire {flows.load.on_the_wire:.4g}"
        )
    return "\n".join(lines)


def completion_table(flows: FlowCompletion) -> NotedTable:
    """Return a row for each class of sizes, and one for all."""
    right = ("flows", "FCT mean", "FCT p99", "slowdown mean", "p50", "p95", "p99", "max")
    table = table_of("Flow completion", left=("size",), right=right)
    for members in flows.by_size:
        table.add_row(f"{format_bytes(members.least_bytes)} - {format_bytes(members.most_bytes)}", *_cells(members))
    table.add_row("all", *_cells(flows.all))
    left = flows.all.count - flows.all.finished
    note = "slowdown: against the same flow in the empty network"
    return NotedTable(table, f"{left} flows did not end; {note}" if left else note)


def _cells(members: FlowClass) -> list[str]:
    if members.fct_us is None or members.slowdown is None:
        return [str(members.count), *["-"] * 7]
    slow = members.slowdown
    times = (format_ns(1000 * members.fct_us.mean), format_ns(1000 * members.fct_us.p99))
    return [
        str(members.count),
        *times,
        *(f"{each:.3f}" for each in (slow.mean, slow.p50, slow.p95, slow.p99, slow.max)),
    ]
