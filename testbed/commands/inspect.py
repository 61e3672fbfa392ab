"""testbed inspect: what is deployed, and how it is."""

from __future__ import annotations

import asyncio
from typing import Any

import typer
from rich.console import Group

from testbed.commands.common import (
    Format,
    FormatOption,
    NameOption,
    TopologyOption,
    console,
    one_lab,
    print_json,
    print_note,
    target,
)
from testbed.commands.run_options import ColumnsOption, read_columns
from testbed.report.tables import empty_table, with_columns

_SHOWN = 4


def inspect(
    context: typer.Context,
    topology: TopologyOption = None,
    name: NameOption = None,
    columns: ColumnsOption = None,
    format_: FormatOption = Format.table,
) -> None:
    """Show labs with their state, nodes and addresses; for one lab also the live figures of its ports."""
    from testbed.control import inspection

    lab = one_lab(name, topology) if name or topology else None
    rows = asyncio.run(inspection.inspect(target(context), lab))
    if format_ is Format.json:
        print_json({"labs": rows})
        return
    if not rows:
        print("no lab is deployed")
    for row in rows:
        _print_lab(row)
        if lab is not None and "ports" in row:
            _print_ports(row["ports"], read_columns(columns))


def _print_ports(ports: dict[str, Any], columns: list[str]) -> None:
    """Print what has passed ports, of some columns alone if these are named."""
    from testbed.report.live import port_table

    table = port_table(ports)
    if table is None:
        print("no frame has passed a port yet")
        return
    report, headings = with_columns(Group(table), columns) if columns else (table, set(columns))
    if missing := sorted(set(columns) - headings):
        print_note(f"note: --columns: no table has {', '.join(missing)}")
    console().print(report)


def _print_lab(row: dict[str, Any]) -> None:
    from testbed.report.live import lab_words

    out = console()
    broken = row["state"] not in ("running", "foreign")
    state = "broken" if broken else f"driven by {row['owner']}" if row["state"] == "foreign" else "running"
    facts = (
        [f"agent {row['agent']}", f"driver {row['driver']}", f"dilation {row['dilation']}"] if "dilation" in row else []
    )
    out.print(f"lab {row['lab']}: {', '.join([state, *facts])}")
    if broken:
        out.print(_fault_lines(row), markup=False)
    elif "frame_hops" in row:
        out.print(lab_words(row))
    stations = row.get("stations", [])
    table = empty_table()
    for title in ("node", "kernel address", "NIC address", "health"):
        table.add_column(title, ratio=None if title == "node" else 1)
    for node in row["nodes"]:
        # Of a host with several ports, the address of each.
        address: dict[str, str] = {}
        for entry in stations:
            if entry["node"] == node:
                before = address.get(entry["kind"])
                address[entry["kind"]] = f"{before}, {entry['ip']}" if before else entry["ip"]
        health = row.get("health", {}).get(node, {"state": "-", "reason": ""})
        said = f"{health['state']}: {health['reason']}" if health["reason"] else health["state"]
        table.add_row(node, address.get("kernel", "-"), address.get("nic", "-"), said)
    out.print(table)
    if "links" in row:
        out.print(_emulation_text(row["links"]))
    for change in row.get("by_hand", ()):
        out.print(f"changed by hand: what {change['port']} sends, {' '.join(change['options'])}")


def _fault_lines(row: dict[str, Any]) -> str:
    """Return a line for each fault of a broken lab, of many for the first, and one that says what to do."""
    faults = [f"{node}: {fault}" for node, fault in row.get("faults", {}).items()] or ["it has no data plane"]
    more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    lines = [f"  - {line}" for line in (*faults[:_SHOWN], *more)]
    return "\n".join([*lines, f"What to do: deploy lab {row['lab']} again, which restores it, or destroy it."])


def _emulation_text(links: list[dict[str, Any]]) -> str:
    """Return who imposes the links: in one line where it is the same for all, else a line for each."""
    texts = [f"{link['emulation']}{': ' + link['reason'] if 'reason' in link else ''}" for link in links]
    if len(set(texts)) == 1:
        return f"{len(texts)} links {texts[0]}"
    return "\n".join(f"{' - '.join(link['ends'])}  {text}" for link, text in zip(links, texts, strict=True))
