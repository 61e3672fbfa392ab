"""Tables of SONiC's config_db.json: several files of one switch joined, and every value read with its line.

One JSON object: table → key → field → value, values being strings. Keys of groups and queues are `Ethernet0,Ethernet4|3-4`,
on a chassis `HOST|ASIC|Ethernet0|3-4`. (sonic-buildimage, src/sonic-yang-models/doc/Configuration.md.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from testbed.importers.draft import Remainder, natural
from testbed.importers.pg_profile import HIGHEST_ALPHA, LOWEST_ALPHA, Lookup, Profile
from testbed.importers.text import Text, line_of, read_json, shown
from testbed.units import parse_length

PRIORITIES = range(8)
MAX_PORTS = 1024
HIGHEST_QUEUE = 63
_MOST_BYTES = 2**48
_RANGE = re.compile(r"([0-9]{1,2})(?:-([0-9]{1,2}))?")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
NONE = ("", "NULL")

Row = Mapping[str, str]


@dataclass
class Tables:
    """The tables of one switch, and the file that each key of them is from."""

    name: str
    rows: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    origins: dict[tuple[str, str], Text] = field(default_factory=dict)
    files: list[Text] = field(default_factory=list)

    def table(self, name: str) -> Mapping[str, Row]:
        """Return a table, empty if there is none."""
        return self.rows.get(name, {})

    def place(self, table: str, key: str, *fields: str) -> tuple[Text, int]:
        """Return the file and the line of a key, or of a field of it."""
        text = self.origins.get((table, key), self.files[0])
        return text, line_of(text, table, key, *fields)

    def leave(self, remainder: Remainder, what: str, table: str, key: str, *fields: str) -> None:
        """Note something of a table that is left out."""
        text, line = self.place(table, key, *fields)
        remainder.add(what, text.file, line)

    def whole(self, table: str, key: str, field: str, low: int = 0, high: int = _MOST_BYTES) -> int | None:
        """Return a whole number, None where the field is not there; raise TopologyError for anything else."""
        value = self.table(table).get(key, {}).get(field)
        if value is None:
            return None
        if _WHOLE.fullmatch(value) is None or not low <= int(value) <= high:
            text, line = self.place(table, key, field)
            text.fail(line, f'{field} "{shown(value)}" is not a whole number from {low} to {high}')
        return int(value)

    def named(self, table: str, key: str, field: str) -> str:
        """Return the name that a field refers to, also as older releases write it: [TABLE|name]."""
        value = self.table(table).get(key, {}).get(field, "")
        if value.startswith("[") and value.endswith("]"):
            value = value[1:-1].rpartition("|")[2]
        return value

    def ranges(self, table: str) -> Iterator[tuple[str, int, str]]:
        """Yield port, group or queue, and the key, of a table whose keys name several of either."""
        for key in self.table(table):
            *before, numbers = key.split("|")
            match = _RANGE.fullmatch(numbers)
            if not before or match is None or int(match[2] or match[1]) > HIGHEST_QUEUE:
                text, line = self.place(table, key)
                text.fail(line, f'{table}: "{shown(key)}" is not a port and a range like Ethernet0|3-4')
            for port in dict.fromkeys(before[-1].split(",")):
                for number in range(int(match[1]), int(match[2] or match[1]) + 1):
                    yield port, number, key


def join(name: str, texts: Sequence[Text]) -> Tables:
    """Return the tables of files that describe one switch together; raise TopologyError where they contradict each other."""
    tables = Tables(name, files=list(texts))
    for text in texts:
        for table, keys in read_json(text).items():
            if not isinstance(keys, dict):
                text.fail(line_of(text, table), f"{shown(table)} is not a table")
            for key, row in keys.items():
                fields = _fields(text, table, key, row)
                known = tables.rows.setdefault(table, {}).setdefault(key, fields)
                if known is not fields:
                    for each, value in fields.items():
                        if known.setdefault(each, value) != value:
                            other = tables.origins[table, key].file
                            line = line_of(text, table, key, each)
                            text.fail(line, f"{table} {shown(key)}: {each} is another one in {other}")
                tables.origins.setdefault((table, key), text)
    hostname = tables.table("DEVICE_METADATA").get("localhost", {}).get("hostname", "")
    tables.name = hostname or name
    return tables


def _fields(text: Text, table: str, key: str, row: object) -> dict[str, str]:
    if not isinstance(row, dict):
        text.fail(line_of(text, table, key), f"{shown(table)} {shown(key)} is not a row of fields")
    fields: dict[str, str] = {}
    for name, value in row.items():
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            value = ",".join(value)
        if not isinstance(value, str):
            text.fail(line_of(text, table, key, name), f"{shown(table)} {shown(key)}: {shown(name)} is not text")
        fields[name] = value
    return fields


class Configuration:
    """What the tables of one switch say, port by port; ports have SONiC's names."""

    def __init__(self, tables: Tables, lookup: Lookup | None = None) -> None:
        self.tables = tables
        self.lookup = lookup
        self.groups = {(port, group): key for port, group, key in tables.ranges("BUFFER_PG")}
        self.egress = {(port, queue): key for port, queue, key in tables.ranges("BUFFER_QUEUE")}
        self.queues = {(port, queue): key for port, queue, key in tables.ranges("QUEUE")}

    def ports(self) -> list[str]:
        """Return the ports, as people count them."""
        ports = {*self.tables.table("PORT"), *(port for port, _ in (*self.groups, *self.queues))}
        ports |= self.tables.table("PORT_QOS_MAP").keys() - {"global"}
        ports |= self.tables.table("DEVICE_NEIGHBOR").keys()
        if len(ports) > MAX_PORTS:
            self.tables.files[0].fail(0, f"{len(ports)} ports; a switch has at most {MAX_PORTS}")
        return sorted(ports, key=natural)

    def neighbours(self) -> Mapping[str, Row]:
        """Return what is at the other end of each cable."""
        return self.tables.table("DEVICE_NEIGHBOR")

    def speed_mbps(self, port: str) -> int | None:
        """Return the speed of a port."""
        return self.tables.whole("PORT", port, "speed", 1, 10**8)

    def cable_mm(self, port: str) -> int | None:
        """Return the length of the cable of a port."""
        for key, row in self.tables.table("CABLE_LENGTH").items():
            if port in row:
                text, line = self.tables.place("CABLE_LENGTH", key, port)
                return text.quantity(line, row[port], "a cable", parse_length)
        return None

    def qos(self, port: str, field: str) -> tuple[str, str]:
        """Return what PORT_QOS_MAP says of a port or of all, and the key that says so."""
        for key in (port, "global"):
            if value := self.tables.named("PORT_QOS_MAP", key, field):
                return value, key
        return "", port

    def lossless(self, port: str) -> tuple[int, ...]:
        """Return the priorities that a port keeps from losing frames."""
        value, key = self.qos(port, "pfc_enable")
        words = [word.strip() for word in value.split(",") if word.strip()]
        if any(word not in "01234567" or len(word) != 1 for word in words):
            text, line = self.tables.place("PORT_QOS_MAP", key, "pfc_enable")
            text.fail(line, f'pfc_enable "{shown(value)}" is not a list of priorities like 3,4')
        return tuple(sorted({int(word) for word in words}))

    def group_of(self, port: str, priority: int) -> int:
        """Return the priority group of a lossless priority: what its traffic is charged to by the map, else its own number."""
        name, _ = self.qos(port, "tc_to_pg_map")
        group = self.tables.whole("TC_TO_PRIORITY_GROUP_MAP", name, str(priority), 0, 7) if name else None
        return priority if group is None else group

    def queue_of(self, port: str, priority: int) -> int:
        """Return the queue of a priority: by the maps, else its own number."""
        for field_name, table in (
            ("tc_to_queue_map", "TC_TO_QUEUE_MAP"),
            ("pfc_to_queue_map", "MAP_PFC_PRIORITY_TO_QUEUE"),
        ):
            name, _ = self.qos(port, field_name)
            queue = self.tables.whole(table, name, str(priority), 0, HIGHEST_QUEUE) if name else None
            if queue is not None:
                return queue
        return priority

    def pool(self) -> tuple[str, Row]:
        """Return name and row of the ingress pool that lossless groups draw on; empty where there is none."""
        pools = self.tables.table("BUFFER_POOL")
        ingress = {name: row for name, row in pools.items() if row.get("type") in ("ingress", "both")}
        for name in sorted(ingress, key=lambda each: ("lossless" not in each, each)):
            return name, ingress[name]
        return "", {}

    def profile_of(self, table: str, key: str) -> str:
        """Return the name of the profile of a group or a queue; empty where it is made at run time."""
        name = self.tables.named(table, key, "profile")
        return "" if name in NONE else name

    def group_profile(self, port: str, group: int, speed_mbps: int, cable_mm: int) -> Profile | None:
        """Return the thresholds of a lossless group, None where nothing says them.

        They are those of its profile; where it has none, or `NULL`, those of the look-up table, or of the default exponent.
        """
        key = self.groups.get((port, group))
        name = self.profile_of("BUFFER_PG", key) if key else ""
        if name:
            return self._stated(name, key or "")
        _, pool = self.pool()
        mode = pool.get("mode")
        if self.lookup is not None:
            return self.lookup.profile(speed_mbps, cable_mm, None if mode is None else mode == "static")
        table = "DEFAULT_LOSSLESS_BUFFER_PARAMETER"
        for row in self.tables.table(table):
            exponent = self.tables.whole(table, row, "default_dynamic_th", LOWEST_ALPHA, HIGHEST_ALPHA)
            if exponent is not None:
                return Profile(alpha_log2=exponent)
        return None

    def _stated(self, name: str, key: str) -> Profile:
        table = "BUFFER_PROFILE"
        if name not in self.tables.table(table):
            text, line = self.tables.place("BUFFER_PG", key, "profile")
            text.fail(line, f'no profile is called "{shown(name)}"')
        exponent = self.tables.whole(table, name, "dynamic_th", LOWEST_ALPHA, HIGHEST_ALPHA)
        static = self.tables.whole(table, name, "static_th")
        if (exponent is None) == (static is None):
            text, line = self.tables.place(table, name)
            text.fail(line, f"{shown(name)} has either a dynamic_th or a static_th")
        return Profile(
            reserve_bytes=self.tables.whole(table, name, "size") or 0,
            alpha_log2=exponent,
            static_bytes=static,
            xon_bytes=self.tables.whole(table, name, "xon") or 0,
            xon_offset_bytes=self.tables.whole(table, name, "xon_offset"),
            headroom_bytes=self.tables.whole(table, name, "xoff"),
        )
