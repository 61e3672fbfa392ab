"""testbed export: labs, workloads and results in the formats of other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from testbed.commands import completion, export_results
from testbed.commands.common import (
    ForceOption,
    OutOption,
    SeedOption,
    SetOption,
    keep_existing,
    print_note,
    read_trial,
    write_bytes,
    write_out,
)
from testbed.commands.common import TopologyOption as AnyTopologyOption
from testbed.commands.help import example
from testbed.commands.importing import StrictOption
from testbed.commands.run_options import WhatArgument
from testbed.errors import UsageError
from testbed.importers.clab import write_clab
from testbed.importers.draft import Imported, counted
from testbed.importers.graph import Graph
from testbed.importers.hpcc import write_hpcc
from testbed.lab.graph import graph_of, not_carried
from testbed.lab.topology import lab_from, lab_source
from testbed.replay.chakra import PS_PER_US
from testbed.replay.chakra_writing import write_chakra
from testbed.replay.goal import write_goal
from testbed.replay.goal_binary import write_goal_binary
from testbed.replay.made import trace_of

app = typer.Typer(help="Write a lab, a workload or a result in a format of another tool.", no_args_is_help=True)

TopologyOption = Annotated[
    str,
    typer.Option(
        "--topology",
        "-t",
        help="lab file, or name with parameters: two-dc:hosts=4,length=300km",
        autocompletion=completion.topology,
    ),
]


@app.command(epilog=example("testbed export hpcc -t two-dc -o topology.txt"))
def hpcc(
    topology: TopologyOption, out: OutOption = None, strict: StrictOption = False, force: ForceOption = False
) -> None:
    """Write topology.txt of ns-3 as HPCC reads it. Names follow behind the links, where HPCC does not read."""
    _export(write_hpcc, ("loss",), topology, out, strict, force)


@app.command(epilog=example("testbed export clab -t two-dc -o two-dc.clab.yml"))
def clab(
    topology: TopologyOption, out: OutOption = None, strict: StrictOption = False, force: ForceOption = False
) -> None:
    """Write a topology of containerlab: hosts of kind linux, switches as bridges, rates and lengths in the vars of links."""
    _export(write_clab, ("loss", "mtu"), topology, out, strict, force)


@app.command(epilog=example("testbed export goal all_reduce -t two-dc -o all-reduce.goal"))
def goal(
    what: WhatArgument = None,
    topology: AnyTopologyOption = None,
    out: OutOption = None,
    binary: Annotated[bool, typer.Option("--binary", help="write what txt2bin makes of the text")] = False,
    set_: SetOption = None,
    seed: SeedOption = None,
    force: ForceOption = False,
) -> None:
    """Write what an experiment or a collective computes and sends as GOAL, of a collective its largest size."""
    keep_existing([out] if out else [], force)
    trial = read_trial(what, topology, set_ or [], seed)
    try:
        trace = trace_of(trial.whole, trial.name)
    except MemoryError:
        raise UsageError(f"{trial.name} has more ops than memory holds") from None
    if binary:
        if out is None:
            raise UsageError("--binary writes no text; name a file with -o")
        write_bytes(write_goal_binary(trace), out)
    else:
        write_out(write_goal(trace), out)
    ops = sum(map(len, trace.ranks))
    print_note(f"wrote {counted(len(trace.ranks), 'rank')}, {counted(ops, 'op')}; left out: what is computed in memory")


@app.command(epilog=example("testbed export chakra all_reduce -t two-dc -o all-reduce"))
def chakra(
    prefix: Annotated[
        Path, typer.Option("--out", "-o", metavar="PREFIX", help="files are PREFIX.0.et, PREFIX.1.et, …")
    ],
    what: WhatArgument = None,
    topology: AnyTopologyOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    force: ForceOption = False,
) -> None:
    """Write what an experiment or a collective computes and sends as execution traces of Chakra, a file a rank."""
    trial = read_trial(what, topology, set_ or [], seed)
    trace = trace_of(trial.whole, trial.name)
    paths = [prefix.with_name(f"{prefix.name}.{rank}.et") for rank in range(len(trace.ranks))]
    keep_existing(paths, force)
    for path, raw in zip(paths, write_chakra(trace), strict=True):
        write_bytes(raw, path)
    ops = sum(map(len, trace.ranks))
    parts = sum(op.kind == "calc" and op.amount % PS_PER_US > 0 for ops_of_rank in trace.ranks for op in ops_of_rank)
    rounded = f"; {counted(parts, 'duration')} rounded to us" if parts else ""
    print_note(
        f"wrote {counted(len(paths), 'rank')}, {counted(ops, 'node')}{rounded}; left out: what is computed in memory"
    )


def _export(
    write: Callable[[Graph], str], carried: tuple[str, ...], topology: str, out: Path | None, strict: bool, force: bool
) -> None:
    """Write a lab, and say what was written and what was left out."""
    keep_existing([out] if out else [], force)
    source = lab_source(topology)
    graph = graph_of(lab_from(source))
    wrote = (counted(len(graph.nodes), "node"), counted(len(graph.links), "link"))
    exported = Imported(source, wrote, not_carried(source, carried).all())
    if strict:
        exported.require_all()
    write_out(write(graph), out)
    print_note(exported.summary("wrote"))


for _command, _example in (
    (export_results.fct, "testbed export fct results/1 -t fabric.yaml -o fct.txt"),
    (export_results.pfc, "testbed export pfc results/1/capture.pcapng -t two-dc -o pfc.txt"),
    (export_results.csv, "testbed export csv results/1 --table ports -o ports.csv"),
    (export_results.parquet, "testbed export parquet results/1 --table flows -o flows.parquet"),
    (export_results.inspector, "testbed export inspector results/1 -o collectives.jsonl"),
    (export_results.openmetrics, "testbed export openmetrics results/1 -o run.prom"),
):
    app.command(epilog=example(_example))(_command)
