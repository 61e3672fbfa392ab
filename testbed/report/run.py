"""Tables for people, made from a result document.

Pure functions from `RunResult` to what rich prints; `rows` has the table of nccl-tests.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.report.fast import fast_text
from testbed.report.figures import format_bytes, format_count, format_ns
from testbed.report.flow_completion import completion_table, flows_text
from testbed.report.jobs import job_table, jobs_text
from testbed.report.pauses import roots_table
from testbed.report.ports import buffer_table, port_table
from testbed.report.queue_pairs import queue_pair_table
from testbed.report.rows import rows_text
from testbed.report.settled import settled_table
from testbed.report.tables import NotedTable, table_of, with_columns, with_note
from testbed.report.verdict import verdict_text
from testbed.run.result import Impaired, RunResult
from testbed.units import format_rate

FLOW_ROWS = 32
QP_ROWS = 24
IMPAIRMENT_ROWS = 24
STORM_ROWS = 12

_RECOVERY_COLUMNS = ("sent again", "rebuilt", "NAKs", "RNR NAKs", "timeouts")


def show(result: RunResult, console: Console, columns: Collection[str] = ()) -> set[str]:
    """Print the report; return which of `columns`, the only ones of its tables then, no table has.

    A console narrower than the table of rows does not cut it off.
    """
    report = render(result, console.width)
    missing = set[str]()
    if columns:
        report, headings = with_columns(report, columns)
        missing = set(columns) - headings
    console.print(report, crop=False)
    return missing


def render(result: RunResult, width: int | None = None) -> RenderableType:
    """Return the whole report for a width: rows, flows of a point-to-point pattern, ports, verdict."""
    if result.jobs:
        parts: list[RenderableType] = [Text(jobs_text(result)), *with_note(job_table(result))]
    elif result.flow_completion is not None:
        parts = [Text(flows_text(result, result.flow_completion)), *with_note(completion_table(result.flow_completion))]
    else:
        parts = [Text(rows_text(result, width), no_wrap=True, overflow="ignore")]
    if result.collective.algorithm == "direct":
        parts += with_note(flow_table(result))
    parts += with_note(queue_pair_table(result))
    parts += with_note(port_table(result))
    parts += with_note(buffer_table(result))
    parts += with_note(settled_table(result.settled))
    parts += with_note(recovery_table(result))
    parts += with_note(storm_table(result))
    parts += with_note(energy_table(result))
    parts += with_note(impairment_table(result))
    if result.hints:
        parts += [Text(), hints_table(result)]
    parts += [Text(), verdict_text(result)]
    if (skipped := fast_text(result)) is not None:
        parts.append(Text(skipped))
    if result.verdict.reasons:
        parts.append(reasons_table(result))
    roots = roots_table(result)
    if roots is not None:
        parts.append(roots)
    if result.verdict.advice:
        parts.append(Text(f"What to do: {result.verdict.advice}."))
    return Group(*parts)


def flow_table(result: RunResult) -> NotedTable:
    """Return, by flow, its length, the time from its first message to its last byte's arrival, and goodput.

    Where a row had several iterations length and time are those of one of them, on average.
    """
    placed = any(flow.in_place for flow in result.flows)
    left = ("source", "destination", *(("in place",) if placed else ()))
    table = table_of("Flows", left=left, right=("size", "completion", "goodput"))
    for flow in result.flows[:FLOW_ROWS]:
        place = (("yes" if flow.in_place else "no"),) if placed else ()
        if flow.completion_ns is None:
            ending = ("not finished", "-")
        else:
            lasted = flow.completion_ns - flow.start_ns if flow.duration_ns is None else flow.duration_ns
            ending = (format_ns(lasted / flow.iterations), f"{flow.goodput_bps / 1e9:.2f} Gb/s")
        size = format_bytes(flow.bytes // flow.iterations)
        table.add_row(Text(flow.src), Text(flow.dst), *place, size, *ending)
    omitted = len(result.flows) - FLOW_ROWS
    note = f"{omitted} more flows in run.json" if omitted > 0 else ""
    return NotedTable(table if result.flows else None, note)


def recovery_table(result: RunResult) -> NotedTable:
    """Return what it took to get packets across, by direction of a connection, where there was something.

    Kinds of events of which there were none have no column.
    """
    eventful = [qp for qp in result.qps if any(_recovered(qp).values()) or qp.get("error")]
    names = [name for name in _RECOVERY_COLUMNS if any(_recovered(qp)[name] for qp in eventful)]
    names = list(dict.fromkeys((_RECOVERY_COLUMNS[0], *names)))
    table = table_of("Recovery", left=("from", "to"), right=("packets", *names, "error"))
    for qp in eventful[:QP_ROWS]:
        cells = [format_count(_recovered(qp)[name]) for name in names]
        table.add_row(
            Text(qp["a"]), Text(qp["b"]), format_count(qp["packets_tx"]), *cells, Text(qp.get("error") or "-")
        )
    omitted = len(eventful) - QP_ROWS
    note = f"{omitted} more connections in run.json" if omitted > 0 else ""
    return NotedTable(table if eventful else None, note)


def _recovered(qp: dict[str, Any]) -> dict[str, int]:
    rebuilt = (qp.get("erasure") or {}).get("recovered", 0)
    counts = (qp["retransmitted"], rebuilt, qp["naks_rx"], qp.get("rnr_naks_rx", 0), qp["timeouts"])
    return dict(zip(_RECOVERY_COLUMNS, counts, strict=True))


def storm_table(result: RunResult) -> NotedTable:
    """Return what watchdogs took for storms, and what it was."""
    table = table_of("Watchdog", left=("port", "prio"), right=("detected", "restored", "dropped"))
    table.add_column("what it was", overflow="fold", ratio=1)
    for storm in result.watchdog[:STORM_ROWS]:
        restored = "-" if storm.restored_ns is None else format_ns(storm.restored_ns)
        cells = (format_ns(storm.detected_ns), restored, format_count(storm.dropped))
        table.add_row(Text(storm.port), str(storm.priority), *cells, Text(storm.explanation))
    omitted = len(result.watchdog) - STORM_ROWS
    return NotedTable(table if result.watchdog else None, f"{omitted} more in run.json" if omitted > 0 else "")


def impairment_table(result: RunResult) -> NotedTable:
    """Return what changed on links, and when it was asked for and took place."""
    table = table_of("Impairments", left=("from", "to", "change", "by"), right=("asked", "took place"))
    for row in result.impairments[:IMPAIRMENT_ROWS]:
        at = "not any more" if row.at_ns is None else format_ns(row.at_ns)
        table.add_row(Text(row.link), Text(row.to), Text(_change(row)), Text(row.label), format_ns(row.asked_ns), at)
    omitted = len(result.impairments) - IMPAIRMENT_ROWS
    note = f"{omitted} more changes in run.json" if omitted > 0 else ""
    return NotedTable(table if result.impairments else None, note)


def _change(row: Impaired) -> str:
    return ", ".join(impairment_text(key, value) for key, value in row.set.items())


def impairment_text(key: str, value: Any) -> str:
    """Write one setting of a link, as run.json has it, in words."""
    if key in ("delay_ns", "jitter_ns"):
        return f"{key.removesuffix('_ns')} {format_ns(value)}"
    if key == "rate_bps":
        return f"rate {format_rate(value)}"
    if key == "up":
        return "up" if value else "down"
    if key == "weights":
        return "weights " + " ".join(map(str, value))
    if key == "drain":
        return "draining" if value else "not draining"
    if key == "storm":
        return storm_text(value)
    if key == "rerouted":
        return f"{value} routes"
    if value is None:
        return "no loss"
    if value["kind"] == "bernoulli":
        return f"loss {value['probability']:.3g}"
    if value["kind"] == "codewords":
        return f"{value['per_second']:.3g} bad codewords/s"
    return f"bursts: enter {value['enter']:.3g}, leave {value['leave']:.3g}"


def storm_text(storm: dict[str, Any] | None) -> str:
    """Write what a host asks for without need."""
    if storm is None:
        return "no storm"
    share = f" for {format_ns(storm['on_ns'])} of every {format_ns(storm['period_ns'])}" if "on_ns" in storm else ""
    return f"storm on priority {', '.join(map(str, storm['priorities']))}{share}"


def energy_table(result: RunResult) -> NotedTable:
    """Return power, energy and cost by profile and of the run; nothing where no link has a profile."""
    energy = result.energy
    if not energy:
        return NotedTable(None, "")
    priced = "cost_per_petabyte" in energy
    right = ("links", "power", "nominal", "useful", "energy", *(("cost of 1 PB",) if priced else ()))
    table = table_of("Energy", left=("profile",), right=right)
    groups: dict[str, list[dict[str, Any]]] = {}
    for link in energy["links"].values():
        groups.setdefault(link["profile"], []).append(link)
    for profile, links in groups.items():
        joules, bits = sum(link["joules"] for link in links), sum(link["useful_bits"] for link in links)
        nominal = next((link["nominal_pj_per_bit"] for link in links if link["nominal_pj_per_bit"] is not None), None)
        cells = _energy(sum(link["watts"] for link in links), nominal, joules / bits * 1e12 if bits else None, joules)
        cost = next((link["cost_per_petabyte"] for link in links if link.get("cost_per_petabyte") is not None), None)
        table.add_row(Text(profile), str(len(links)), *cells, *((_price(cost),) if priced else ()))
    cells = _energy(energy["watts"], energy["nominal_pj_per_bit"], energy["useful_pj_per_bit"], energy["joules"])
    whole = (_price(energy["cost_per_petabyte"]),) if priced else ()
    table.add_row("run", str(len(energy["links"])), *cells, *whole)
    return NotedTable(
        table, "useful: of a link, per bit that its ends received; of the run, per bit that ranks received"
    )


def _energy(watts: float, nominal: float | None, useful: float | None, joules: float) -> tuple[str, ...]:
    per_bit = ("-" if value is None else f"{value:.3g} pJ/bit" for value in (nominal, useful))
    return f"{watts:.4g} W", *per_bit, f"{joules:.3g} J"


def _price(cost: float | None) -> str:
    return "-" if cost is None else f"{cost:,.4g}"


def reasons_table(result: RunResult) -> Table:
    """Return the reasons for the verdict, one a paragraph, hanging so that long ones stay readable."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for reason in result.verdict.reasons:
        table.add_row("  -", Text(reason))
    return table


def hints_table(result: RunResult) -> Table:
    """Return the settings that had no effect, and why, one a row."""
    table = table_of("Settings without effect", left=("setting",), right=())
    table.add_column("why", overflow="fold", ratio=1)
    for hint in result.hints:
        table.add_row(Text(hint.key), Text(hint.text))
    return table
