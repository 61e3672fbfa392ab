"""Which priority a DSCP stands for, in which queue its frames stand, and in which priority group: the maps of a switch.

Without a map a DSCP has the priority of its class selector (RFC 2474), a priority the queue of its number, and a queue the
priority group of its number. A group asks its peer to pause all of its priorities, and a pause of a priority stops its queue.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from testbed.schema.fields import Priority

PRIORITIES = 8
DSCPS = 64
CLASS_SELECTORS = tuple(dscp >> 3 for dscp in range(DSCPS))
OWN_QUEUES = tuple(range(PRIORITIES))


PriorityTable = Annotated[tuple[Priority, ...], Field(min_length=DSCPS, max_length=DSCPS)]
QueueTable = Annotated[tuple[Priority, ...], Field(min_length=PRIORITIES, max_length=PRIORITIES)]


def parse_dscp_key(value: object) -> int:
    """Read a DSCP that is the key of a mapping; raise ValueError if it is none."""
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or len(text) > 2 or int(text) >= DSCPS:
        raise ValueError(f'"{value}" is not a DSCP from 0 to 63')
    return int(text)


DscpKey = Annotated[
    int,
    BeforeValidator(parse_dscp_key),
    WithJsonSchema({"type": "string", "description": "DSCP", "pattern": "^[0-9]{1,2}$"}),
]


def all_dscps(stated: Mapping[int, int]) -> tuple[int, ...]:
    """Return the priority of every DSCP."""
    return tuple(stated.get(dscp, selector) for dscp, selector in enumerate(CLASS_SELECTORS))


def all_queues(stated: Mapping[int, int]) -> tuple[int, ...]:
    """Return the queue of every priority."""
    return tuple(stated.get(priority, priority) for priority in OWN_QUEUES)


def all_groups(stated: Mapping[int, int], queues: tuple[int, ...]) -> tuple[int, ...]:
    """Return the priority group of every priority."""
    return tuple(stated.get(priority, queues[priority]) for priority in OWN_QUEUES)


def lossless_queues(lossless: Collection[int], queues: tuple[int, ...]) -> tuple[int, ...]:
    """Return the queues, or groups, of lossless priorities, ascending where any priority has another than its own."""
    return tuple(lossless) if queues == OWN_QUEUES else tuple(sorted({queues[priority] for priority in lossless}))


def mixed_queues(lossless: Collection[int], queues: tuple[int, ...], what: str = "queue") -> Iterator[str]:
    """Yield why a queue, or a group, cannot be both lossless and lossy."""
    for number in sorted(set(queues)):
        here = [priority for priority in OWN_QUEUES if queues[priority] == number]
        kept = [priority for priority in here if priority in lossless]
        lossy = [priority for priority in here if priority not in lossless]
        if kept and lossy:
            text = f"{what} {number} has priority {kept[0]}, which is lossless, and priority {lossy[0]}, which is not"
            yield f"{text}; give one of them another {what}"
