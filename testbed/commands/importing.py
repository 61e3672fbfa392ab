"""testbed import: files of other tools as labs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from testbed.commands import completion
from testbed.commands.common import DEFAULT_COLLECTIVE, ForceOption, OutOption, keep_existing, print_note, write_out
from testbed.commands.help import example
from testbed.errors import TopologyError, UsageError, nearest
from testbed.experiment.file import experiment_from
from testbed.importers.draft import Imported, Left, link_rules
from testbed.importers.onto import LabPort, LabSwitch
from testbed.importers.topohub import MOST_HOSTS
from testbed.importers.writing import yaml_text
from testbed.lab.topology import lab_from, lab_source
from testbed.schema.source import Source, read_yaml

app = typer.Typer(help="Read a file of another tool as a lab.", no_args_is_help=True)

StrictOption = Annotated[bool, typer.Option("--strict", help="fail if anything is left out")]
LabNameOption = Annotated[str | None, typer.Option("--name", help="name of the lab", show_default="that of the file")]
RateOption = Annotated[str | None, typer.Option("--rate", help="rate of links that name none: 400G")]
LengthOption = Annotated[str | None, typer.Option("--length", help="length of links that name none: 20m")]
OntoOption = Annotated[
    str | None,
    typer.Option("--onto", help="lab to complete: a file, or a name", autocompletion=completion.topology),
]
LinkOption = Annotated[
    list[str] | None,
    typer.Option("--link", help='settings of links by pattern: "leaf*:spine* rate=400G length=2km"; may be repeated'),
]


@app.command(epilog=example("testbed import hpcc topology.txt config.txt -o lab.yaml"))
def hpcc(
    topology: Annotated[
        Path, typer.Argument(metavar="TOPOLOGY.txt", help="topology.txt of a simulator of the HPCC family")
    ],
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG.txt", help="its config.txt: buffers, marking, DCQCN")
    ] = None,
    out: OutOption = None,
    experiment: Annotated[
        Path | None, typer.Option("--experiment", help="file for what the configuration says of marking and transport")
    ] = None,
    name: LabNameOption = None,
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Read topology.txt, and config.txt if it is named, of ns-3 as HPCC, LCMP and SimAI have it."""
    from testbed.importers.hpcc import read_hpcc
    from testbed.importers.hpcc_config import read_config
    from testbed.importers.text import read_text

    imported = read_hpcc(read_text(topology), read_config(read_text(config)) if config else None)
    _finish(imported, out, strict, force, name, experiment)


@app.command(epilog=example("testbed import clab fabric.clab.yml --kind-map nokia_srlinux=switch -o lab.yaml"))
def clab(
    topology: Annotated[Path, typer.Argument(metavar="NAME.clab.yml", help="topology of containerlab")],
    out: OutOption = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind-map", help="what kinds or nodes become: nokia_srlinux=switch,client1=host,gw=skip"),
    ] = None,
    rate: RateOption = None,
    length: LengthOption = None,
    link: LinkOption = None,
    name: LabNameOption = None,
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Read a topology of containerlab; rates and lengths stand in the vars of its links, or in options."""
    from testbed.importers.clab import kind_map, read_clab

    rules = link_rules(rate, length, link or [])
    imported = read_clab(read_yaml(topology, TopologyError), kind_map(kinds or []), rules)
    _finish(imported, out, strict, force, name)


@app.command(epilog=example("testbed import htsim fat-tree.topo -o lab.yaml"))
def htsim(
    topology: Annotated[Path, typer.Argument(metavar="FILE.topo", help="fat tree of htsim")],
    out: OutOption = None,
    name: LabNameOption = None,
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Read a fat tree of htsim, in two or three tiers."""
    from testbed.importers.htsim import read_htsim
    from testbed.importers.text import read_text

    _finish(read_htsim(read_text(topology)), out, strict, force, name)


