"""What ports and memories counted in a run, as run.json has it: of all of it, and of its settled state."""

from __future__ import annotations

from pydantic import Field

from testbed.run.observed import Observed, Watermarks


class Drops(Observed):
    """Frames that one port lost, by cause: `link` corrupted them, `outage` is a link that was down, `receiver` a full NIC.

    What is `malformed` nobody could read; a host's kernel sent it so, and not the fabric.
    """

    undeclared = frozenset({"unroutable"})

    headroom: int = 0
    buffer: int = 0
    link: int = 0
    outage: int = 0
    watchdog: int = 0
    receiver: int = 0
    malformed: int = 0


class PriorityCounters(Observed):
    """What one priority of a port did; `demoted` are frames of hosts' kernels that asked for it and went on a lossy one."""

    undeclared = frozenset(
        {
            "bytes_rx",
            "data_frames_tx",
            "ingress_bytes_max",
            "paused",
            "queue_bytes",
            "queue_bytes_min",
            "shared_bytes_max",
        }
    )

    frames_tx: int = 0
    frames_rx: int = 0
    bytes_tx: int = 0
    drops: Drops = Drops.model_construct()
    pause_tx: int = 0
    pause_rx: int = 0
    paused_ns: int | float = 0
    credit_tx: int = 0
    credit_rx: int = 0
    credit_wait_ns: int | float = 0
    queue_bytes_max: int = 0
    headroom_bytes_max: int = 0
    ecn_marked: int = 0
    demoted: int = 0


class PortCounters(Observed):
    """A port, named node:port, by priority."""

    rate_bps: int
    priorities: dict[str, PriorityCounters] = Field(default_factory=dict)


class TotalDrops(Observed):
    """Frames lost: on lossless priorities for lack of buffer, on lossy ones, and on links, corrupted or down."""

    lossless: int
    lossy: int
    link: int
    outage: int = 0
    malformed: int = 0


class Window(Observed):
    """Ports, memories and losses of a stretch of a run; times since the start of its first workload."""

    from_ns: int | float
    to_ns: int | float
    ports: dict[str, PortCounters]
    pools: dict[str, Watermarks]
    drops: TotalDrops


class Settled(Window):
    """A run from its warm-up on, and windows of it; of more than are kept the earliest are left out, and counted.

    `queue_bytes_min` and `queue_bytes_max` of a priority are the least and the most that its queue held in a window: a
    queue that rests does so between the two. `queue_bytes` is what it held at the end.
    """

    window_ns: int | float | None
    windows: list[Window]
    windows_omitted: int
