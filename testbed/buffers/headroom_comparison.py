"""One switch reckoned several ways: what a lab's `auto` comes to beside another model, and by which terms they differ.

Headroom in cells has no single right figure. All frames may be the smallest, as trains of acknowledgements are; that is the
worst case, and a lab's default. Or a share of them is small and the rest full, as SONiC assumes of traffic on average;
deployed tables lie between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from testbed.buffers.headroom import Headroom
from testbed.buffers.headroom_models import LabPort, Model

# SONiC's share of small frames in a pattern of lossless traffic.
REALISTIC_PERCENT = 50


@dataclass(frozen=True)
class Beside:
    """Another reckoning of the same port, what it assumes of frames, and what its terms have more than the first one's."""

    name: str
    assumption: str
    headroom: Headroom
    more: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return it as data: `differs_by` adds up to the difference of the totals."""
        return {
            "model": self.name,
            "assumption": self.assumption,
            "total_bytes": self.headroom.total_bytes,
            "terms": dict(self.headroom.terms),
            "differs_by": dict(self.more),
        }


def difference(first: Headroom, other: Headroom) -> dict[str, int]:
    """Return by term what the other has more than the first, without terms in which they agree."""
    names = dict.fromkeys([*first.terms, *other.terms])
    more = {name: other.terms.get(name, 0) - first.terms.get(name, 0) for name in names}
    return {name: size for name, size in more.items() if size}


def beside(model: Model, length_mm: int, port: LabPort) -> list[Beside]:
    """Return what the port of a lab would reserve, in the worst case and where cells count for a realistic share of frames.

    A reckoning that is the model's own is left out.
    """
    own = model.headroom(length_mm)
    return [
        Beside(other.name, other.assumption, headroom := other.headroom(length_mm), difference(own, headroom))
        for other in _variants(port)
        if other != model
    ]


def _variants(port: LabPort) -> Iterator[LabPort]:
    yield replace(port, small_percent=None)
    if port.cell_bytes > 1:
        yield replace(port, small_percent=REALISTIC_PERCENT)
        if port.small_percent not in (None, REALISTIC_PERCENT):
            yield port
