"""A lab that is there, completed: the settings of one switch from a configuration that describes no links."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from testbed.errors import TopologyError, UsageError, nearest
from testbed.importers.draft import Imported, Remainder, counted, safe_name
from testbed.importers.pg_profile import Lookup
from testbed.importers.sonic import Configuration
from testbed.importers.sonic_switch import PortView, SwitchSettings
from testbed.importers.text import shown
from testbed.importers.thresholds import hoisted
from testbed.schema.source import Source
from testbed.units import format_length, format_rate

_MB = 10**6


@dataclass(frozen=True)
class LabPort:
    """A port of a switch of a lab: its name, the node at the far end, the rate, and the length if one was said."""

    port: str
    neighbour: str
    rate_bps: int
    length_mm: int | None


@dataclass(frozen=True)
class LabSwitch:
    """A switch of a lab with its ports that have a link, and the priorities that it keeps."""

    name: str
    ports: tuple[LabPort, ...]
    lossless: tuple[int, ...]


def port_map(entries: Iterable[str]) -> dict[str, str]:
    """Read `eth1=Ethernet48`; raise UsageError for what is not that."""
    port_map: dict[str, str] = {}
    for entry in (part for text in entries for part in text.split(",") if part):
        port, equals, ethernet = entry.partition("=")
        if not port or not equals or not ethernet or port in port_map:
            raise UsageError(f'--port "{shown(entry)}": write it like eth1=Ethernet48, each port once')
        port_map[port] = ethernet
    return port_map


def sonic_onto(source: Source, switch: LabSwitch, config: Configuration, said: Mapping[str, str]) -> Imported:
    """Return a lab whose switch is as a configuration says; `said` are ports of the lab by their names in SONiC."""
    views = _views(switch, config, said)
    remainder = Remainder()
    settings = SwitchSettings(config, views, remainder).settings()
    files = counted(len(config.tables.files) + (config.lookup is not None), "file")
    names = ", ".join(f"{view.port} is {view.ethernet}" for view in views[:4])
    more = f" and {len(views) - 4} more" if len(views) > 4 else ""
    took = (f"{counted(len(settings), 'setting')} of switch {switch.name} from {files}",)
    notes = [names + more]
    other = [(view, cable) for view in views if (cable := config.cable_mm(view.ethernet)) not in (None, view.length_mm)]
    if other:
        view, cable = other[0]
        notes.append(
            f"{counted(len(other), 'cable')} of another length than in the lab: {view.ethernet} {format_length(cable or 0)}"
        )
    return Imported(_completed(source, {switch.name: settings}), took, remainder.all(), tuple(notes))


def _views(switch: LabSwitch, config: Configuration, said: Mapping[str, str]) -> list[PortView]:
    """Match the ports of a switch: as said, by the neighbour that both name, and the rest in their order."""
    known = config.ports()
    for port, ethernet in said.items():
        ports = [each.port for each in switch.ports]
        if port not in ports:
            raise UsageError(f'--port: {switch.name} has no link on "{shown(port)}"{nearest(port, ports)}')
        if ethernet not in known:
            raise UsageError(f'--port: no file speaks of "{shown(ethernet)}"{nearest(ethernet, known)}')
    by_name: dict[str, list[str]] = {}
    for ethernet, row in config.neighbours().items():
        by_name.setdefault(safe_name(row.get("name", "")), []).append(ethernet)
    names = dict(said)
    for each in switch.ports:
        there = by_name.get(each.neighbour, [])
        if each.port not in names and len(there) == 1 and there[0] not in names.values():
            names[each.port] = there[0]
    free = iter([port for port in known if port not in names.values() and config.lossless(port)])
    for each in switch.ports:
        if each.port not in names and (unused := next(free, None)) is not None:
            names[each.port] = unused
    missing = [each.port for each in switch.ports if each.port not in names]
    if missing:
        message = f"{switch.name} has {len(switch.ports)} ports, and no port with pfc_enable is left for {missing[0]}"
        raise TopologyError.at(config.tables.files[0].file, "", f"{message}; name one with --port")
    return [PortView(each.port, names[each.port], each.rate_bps, each.length_mm) for each in switch.ports]


def lookup_onto(source: Source, switches: Sequence[LabSwitch], lookup: Lookup) -> Imported:
    """Return a lab whose switches have the thresholds that a table gives for the rate and the length of each link."""
    remainder = Remainder()
    settings: dict[str, dict[str, Any]] = {}
    count = 0
    for switch in switches:
        groups: dict[tuple[str, int], dict[str, Any]] = {}
        for each in switch.ports:
            profile = None
            if each.length_mm is not None and each.rate_bps % _MB == 0:
                profile = lookup.profile(each.rate_bps // _MB, each.length_mm, None)
            if profile is None:
                length = "a delay of its own" if each.length_mm is None else format_length(each.length_mm)
                what = f"{switch.name}:{each.port}, of which no row speaks: {format_rate(each.rate_bps)}, {length}"
                remainder.add(what, lookup.text.file, 0)
                continue
            if profile.not_carried:
                remainder.add(profile.not_carried, lookup.text.file, 0)
            groups[each.port, 0] = profile.thresholds()
        if groups:
            count += len(groups)
            settings[switch.name] = {"buffer": "auto", "thresholds": hoisted(groups)}
    took = (f"thresholds of {counted(count, 'port')} of {counted(len(settings), 'switch', 'switches')}",)
    return Imported(_completed(source, settings), took, remainder.all())


def _completed(source: Source, settings: Mapping[str, Mapping[str, Any]]) -> Source:
    """Return the data of a lab with settings of switches in the place of what it said."""
    data = copy.deepcopy(source.data)
    nodes = data["topology"]["nodes"]
    for name, entry in settings.items():
        nodes[name] = {**nodes[name], **entry}
    return replace(source, data=data)
