"""What the data plane records of pauses: when queues stood still, what switches asked of peers and why, and who was under way.

testbed.run.pauses joins the two ends of each link, of which two agents may have one each. Times are nominal, on one agent's
clock.
"""

from typing import Annotated, Literal, NotRequired, TypedDict

Backlog = Literal["incast", "slow link", "other priorities", "failed link", "drained"]


class PausedInterval(TypedDict):
    """A time for which an egress queue stood still: because of PAUSE, from when that took hold, or for want of credit."""

    port: Annotated[str, "port, `node:port`"]
    priority: Annotated[int, "egress queue, which has the number of a priority"]
    named: NotRequired[
        Annotated[list[int] | None, "priorities on the wire that stand in it, where a map of queues is in force"]
    ]
    from_ps: Annotated[int, "ps at which it began"]
    to_ps: Annotated[int | None, "ps at which it ended; null: it has not"]
    first: Annotated[
        int | None,
        "what the PAUSE frame that began it stands for: of a switch, the number of the request of that port; of a host, 0 for "
        "a NIC that takes in too little, 1 for a storm, 2 for a tester's frame. null: it came over a real wire",
    ]
    last: Annotated[int | None, "what the last frame stands for that renewed it"]
    credits: Annotated[bool, "true: it waited for credit of the far end, and no PAUSE frame kept it"]


class QueueShare(TypedDict):
    """What a priority group held in one egress queue."""

    port: Annotated[str, "port, `node:port`"]
    priority: Annotated[int, "egress queue"]
    bytes: Annotated[int, "bytes of the group in it"]
    stood: Annotated[
        bool, "true: it stood still, by PAUSE or for want of credit, or did while bytes waited that were in it"
    ]


class StopRequest(TypedDict):
    """What a priority group of a switch asked of the peer behind its port, from XOFF to XON.

    On a link with credits: a frame that granted it more, while the group held at least half of what is granted in all.
    """

    port: Annotated[str, "port, `node:port`"]
    named: Annotated[list[int], "priorities on the wire that the group counts"]
    number: Annotated[int, "number of the request, from 1 at each port"]
    from_ps: Annotated[int, "ps at which the group asked its peer to stop"]
    to_ps: Annotated[int | None, "ps at which it let it go on; null: it has not"]
    lost: Annotated[int, "frames that the group lost in between for want of headroom"]
    shares: Annotated[list[QueueShare], "where the bytes stood that it held when it asked"]
    backlog: Annotated[
        Backlog | None, "why frames stand in the queue that held most of them; null: a pause held that up"
    ]
    senders: Annotated[int, "ports that sent into that queue; 0 where `backlog` is null"]


class QueueOnPath(TypedDict):
    """An egress queue."""

    port: Annotated[str, "port, `node:port`"]
    priority: Annotated[int, "egress queue"]


class ActiveTime(TypedDict):
    """When a path was used."""

    from_ps: Annotated[int, "ps at which the first message was posted"]
    to_ps: Annotated[int | None, "ps at which the last one had arrived, or the workload made way; null: it has not"]


class FlowPath(TypedDict):
    """The path of the messages of a connection, in one direction."""

    src: Annotated[str, "host that sends"]
    dst: Annotated[str, "host that receives"]
    queues: Annotated[list[QueueOnPath], "egress queues that they pass, the sender's own first"]
    active: Annotated[list[ActiveTime], "when it was used"]


class Pauses(TypedDict):
    """The records of a span. Memory is bounded: what is beyond the bound is counted."""

    now_ps: Annotated[int, "ps now"]
    intervals: Annotated[list[PausedInterval], "by time, then node, port and priority"]
    intervals_omitted: Annotated[int, "intervals beyond the bound"]
    intervals_omitted_from_ps: Annotated[
        dict[str, int], "by node of which intervals are omitted, when the first of them began"
    ]
    omitted_ps: Annotated[int, "ps that those of them that are over came to"]
    requests: Annotated[list[StopRequest], "by time, then node, port and priority"]
    requests_omitted: Annotated[dict[str, int], "by port of which requests are omitted, the number of the first"]
    paths: Annotated[list[FlowPath], "paths that lead by a queue that stood still"]
    paths_omitted: Annotated[int, "connections beyond the bound"]
