"""Congestion marking: RED on dequeue, with two thresholds of a queue and a probability.

`ns-3 HPCC` is the simulator published with Li et al., "HPCC", SIGCOMM 2019; its figures are given per 25 Gb/s and grow with
the rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import model_validator

from testbed.lab.presets import Figure, Figures, PresetSet, known
from testbed.schema.fields import Ratio, Size

_M = 10**6
_AZURE = "SONiC's ECN profile for lossless queues, one for all rates"
_HPCC = "ns-3 HPCC, run.py"

# Thresholds of a queue in bytes, and the probability of a mark at kmax.
MARKING: Mapping[str, Figures] = {
    "sonic": {
        "kmin": Figure(1_048_576, _AZURE),
        "kmax": Figure(2_097_152, _AZURE),
        "pmax": Figure(0.05, _AZURE),
    },
    "hpcc-ns3": {
        "kmin": Figure(100_000, _HPCC, 25_000 * _M),
        "kmax": Figure(400_000, _HPCC, 25_000 * _M),
        "pmax": Figure(0.2, _HPCC),
    },
}


class Marking(PresetSet):
    """Marks of what leaves a queue: none up to kmin, all above kmax, in between with a probability that rises to pmax.

    Either a preset or all three figures. Thresholds hold for every queue of a switch; those of a preset that grows with
    the rate are taken for its slowest port, since a mark too early costs less than one too late.
    """

    presets: ClassVar[Mapping[str, Figures]] = MARKING
    what: ClassVar[str] = "marking"

    preset: Annotated[str, *known(MARKING, "marking")] | None = None
    """Named set of all three figures; left out, give each of them."""
    kmin: Size | None = None
    """Bytes of a queue up to which nothing is marked; left out, that of `preset`."""
    kmax: Size | None = None
    """Bytes of a queue above which everything is marked; left out, that of `preset`."""
    pmax: Ratio | None = None
    """Probability of a mark at `kmax`, to which it rises from 0 at `kmin`; left out, that of `preset`."""

    @model_validator(mode="after")
    def _agrees(self) -> Marking:
        given = [name for name in ("kmin", "kmax", "pmax") if getattr(self, name) is not None]
        if self.preset is not None and given:
            raise ValueError(f"preset {self.preset} says {', '.join(given)} already")
        if self.preset is None and len(given) < 3:
            raise ValueError("give kmin, kmax and pmax, or a preset: " + ", ".join(MARKING))
        if self.kmin is not None and self.kmax is not None and self.kmin > self.kmax:
            raise ValueError(f"kmin, {self.kmin} bytes, is above kmax, {self.kmax} bytes")
        return self

    def plan(self, rate_bps: int) -> dict[str, Any]:
        """Return the plan of a switch's marking, its slowest port being of this rate."""
        thresholds = self.at(rate_bps)
        return {"kmin_bytes": thresholds["kmin"], "kmax_bytes": thresholds["kmax"], "pmax": thresholds["pmax"]}