@app.command(epilog=example("testbed import slurm topology.conf --rate 400G -o lab.yaml"))
def slurm(
    topology: Annotated[Path, typer.Argument(metavar="FILE", help="topology.conf of Slurm")],
    out: OutOption = None,
    rate: RateOption = None,
    length: LengthOption = None,
    link: LinkOption = None,
    name: LabNameOption = None,
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Read topology.conf of Slurm, a tree of switches or blocks; rates and lengths are given by options."""
    from testbed.importers.slurm import read_slurm
    from testbed.importers.text import read_text

    _finish(read_slurm(read_text(topology), link_rules(rate, length, link or [])), out, strict, force, name)


@app.command(epilog=example("testbed import topohub sndlib/polska -o lab.yaml"))
def topohub(
    topology: Annotated[
        str,
        typer.Argument(metavar="FAMILY/NAME", help="as sndlib/polska", autocompletion=completion.wide_area_topology),
    ],
    out: OutOption = None,
    hosts: Annotated[int, typer.Option(min=0, max=MOST_HOSTS, help="hosts at each site")] = 1,
    rate: RateOption = None,
    length: LengthOption = None,
    link: LinkOption = None,
    name: LabNameOption = None,
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Read a wide-area topology with its distances from the package topohub (extra `topologies`)."""
    from testbed.importers.topohub import find, read_topohub

    _finish(read_topohub(find(topology), hosts, link_rules(rate, length, link or [])), out, strict, force, name)


@app.command(epilog=example("testbed import sonic configurations -o lab.yaml"))
def sonic(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|FILE",
            help="directory with a config_db.json for each switch; with --onto, the files of one switch",
        ),
    ],
    out: OutOption = None,
    onto: OntoOption = None,
    switch: Annotated[
        str | None, typer.Option("--switch", help="switch of that lab that the files describe, as buffers or QoS alone")
    ] = None,
    ports: Annotated[
        list[str] | None, typer.Option("--port", help="port of that switch by its name in SONiC: eth1=Ethernet48")
    ] = None,
    rate: RateOption = None,
    length: LengthOption = None,
    link: LinkOption = None,
    name: LabNameOption = None,
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Read configurations of SONiC: pools, profiles, thresholds, marks, schedulers, watchdog, cables and neighbours."""
    from testbed.importers import onto as completing
    from testbed.importers.sonic_fabric import configuration, read_directory, read_sonic

    rules = link_rules(rate, length, link or [])
    if onto is None:
        if switch is not None or ports:
            raise UsageError("--switch and --port go with --onto LAB.yaml, the lab that the files complete")
        if len(files) != 1 or not os.path.isdir(files[0]):
            raise UsageError("name one directory, or with --onto LAB.yaml --switch NAME the files of one switch")
        _finish(read_sonic(read_directory(files[0]), str(files[0]), rules), out, strict, force, name)
        return
    if switch is None:
        raise UsageError("--onto needs --switch: the switch that the files describe")
    if rules:
        raise UsageError("--rate, --length and --link: the lab that is completed says what its links are like")
    source, switches = _switches(onto, [switch])
    config = configuration(switch, files)
    _finish(
        completing.sonic_onto(source, switches[0], config, completing.port_map(ports or [])), out, strict, force, name
    )


@app.command(
    "pg-profile", epilog=example("testbed import pg-profile pg_profile_lookup.ini --onto lab.yaml -o completed.yaml")
)
def pg_profile(
    table: Annotated[Path, typer.Argument(metavar="FILE.ini", help="pg_profile_lookup.ini of SONiC")],
    onto: Annotated[
        str, typer.Option("--onto", help="lab to complete: a file, or a name", autocompletion=completion.topology)
    ],
    out: OutOption = None,
    switch: Annotated[
        list[str] | None, typer.Option("--switch", help="switch that the table is for, instead of all; may be repeated")
    ] = None,
    name: LabNameOption = None,
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Read thresholds by speed and cable, and give them to the ports of a lab whose links are of that rate and length."""
    from testbed.importers.onto import lookup_onto
    from testbed.importers.pg_profile import read_lookup
    from testbed.importers.text import read_text

    source, switches = _switches(onto, switch or [])
    _finish(lookup_onto(source, switches, read_lookup(read_text(table))), out, strict, force, name)


def _switches(spec: str, names: list[str]) -> tuple[Source, list[LabSwitch]]:
    """Return the data of a lab, and those of its switches that are named, or all of them."""
    source = lab_source(spec)
    lab = lab_from(source)
    known = {switch.name: switch for switch in lab.switches}
    for each in names:
        if each not in known:
            raise UsageError(f'{spec} has no switch "{each}"{nearest(each, known)}')
    switches = []
    for each in names or known:
        adjacent = zip(lab.ports[each], lab.adjacent[each], strict=True)
        ports = tuple(LabPort(port, far.node, far.link.rate_bps, far.link.length_mm) for port, far in adjacent)
        switches.append(LabSwitch(each, ports, known[each].lossless))
    return source, switches


def _finish(
    imported: Imported, out: Path | None, strict: bool, force: bool, name: str | None, experiment: Path | None = None
) -> None:
    """Check a lab that was read, write it, and say what was taken and what was left out."""
    keep_existing([path for path in (out, experiment) if path], force)
    if name is not None:
        imported.source.data["name"] = name
    left = imported.left
    if imported.experiment and experiment is None:
        sections = " and ".join(imported.experiment)
        left = (
            *left,
            Left(f"settings of an experiment, {sections}; --experiment FILE takes them", imported.source.file, 0),
        )
    imported = Imported(imported.source, imported.took, left, imported.notes, imported.experiment)
    if strict:
        imported.require_all()
    lab_from(imported.source)
    text = yaml_text(imported.source.data, f"From {Path(imported.source.file).name}, by testbed import.")
    written = [(text, out)]
    if experiment is not None:
        written.append((_experiment(imported.experiment, out, experiment), experiment))
    for text, path in written:
        write_out(text, path)
    print_note(imported.summary())


def _experiment(sections: dict[str, Any], lab: Path | None, beside: Path) -> str:
    """Return an experiment on the lab as a file, after reading it as such."""
    if lab is None:
        raise UsageError("--experiment names the lab by its file: give that one with -o")
    data = {"topology": os.path.relpath(lab, beside.parent), "workload": {"collective": DEFAULT_COLLECTIVE}, **sections}
    experiment_from(Source(str(beside), data))
    return yaml_text(data, "By testbed import.")
