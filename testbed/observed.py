"""What the data plane says of switches in a result, beside the counters of their ports."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

PLACES_NAMED = 6
NOT_LOSSLESS = "not lossless"
# Causes that count against a lossless priority, and in what words.
_BLAMED = {"headroom": "for lack of buffer", "buffer": "for lack of buffer", "watchdog": "by the watchdog"}


class Observed(BaseModel):
    """What the data plane reports; it may say more than is named here, and nothing of it is lost."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Watermarks(Observed):
    """The most that a switch's memory held: altogether, below thresholds, in headroom, and of lossy priorities.

    Where lossy frames are charged to the pool of the priority groups, `shared_bytes_max` counts them too.
    """

    buffer_bytes_max: int = 0
    shared_bytes_max: int = 0
    headroom_bytes_max: int = 0
    lossy_bytes_max: int = 0


def losses_of(report: Mapping[str, Any], lossless: Collection[int]) -> list[str]:
    """Say how many frames switches lost on lossless priorities, why, and where most of them."""
    lost = report["drops"]["lossless"]
    if not lost:
        return []
    places = [
        (f"{name} priority {number}", {cause: priority["drops"].get(cause, 0) for cause in _BLAMED})
        for name, port in report["ports"].items()
        for number, priority in port["priorities"].items()
        if int(number) in lossless
    ]
    worst = sorted(
        (place for place in places if any(place[1].values())), key=lambda place: (-sum(place[1].values()), place[0])
    )
    causes = dict.fromkeys(_BLAMED[cause] for _, found in worst for cause, count in found.items() if count)
    named = [
        f"{place} ({', '.join(f'{cause} {count:,}' for cause, count in found.items() if count)})"
        for place, found in worst[:PLACES_NAMED]
    ]
    if len(worst) > PLACES_NAMED:
        named.append(f"{len(worst) - PLACES_NAMED} more")
    why = f" {' or '.join(causes)}" if causes else ""
    where = f", at {', '.join(named)}" if named else ""
    return [f"{NOT_LOSSLESS}: {lost:,} frames of lossless priorities dropped{why}{where}"]
