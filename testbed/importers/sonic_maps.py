"""Maps of SONiC's QoS: DSCP to traffic class, which is a priority of a lab, and priority to queue and to priority group.

In a lab a queue and a group of the same priorities have the same number, for all ports of a switch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.importers.draft import Remainder
from testbed.importers.sonic import PRIORITIES, Configuration
from testbed.importers.text import shown

_DSCPS = 64
_SELECTOR_BITS = 3


def maps(config: Configuration, ports: Sequence[str], lossless: Sequence[int], remainder: Remainder) -> dict[str, Any]:
    """Return `dscp` and `queues` of a switch, as far as they are not what a lab has anyway."""
    settings: dict[str, Any] = {}
    if dscp := _dscp(config, ports, remainder):
        settings["dscp"] = dscp
    said = [{priority: config.queue_of(port, priority) for priority in PRIORITIES} for port in ports]
    if said:
        usual = _usual(said)
        queues = {priority: queue for priority, queue in usual.items() if queue != priority}
        if queues and max(queues.values()) < len(PRIORITIES):
            settings["queues"] = queues
        for port, each in zip(ports, said, strict=True):
            if each != usual or max(each.values()) >= len(PRIORITIES):
                _leave(config, remainder, "queues of single ports", port, "tc_to_queue_map")
    for port in ports:
        for priority in lossless:
            if config.group_of(port, priority) != config.queue_of(port, priority):
                _leave(
                    config,
                    remainder,
                    f"priority {priority} in a queue and a group of two numbers",
                    port,
                    "tc_to_pg_map",
                )
    return settings


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
