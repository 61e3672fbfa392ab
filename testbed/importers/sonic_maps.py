"""Maps of SONiC's QoS: DSCP to traffic class, which is a priority of a lab, and priority to queue and to priority group.

In a lab they hold for all ports of a switch, and pauses go by the maps that traffic goes by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testbed.importers.draft import Remainder
from testbed.importers.sonic import HIGHEST_QUEUE, PRIORITIES, Configuration
from testbed.importers.text import shown

_DSCPS = 64
_SELECTOR_BITS = 3


def maps(config: Configuration, ports: Sequence[str], lossless: Sequence[int], remainder: Remainder) -> dict[str, Any]:
    """Return `dscp`, `queues` and `groups` of a switch, as far as they are not what a lab has anyway."""
    settings: dict[str, Any] = {}
    if dscp := _dscp(config, ports, remainder):
        settings["dscp"] = dscp
    if not ports:
        return settings
    queues = _of_ports(config, ports, config.queue_of, "queues of single ports", "tc_to_queue_map", remainder)
    if max(queues.values()) >= len(PRIORITIES):
        _leave(config, remainder, "queues of single ports", ports[0], "tc_to_queue_map")
        queues = {priority: priority for priority in PRIORITIES}
    if other := {priority: queue for priority, queue in queues.items() if queue != priority}:
        settings["queues"] = other
    groups = _of_ports(config, ports, config.group_of, "priority groups of single ports", "tc_to_pg_map", remainder)
    kept = {groups[priority] for priority in lossless}
    for priority in PRIORITIES:
        if groups[priority] in kept and priority not in lossless and groups[priority] != queues[priority]:
            what = f"lossy priority {priority} in group {groups[priority]}, which is lossless"
            _leave(config, remainder, what, ports[0], "tc_to_pg_map")
            groups[priority] = queues[priority]
    if other := {priority: group for priority, group in groups.items() if group != queues[priority]}:
        settings["groups"] = other
    for port in ports:
        for priority in lossless:
            _check_pauses(config, port, priority, remainder)
    return settings


def _of_ports(
    config: Configuration,
    ports: Sequence[str],
    number: Callable[[str, int], int],
    what: str,
    field: str,
    remainder: Remainder,
) -> dict[int, int]:
    """Return the number of each priority that most ports say; note the others."""
    said = [{priority: number(port, priority) for priority in PRIORITIES} for port in ports]
    usual = _usual(said)
    for port, each in zip(ports, said, strict=True):
        if each != usual:
            _leave(config, remainder, what, port, field)
    return dict(usual)


def _check_pauses(config: Configuration, port: str, priority: int, remainder: Remainder) -> None:
    """Note pauses that go by another map than the traffic that they are for."""
    for table, field, number in (
        ("MAP_PFC_PRIORITY_TO_QUEUE", "pfc_to_queue_map", config.queue_of(port, priority)),
        ("PFC_PRIORITY_TO_PRIORITY_GROUP_MAP", "pfc_to_pg_map", config.group_of(port, priority)),
    ):
        name, _ = config.qos(port, field)
        said = config.tables.whole(table, name, str(priority), 0, HIGHEST_QUEUE) if name else None
        if said is not None and said != number:
            what = f"{field} that leads priority {priority} to {said}, and its traffic to {number}"
            _leave(config, remainder, what, port, field)


def _leave(config: Configuration, remainder: Remainder, what: str, port: str, field: str) -> None:
    config.tables.leave(remainder, what, "PORT_QOS_MAP", config.qos(port, field)[1])


def _usual(said: Sequence[Mapping[int, int]]) -> Mapping[int, int]:
    usual = Counter(map(repr, said)).most_common(1)[0][0]
    return next(each for each in said if repr(each) == usual)


def _dscp(config: Configuration, ports: Sequence[str], remainder: Remainder) -> dict[int, int]:
    """Return the priority of each DSCP that is not the one of its class selector."""
    names = [config.qos(port, "dscp_to_tc_map")[0] for port in ports]
    usual = Counter(names).most_common(1)[0][0] if names else ""
    for port, name in zip(ports, names, strict=True):
        if name != usual:
            _leave(config, remainder, "maps of DSCP of single ports", port, "dscp_to_tc_map")
    table = "DSCP_TO_TC_MAP"
    if not usual:
        return {}
    if usual not in config.tables.table(table):
        _leave(config, remainder, f"map of DSCP {shown(usual)}, which no file has", ports[0], "dscp_to_tc_map")
        return {}
    priorities: dict[int, int] = {}
    for dscp in range(_DSCPS):
        priority = config.tables.whole(table, usual, str(dscp), 0, len(PRIORITIES) - 1)
        if priority is not None and priority != dscp >> _SELECTOR_BITS:
            priorities[dscp] = priority
    return priorities
