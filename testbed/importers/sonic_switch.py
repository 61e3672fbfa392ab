"""What the configuration of a SONiC switch comes to in the words of a lab file, port by port where ports differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

from testbed.importers.draft import Remainder
from testbed.importers.pg_profile import HIGHEST_ALPHA, LOWEST_ALPHA
from testbed.importers.sonic import PRIORITIES, Configuration
from testbed.importers.sonic_maps import maps
from testbed.importers.text import shown
from testbed.importers.thresholds import hoisted
from testbed.units import format_length, format_size

Value = TypeVar("Value")
_MB = 10**6
# Tables that say nothing of what a lab models, and those that are read elsewhere.
_READ = frozenset(
    (
        "PORT",
        "CABLE_LENGTH",
        "BUFFER_POOL",
        "BUFFER_PROFILE",
        "BUFFER_PG",
        "BUFFER_QUEUE",
        "PORT_QOS_MAP",
        "QUEUE",
        "SCHEDULER",
        "WRED_PROFILE",
        "PFC_WD",
        "DEFAULT_LOSSLESS_BUFFER_PARAMETER",
        "LOSSLESS_TRAFFIC_PATTERN",
        "DEVICE_NEIGHBOR",
        "DEVICE_NEIGHBOR_METADATA",
        "DEVICE_METADATA",
        "MAP_PFC_PRIORITY_TO_QUEUE",
        "PFC_PRIORITY_TO_PRIORITY_GROUP_MAP",
        "TC_TO_PRIORITY_GROUP_MAP",
        "TC_TO_QUEUE_MAP",
        "DSCP_TO_TC_MAP",
    )
)


@dataclass(frozen=True)
class PortView:
    """A port of a lab, `eth1`, its name in SONiC, and what the lab says of its link; a length of None is not known."""

    port: str
    ethernet: str
    rate_bps: int
    length_mm: int | None


def _together(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return both mappings as one, key by key."""
    both = dict(one)
    for key, value in other.items():
        below = both.get(key)
        both[key] = _together(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return both


class SwitchSettings:
    """The settings of one switch in the making."""

    def __init__(self, config: Configuration, views: Sequence[PortView], remainder: Remainder) -> None:
        self.config = config
        self.tables = config.tables
        self.views = views
        self.remainder = remainder

    def settings(self) -> dict[str, Any]:
        """Return what the switch is given in a lab file."""
        lossless = self._lossless()
        ports = [view.ethernet for view in self.views]
        settings: dict[str, Any] = maps(self.config, ports, lossless, self.remainder)
        if lossless:
            settings["lossless"] = list(lossless)
            groups = self._groups(lossless)
            marks = self._queue_marks()
            if groups:
                settings |= self._pools(groups)
            if thresholds := _together(hoisted(groups), hoisted(marks)):
                settings["thresholds"] = thresholds
        settings |= self._lossy(lossless)
        if weights := self._weights():
            settings["weights"] = weights
        if watchdog := self._watchdog():
            settings["watchdog"] = watchdog
        for table in self.tables.rows:
            if table not in _READ:
                self.remainder.add(f"table {shown(table)}", *self._first(table))
        return settings

    def _first(self, table: str) -> tuple[str, int]:
        text, line = self.tables.place(table, next(iter(self.tables.table(table)), ""))
        return text.file, line

    def _lossless(self) -> tuple[int, ...]:
        by_port = {view.ethernet: self.config.lossless(view.ethernet) for view in self.views}
        lossless = tuple(sorted({priority for each in by_port.values() for priority in each}))
        for port, priorities in by_port.items():
            if priorities != lossless:
                said = ",".join(map(str, priorities)) or "none"
                self._leave(f"pfc_enable {said} of single ports", "PORT_QOS_MAP", port)
        return lossless

    def _leave(self, what: str, table: str, key: str, *fields: str) -> None:
        self.tables.leave(self.remainder, what, table, key, *fields)

    def _groups(self, lossless: Sequence[int]) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the thresholds of each lossless priority group at each port."""
        groups: dict[tuple[str, int], dict[str, Any]] = {}
        small = self._small_share()
        for view in self.views:
            for priority in self.config.lossless(view.ethernet):
                group = self.config.group_of(view.ethernet, priority)
                speed, cable = self._link(view)
                profile = self.config.group_profile(view.ethernet, group, speed, cable)
                if profile is None:
                    what = f"thresholds for {speed} Mb/s and {format_length(cable)}, which no table has"
                    self._leave(what, "PORT_QOS_MAP", view.ethernet)
                    continue
                if profile.not_carried:
                    self._leave(profile.not_carried, "BUFFER_PG", self.config.groups.get((view.ethernet, group), ""))
                groups[view.port, group] = {**profile.thresholds(), **small}
        return groups

    def _queue_marks(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the marks of each lossless queue at each port, empty where there are none."""
        marks: dict[tuple[str, int], dict[str, Any]] = {}
        for view in self.views:
            for priority in self.config.lossless(view.ethernet):
                queue = self.config.queue_of(view.ethernet, priority)
                said = self._marks(view.ethernet, queue)
                marks[view.port, queue] = {"ecn": said} if said else {}
        return marks

    def _link(self, view: PortView) -> tuple[int, int]:
        """Return speed in Mb/s and length in mm of a link: as SONiC says, else as the lab does."""
        speed = self.config.speed_mbps(view.ethernet) or view.rate_bps // _MB
        length = self.config.cable_mm(view.ethernet)
        return speed, (view.length_mm or 0) if length is None else length

    def _small_share(self) -> dict[str, int]:
        table = "LOSSLESS_TRAFFIC_PATTERN"
        for key in self.tables.table(table):
            percent = self.tables.whole(table, key, "small_packet_percentage", 0, 100)
            if percent is not None:
                return {"small-share": percent}
        return {}

    def _marks(self, port: str, queue: int) -> dict[str, Any]:
        """Return the marks of a queue; empty where it has none."""
        key = self.config.queues.get((port, queue))
        name = self.tables.named("QUEUE", key, "wred_profile") if key else ""
        if not key or not name:
            return {}
        table = "WRED_PROFILE"
        if name not in self.tables.table(table):
            text, line = self.tables.place("QUEUE", key, "wred_profile")
            text.fail(line, f'no WRED profile is called "{shown(name)}"')
        row = self.tables.table(table)[name]
        low, high = (self.tables.whole(table, name, f"green_{each}_threshold") for each in ("min", "max"))
        percent = self.tables.whole(table, name, "green_drop_probability", 0, 100)
        is_marked = row.get("ecn") in ("ecn_green", "ecn_green_yellow", "ecn_green_red", "ecn_all")
        if not is_marked or row.get("wred_green_enable") != "true" or low is None or high is None or percent is None:
            self._leave(f"WRED profile {shown(name)}, which does not mark green frames", table, name)
            return {}
        if low > high:
            text, line = self.tables.place(table, name, "green_min_threshold")
            text.fail(line, f"green_min_threshold {low} is above green_max_threshold {high}")
        return {"kmin": format_size(low), "kmax": format_size(high), "pmax": percent / 100}

    def _pools(self, groups: Mapping[tuple[str, int], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the memory: pools as they are said, and beside them what reserves and lossy queues need."""
        name, _ = self.config.pool()
        pools: dict[str, Any] = {"buffer": "auto"}
        if not name or not any("alpha" in each for each in groups.values()):
            return pools
        for key, field in (("pool", "size"), ("headroom-pool", "xoff")):
            size = self.tables.whole("BUFFER_POOL", name, field)
            if size:
                pools[key] = format_size(size)
        return pools

    def _lossy(self, lossless: Sequence[int]) -> dict[str, Any]:
        """Return the limits of lossy queues, which are those of all of them or none."""
        said: list[tuple[str, str]] = []
        for (port, queue), key in self.config.egress.items():
            if not any(view.ethernet == port for view in self.views):
                continue
            name = self.config.profile_of("BUFFER_QUEUE", key)
            if name and name not in self.tables.table("BUFFER_PROFILE"):
                text, line = self.tables.place("BUFFER_QUEUE", key, "profile")
                text.fail(line, f'no profile is called "{shown(name)}"')
            if queue in lossless and name:
                self._unlimited(name, "limits of lossless queues at egress")
            elif name:
                said.append((name, key))
        for (port, _), key in self.config.groups.items():
            name = self.config.profile_of("BUFFER_PG", key)
            numbers = {group for each, group in self.config.groups if each == port and group in lossless}
            if name and not numbers and name in self.tables.table("BUFFER_PROFILE"):
                self._unlimited(name, "limits of lossy groups at ingress")
        if not said:
            return {}
        name, _ = self._agreed([(each, key) for each, key in said], "BUFFER_QUEUE", "limits of single lossy queues")
        return self._lossy_limit(name)

    def _unlimited(self, name: str, what: str) -> None:
        """Note a limit unless it is no less than the pool that it is of."""
        static = self.tables.whole("BUFFER_PROFILE", name, "static_th")
        pool = self.tables.named("BUFFER_PROFILE", name, "pool")
        size = self.tables.whole("BUFFER_POOL", pool, "size")
        if static is None or size is None or static < size:
            self._leave(f"{what}: {shown(name)}", "BUFFER_PROFILE", name)

    def _lossy_limit(self, name: str) -> dict[str, Any]:
        table = "BUFFER_PROFILE"
        lossy_limit: dict[str, Any] = {}
        exponent = self.tables.whole(table, name, "dynamic_th", LOWEST_ALPHA, HIGHEST_ALPHA)
        static = self.tables.whole(table, name, "static_th")
        if exponent is not None:
            lossy_limit["lossy-alpha"] = str(Fraction(2) ** exponent)
            lossy_limit["lossy-reserve"] = format_size(self.tables.whole(table, name, "size") or 0)
        elif static is not None:
            lossy_limit["lossy-queue"] = format_size(static)
        size = self.tables.whole("BUFFER_POOL", self.tables.named(table, name, "pool"), "size")
        if size and exponent is not None:
            lossy_limit["lossy-pool"] = format_size(size)
        return lossy_limit

    def _agreed(self, said: Sequence[tuple[Value, str]], table: str, what: str) -> tuple[Value, str]:
        """Return what most keys of a table say; note the others."""
        usual = Counter(value for value, _ in said).most_common(1)[0][0]
        for value, key in said:
            if value != usual:
                self._leave(what, table, key)
        return next(each for each in said if each[0] == usual)

    def _weights(self) -> dict[int, int]:
        """Return the weights by priority, which are those of all ports."""
        by_port: list[tuple[tuple[int, ...], str]] = []
        for view in self.views:
            weights = [0] * len(PRIORITIES)
            last = ""
            for queue in PRIORITIES:
                key = self.config.queues.get((view.ethernet, queue))
                name = self.tables.named("QUEUE", key, "scheduler") if key else ""
                if not key or not name:
                    continue
                last = key
                weights[queue] = self._weight(name, key)
            if last:
                by_port.append((tuple(weights), last))
        if not by_port:
            return {}
        usual, _ = self._agreed(by_port, "QUEUE", "schedulers of single ports")
        return {priority: weight for priority, weight in enumerate(usual) if weight}

    def _weight(self, name: str, key: str) -> int:
        table = "SCHEDULER"
        if name not in self.tables.table(table):
            text, line = self.tables.place("QUEUE", key, "scheduler")
            text.fail(line, f'no scheduler is called "{shown(name)}"')
        for field in ("pir", "cir"):
            if self.tables.table(table)[name].get(field):
                self._leave(f"rates of scheduler {shown(name)}", table, name, field)
        kind = self.tables.table(table)[name].get("type", "DWRR")
        if kind == "STRICT":
            return 0
        if kind == "WRR":
            self._leave("WRR, taken as DWRR", table, name, "type")
        return self.tables.whole(table, name, "weight", 1, 100) or 1

    def _watchdog(self) -> dict[str, Any]:
        """Return the watchdog, which is that of all ports."""
        table = "PFC_WD"
        said: list[tuple[tuple[tuple[str, Any], ...], str]] = []
        poll = self.tables.whole(table, "GLOBAL", "POLL_INTERVAL", 1, 10**6)
        for view in self.views:
            if view.ethernet not in self.tables.table(table):
                continue
            key = view.ethernet
            times = {
                "detection": self.tables.whole(table, key, "detection_time", 1, 10**7),
                "restoration": self.tables.whole(table, key, "restoration_time", 1, 10**7),
                "poll": poll,
            }
            settings: dict[str, Any] = {each: f"{time}ms" for each, time in times.items() if time is not None}
            action = self.tables.table(table)[key].get("action", "drop")
            if action in ("drop", "forward"):
                settings["action"] = action
                said.append((tuple(settings.items()), key))
            else:
                self._leave(f"watchdog action {shown(action)}", table, key, "action")
        if not said:
            return {}
        if len(said) < len(self.views):
            self._leave("ports without a watchdog", table, said[0][1])
        usual, _ = self._agreed(said, table, "watchdogs of single ports")
        return dict(usual)
