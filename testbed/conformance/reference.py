"""What a priority group must do with every frame, by the rules of docs/internals/plan.md: a model beside the data plane's. Pure.

It is of one group that alone uses the pools of its switch, which is how a bench loads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

Verdict = Literal["taken", "xoff", "dropped"]


@dataclass
class ReferenceGroup:
    """A group: its settings, and what it holds. All sizes in bytes, frames in whole cells."""

    cell_bytes: int
    xoff_bytes: int
    xon_bytes: int
    headroom_bytes: int
    alpha_log2: int | None = None
    reserve_bytes: int = 0
    xon_offset_bytes: int = 0
    pool_bytes: int = 0
    reserved: int = 0
    shared: int = 0
    headroom: int = 0

    def copy(self) -> ReferenceGroup:
        """Return a group of the same settings that holds the same."""
        return dataclasses.replace(self)

    @property
    def held(self) -> int:
        """All that the group holds."""
        return self.reserved + self.shared + self.headroom

    def cells(self, frame_bytes: int) -> int:
        """Return what a frame takes of the memory."""
        return -(-frame_bytes // self.cell_bytes) * self.cell_bytes

    def arrive(self, frame_bytes: int) -> Verdict:
        """Take a frame; tell whether the peer has to stop, or the frame is lost."""
        size = self.cells(frame_bytes)
        if self.alpha_log2 is None:
            return self._arrive_static(size)
        if self.reserved + size <= self.reserve_bytes:
            self.reserved += size
            return "taken"
        free = self.pool_bytes - self.shared
        if size <= free and self.shared + size <= self._scaled(free):
            self.shared += size
            return "taken"
        if self.headroom + size > self.headroom_bytes:
            return "dropped"
        self.headroom += size
        return "xoff"

    def _scaled(self, size: int) -> int:
        exponent = self.alpha_log2 or 0
        return size >> -exponent if exponent < 0 else size << exponent

    def most_without_xoff(self) -> int:
        """Return about how much the group holds before its peer has to stop: where a dynamic threshold settles."""
        if self.alpha_log2 is None:
            return self.xoff_bytes
        alpha = Fraction(2) ** self.alpha_log2
        return self.reserve_bytes + int(self.pool_bytes * alpha / (1 + alpha))

    def _arrive_static(self, size: int) -> Verdict:
        held = self.held + size
        if held > self.xoff_bytes + self.headroom_bytes:
            return "dropped"
        self.shared = min(held, self.xoff_bytes)
        self.headroom = held - self.shared
        return "xoff" if held > self.xoff_bytes else "taken"

    def leave(self, frame_bytes: int) -> bool:
        """Let a frame go; tell whether the peer may go on, if it was stopped."""
        size = self.cells(frame_bytes)
        of_headroom = min(size, self.headroom)
        of_shared = min(size - of_headroom, self.shared)
        self.headroom -= of_headroom
        self.shared -= of_shared
        self.reserved -= size - of_headroom - of_shared
        if self.alpha_log2 is None:
            return self.held <= self.xon_bytes
        threshold = self._scaled(self.pool_bytes - self.shared)
        return self.headroom == 0 and self.shared <= max(0, threshold - self.xon_offset_bytes)


def reference_group(switch: Mapping[str, Any], group: Mapping[str, Any]) -> ReferenceGroup:
    """Return the model of a group of a switch's plan."""
    pool = switch.get("headroom_pool_bytes", 0)
    headroom = group["headroom_bytes"]
    return ReferenceGroup(
        cell_bytes=switch.get("cell_bytes", 1),
        xoff_bytes=group.get("xoff_bytes", 0),
        xon_bytes=group.get("xon_bytes", 0),
        headroom_bytes=min(headroom, pool) if pool else headroom,
        alpha_log2=group.get("alpha_log2"),
        reserve_bytes=group.get("reserve_bytes", 0),
        xon_offset_bytes=group.get("xon_offset_bytes", 0),
        pool_bytes=switch.get("pool_bytes", 0),
    )
