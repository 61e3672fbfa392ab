"""What keeps the priorities of a link lossless, and how many credits the ends of a link with credits grant each other.

A receiver grants its sender blocks of buffer, and a sender starts no frame without blocks for all of it. A window of B
bytes carries min(1, B/(rate·RTT)) of the rate, as InfiniBand's 131,072 bytes per virtual lane do, so `auto` is a round trip
of the link, and besides:

- four frames: the one on its way into the far end's buffer, the one that a credit frame waits for on its way back, what is
  left over of a window that is no whole number of frames, and what a frame waits for at the port by which it leaves;
- what is released but not told yet: credits are told in batches of four frames, or a 64th of the window if that is more.
  A window that is given and has not that much to spare is told of a 64th, a frame at least;
- under the real clock, as many frames as headroom has for lateness.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.experiment.sections import Lossless
from testbed.lab.hosts import Host
from testbed.lab.topology import Link, Switch
from testbed.schema.fields import AUTO, FlowControl
from testbed.sizes import FCS_BYTES, LINE_OVERHEAD_BYTES, ROCE_OVERHEAD_BYTES
from testbed.units import PS_PER_SECOND

BLOCK_BYTES = 64
"""A block of InfiniBand, for receivers whose memory has no cells."""

_BATCH_FRAMES = 4
_BATCHES = 64
_FRAMES_BESIDES = 4
# Around the payload of a packet.
_PACKET_OVERHEAD_BYTES = ROCE_OVERHEAD_BYTES + FCS_BYTES


@dataclass(frozen=True)
class Grant:
    """What the receiving end of a direction grants one priority, as the plan has it."""

    priority: int
    block_bytes: int
    blocks: int
    update_blocks: int

    @property
    def buffer_bytes(self) -> int:
        """The buffer behind it."""
        return self.blocks * self.block_bytes

    def least_bytes(self, link: Link) -> int:
        """Return what the longest frame of a link takes of it."""
        return -(-link.frame_bytes // self.block_bytes) * self.block_bytes


def flow_control(link: Link, settings: Lossless) -> FlowControl:
    """Return what keeps the lossless priorities of a link from losing frames; the experiment wins over the lab."""
    if not settings.pfc:
        return "none"
    return settings.flow_control or link.flow_control


def given_bytes(link: Link, settings: Lossless) -> int | None:
    """Return the window that experiment or lab ask for; None: what the link needs."""
    return link.credits_bytes if settings.credits == AUTO else settings.credits


def grants(
    link: Link,
    receiver: Switch | Host,
    sender: Switch | Host,
    settings: Lossless,
    late_frames: int = 0,
    packet_bytes: int = 4096,
) -> tuple[Grant, ...]:
    """Return what `receiver` grants `sender` over a link that runs credits, by priority.

    Credited are the priorities that are lossless at the receiver, at a host those of the switch that it is behind.
    `late_frames` and `packet_bytes` as in `thresholds.divide_buffer`.
    """
    lossless = next((end.lossless for end in (receiver, sender) if isinstance(end, Switch)), (settings.priority,))
    block = receiver.cell_bytes if isinstance(receiver, Switch) and receiver.cell_bytes > 1 else BLOCK_BYTES
    packet = min(packet_bytes + _PACKET_OVERHEAD_BYTES, link.frame_bytes)
    packet_blocks, longest_blocks = -(-packet // block), -(-link.frame_bytes // block)
    round_trip = 2 * link.delay_ps * link.rate_bps // (8 * PS_PER_SECOND)
    frames = -(-round_trip // (packet + LINE_OVERHEAD_BYTES)) + _FRAMES_BESIDES + late_frames
    needed = max(frames * packet_blocks, 2 * longest_blocks)
    batch = _BATCH_FRAMES * packet_blocks
    given = given_bytes(link, settings)
    blocks = needed + max(batch, -(-needed // (_BATCHES - 1))) if given is None else given // block
    if isinstance(receiver, Host) and receiver.receive and receiver.receive.buffer_bytes is not None:
        # It takes no more than it can hold.
        blocks = min(blocks, receiver.receive.buffer_bytes // len(lossless) // block)
    update = max(blocks // _BATCHES, min(blocks - needed, batch))
    # A frame that waits must not need what is released and not told.
    update = max(1, min(update, blocks - longest_blocks + 1))
    return tuple(Grant(priority, block, blocks, update) for priority in lossless)
