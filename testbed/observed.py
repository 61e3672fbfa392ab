"""What the data plane says of switches in a result, beside the counters of their ports."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


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
