"""A fabric of SONiC switches, a configuration each: their neighbours say how they are cabled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed.errors import TopologyError
from testbed.importers.draft import Draft, Imported, LinkRule, natural, safe_name
from testbed.importers.pg_profile import read_lookup
from testbed.importers.sonic import Configuration, join
from testbed.importers.sonic_switch import PortView, SwitchSettings
from testbed.importers.text import Text, read_text, shown
from testbed.units import format_length, format_rate, parse_length

MAX_FILES = 4096
_MB = 10**6
_SWITCH_TYPES = ("router", "switch", "leaf", "spine", "tor", "fabric")

End = tuple[str, str]


def read_directory(folder: Path) -> list[Configuration]:
    """Return the configurations of a directory: a JSON file or a folder of them for each switch, and look-up tables.

    A table beside the files holds for every switch that has none of its own. Raises TopologyError where there is none, or
    too many files.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda path: natural(path.name))
        files: list[tuple[str, list[Path]]] = []
        for entry in entries:
            if entry.is_dir():
                inside = sorted(path for path in entry.iterdir() if path.suffix in (".json", ".ini"))
                if any(path.suffix == ".json" for path in inside):
                    files.append((entry.name, inside))
            elif entry.suffix == ".json":
                files.append((entry.stem, [entry]))
    except OSError as error:
        raise TopologyError.at(str(folder), "", error.strerror or str(error)) from None
    shared = [path for path in entries if path.suffix == ".ini" and path.is_file()]
    if not files:
        raise TopologyError.at(str(folder), "", "no file NAME.json and no folder with one, as NAME/config_db.json")
    if sum(len(paths) for _, paths in files) > MAX_FILES:
        raise TopologyError.at(str(folder), "", f"more than {MAX_FILES} files")
    return [configuration(name, paths, shared) for name, paths in files]


def configuration(name: str, paths: Sequence[Path], shared: Sequence[Path] = ()) -> Configuration:
    """Return the configuration of one switch from its files."""
    own = [path for path in paths if path.suffix == ".ini"]
    lookups = own or list(shared)
    if len(lookups) > 1:
        raise TopologyError.at(str(lookups[1]), "", f"a second look-up table beside {lookups[0]}")
    lookup = read_lookup(read_text(lookups[0])) if lookups else None
    texts = [read_text(path) for path in paths if path.suffix != ".ini"]
    return Configuration(join(name, texts or [Text(str(lookups[0]), "{}")]), lookup)


def read_sonic(configs: Sequence[Configuration], file: str, rules: Sequence[LinkRule] = ()) -> Imported:
    """Return the lab of a fabric; what a neighbour without a configuration is, DEVICE_NEIGHBOR_METADATA says."""
    draft = Draft(file, Path(file).name, rules)
    switches: dict[str, Configuration] = {}
    for config in configs:
        name = safe_name(config.tables.name)
        if name in switches:
            config.tables.files[0].fail(0, f'a second switch is called "{name}"')
        switches[name] = config
    others = _others(switches)
    for name in sorted((each for each, kind in others.items() if kind == "host"), key=natural):
        draft.node(name, "host", 0)
    for name in switches:
        draft.node(name, "switch", 0)
    for name in sorted((each for each, kind in others.items() if kind == "switch"), key=natural):
        draft.node(name, "switch", 0)
    ports = _cable(draft, switches)
    for name, config in switches.items():
        views = ports.get(name, [])
        if not views:
            config.tables.files[0].fail(0, f"{name} has no neighbour in DEVICE_NEIGHBOR, so that it has no link")
        settings = SwitchSettings(config, views, draft.remainder).settings()
        draft.nodes[name] |= settings
    return draft.imported()


def _others(switches: Mapping[str, Configuration]) -> dict[str, str]:
    """Return the neighbours that have no configuration, and whether each is a host or a switch."""
    others: dict[str, str] = {}
    for config in switches.values():
        types = {
            safe_name(name): row.get("type", "").lower()
            for name, row in config.tables.table("DEVICE_NEIGHBOR_METADATA").items()
        }
        for row in config.neighbours().values():
            name = safe_name(row.get("name", ""))
            if name and name not in switches:
                kind = types.get(name, "")
                is_switch = "server" not in kind and any(word in kind for word in _SWITCH_TYPES)
                if is_switch or name not in others:
                    others[name] = "switch" if is_switch else "host"
    return others


def _cable(draft: Draft, switches: Mapping[str, Configuration]) -> dict[str, list[PortView]]:
    """Add a link for each cable, and return the ports of each switch that have one."""
    ports = {
        name: {port: place for place, port in enumerate(sorted(config.neighbours(), key=natural), start=1)}
        for name, config in switches.items()
    }
    port_views: dict[str, list[PortView]] = {}
    done: set[End] = set()
    for name, config in switches.items():
        for port in ports[name]:
            if (name, port) in done:
                continue
            row = config.neighbours()[port]
            text, line = config.tables.place("DEVICE_NEIGHBOR", port)
            far = safe_name(row.get("name", ""))
            if not far or far == name:
                text.fail(line, f'{shown(port)}: the neighbour "{shown(row.get("name", ""))}" cannot be')
            there = _port_there(switches.get(far), row.get("port", ""), name, port)
            if far in switches and (there is None or (far, there) in done):
                text.fail(line, f"{shown(port)} leads to {far}, which names no port that leads back")
            ends: list[End] = [(name, port), *([(far, there)] if there else [])]
            done.update(ends)
            settings, rate, length = _settings([(switches[node], each) for node, each in ends])
            numbers = (ports[name][port], ports[far][there] if there else 0)
            draft.link(name, far, line, numbers, **settings)
            for node, each in ends:
                port_views.setdefault(node, []).append(PortView(f"eth{ports[node][each]}", each, rate, length))
    return port_views


def _port_there(far: Configuration | None, said: str, name: str, port: str) -> str | None:
    """Return the port of a neighbour that leads back to a port; None if it has no configuration, or none does."""
    if far is None:
        return None
    back = {each: row for each, row in far.neighbours().items() if safe_name(row.get("name", "")) == name}
    aliases = {row.get("alias", ""): each for each, row in far.tables.table("PORT").items()}
    for each in (said, aliases.get(said, "")):
        if each in back:
            return each
    named = [each for each, row in back.items() if row.get("port") == port]
    return named[0] if len(named) == 1 else None


def _settings(ends: Sequence[tuple[Configuration, str]]) -> tuple[dict[str, str | int], int, int | None]:
    """Return what the ends of a cable say of it, and its rate and length; raise TopologyError where they disagree."""
    said: dict[str, tuple[str | int, str]] = {}
    for config, port in ends:
        length, speed = config.cable_mm(port), config.speed_mbps(port)
        mtu = config.tables.whole("PORT", port, "mtu", 576, 65_535)
        said_here: dict[str, str | int | None] = {
            "rate": None if speed is None else format_rate(speed * _MB),
            "length": None if length is None else format_length(length),
            "mtu": mtu,
        }
        for key, value in said_here.items():
            if value is None:
                continue
            where = f"{config.tables.name} {port}"
            known, there = said.setdefault(key, (value, where))
            if known != value:
                text, line = config.tables.place("DEVICE_NEIGHBOR", port)
                text.fail(line, f"{key} {value} at {shown(where)}, and {known} at {shown(there)}")
    settings = {key: value for key, (value, _) in said.items()}
    rate = next((config.speed_mbps(port) for config, port in ends if config.speed_mbps(port)), None)
    length = parse_length(settings["length"]) if "length" in settings else None
    return settings, (rate or 100_000) * _MB, length
