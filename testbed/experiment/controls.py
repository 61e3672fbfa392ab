"""Congestion controls beside DCQCN: named sets of parameters, each figure beside its source, and what a plan says of them.

Each reproduces a simulator, whose name its set has. `hpcc-ns3` is the simulator published with Li et al., "HPCC", SIGCOMM 2019,
as its run.py sets it up; `lcmp` the configuration of that family by which the figures of LCMP were made; `uet-htsim` and
`csg-htsim` are the simulators of the Ultra Ethernet Consortium and of Broadcom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field, model_validator

from testbed.lab.presets import Figure, Figures, PresetSet, known
from testbed.schema.fields import Rate, Ratio, Size, Time
from testbed.units import PS_PER_SECOND

_US = PS_PER_SECOND // 10**6
_M = 10**6
_G = 10**9

_HPCC = "ns-3 HPCC, run.py"
_RDMA = "ns-3 HPCC, rdma-hw.cc"
_LCMP = "LCMP, config.txt"
_CSG = "csg-htsim, swift.cpp"
_UET = "uet-htsim, uec.cpp"

HOP_BYTES, HOPS_BYTES = 8, 2
"""Of telemetry, for each switch and beside them (int-header.h of ns-3 HPCC)."""
MOST_HEADER_BYTES = 514
_REFERENCE_BPS = 100 * _G  # for figures that do not grow with the rate

Factor = Annotated[float, Field(strict=False, gt=0, le=1000)]


class Path(NamedTuple):
    """The longest path between two ranks that talk: its round trip without queues, its links, and the slowest NIC's rate."""

    round_trip_ps: int
    links: int
    rate_bps: int


TIMELY: Mapping[str, Figures] = {
    "hpcc-ns3": {
        "alpha": Figure(0.875, _RDMA),
        "beta": Figure(0.8, _RDMA),
        "low": Figure(50 * _US, _RDMA),
        "high": Figure(500 * _US, _RDMA),
        "minimum_rtt": Figure(20 * _US, _RDMA),
        "additive": Figure(25 * _M, f"{_HPCC}: 1 Mb/s for each Gb/s", 25 * _G),
        "hyper": Figure(125 * _M, f"{_HPCC}: 5 Mb/s for each Gb/s", 25 * _G),
        "minimum": Figure(1 * _G, _HPCC),
    },
}
TIMELY = {
    **TIMELY,
    "lcmp": {
        **TIMELY["hpcc-ns3"],
        "additive": Figure(50 * _M, _LCMP),
        "hyper": Figure(100 * _M, _LCMP),
        "minimum": Figure(100 * _M, _LCMP),
    },
}
DCTCP: Mapping[str, Figures] = {
    "hpcc-ns3": {
        "g": Figure(1 / 16, _HPCC),
        "additive": Figure(615 * _M, f"{_HPCC}: a packet of 1000 bytes in 13 us"),
        "minimum": Figure(1 * _G, _HPCC),
    },
    "lcmp": {
        "g": Figure(1 / 256, _LCMP),
        "additive": Figure(1 * _G, _LCMP),
        "minimum": Figure(100 * _M, _LCMP),
    },
}
HPCC: Mapping[str, Figures] = {
    "hpcc-ns3": {
        "target": Figure(0.95, _HPCC),
        "stages": Figure(0, _HPCC),
        "additive": Figure(10 * _M, _HPCC, 25 * _G),
        "minimum": Figure(1 * _G, _HPCC),
    },
    "lcmp": {
        "target": Figure(0.95, _LCMP),
        "stages": Figure(0, _LCMP),
        "additive": Figure(50 * _M, _LCMP),
        "minimum": Figure(100 * _M, _LCMP),
    },
}
SWIFT: Mapping[str, Figures] = {
    "csg-htsim": {
        "base_target": Figure(20 * _US, _CSG),
        "hop": Figure(20_000 * _US // 6_550, f"{_CSG}: the base over 6.55"),
        "scaling_range": Figure(100 * _US, f"{_CSG}: five times the base"),
        "scaling_least": Figure(0.1, _CSG),
        "scaling_most": Figure(100.0, _CSG),
        "additive": Figure(1.0, _CSG),
        "beta": Figure(0.8, _CSG),
        "most_decrease": Figure(0.5, _CSG),
        "initial": Figure(15.0, "csg-htsim, main_swift.cpp"),
    },
}
NSCC: Mapping[str, Figures] = {
    "uet-htsim": {
        "proportional": Figure(4.0, _UET),
        "fair": Figure(5.0, _UET),
        "eta": Figure(0.15, _UET),
        "fast": Figure(0.25, _UET),
        "gamma": Figure(0.8, _UET),
        "most_decrease": Figure(0.5, _UET),
        "delay_weight": Figure(0.0125, _UET),
        "most_window": Figure(1.5, _UET),
        "initial_window": Figure(1.5, _UET),
    },
}


class Timely(PresetSet):
    """Parameters of TIMELY, a rate by the gradient of the round trip; what is not given is that of the preset."""

    presets: ClassVar[Mapping[str, Figures]] = TIMELY
    what: ClassVar[str] = "TIMELY parameter set"

    preset: Annotated[str, *known(TIMELY, "TIMELY parameter set")] = "hpcc-ns3"
    """Named set of parameters; every other key replaces one figure of it."""
    alpha: Ratio | None = None
    """Weight of the newest difference between two round trips, from 0 to 1; left out, the preset's."""
    beta: Ratio | None = None
    """Share of a rate that a decrease takes for a gradient of 1; left out, the preset's."""
    low: Time | None = None
    """Round trip below which a rate always grows; left out, the preset's."""
    high: Time | None = None
    """Round trip above which a rate always shrinks; left out, the preset's."""
    minimum_rtt: Annotated[Time, Field(gt=0)] | None = None
    """Round trip by which gradients are normalised; left out, the preset's."""
    additive: Rate | None = None
    """Step in bit/s of the first five increases in a row; left out, the preset's."""
    hyper: Rate | None = None
    """Step in bit/s of those behind them; left out, the preset's."""
    minimum: Rate | None = None
    """Rate in bit/s below which nothing is cut; left out, the preset's."""

    @model_validator(mode="after")
    def _agrees(self) -> Timely:
        figures = self.at(_REFERENCE_BPS)
        if figures["low"] > figures["high"]:
            raise ValueError("low is above high")
        return self

    def plan(self, path: Path) -> dict[str, Any]:
        """Return the plan of congestion control for a longest path."""
        resolved = self.at(path.rate_bps)
        return {
            "kind": "timely",
            "alpha": resolved["alpha"],
            "beta": resolved["beta"],
            "low_ps": resolved["low"],
            "high_ps": resolved["high"],
            "minimum_rtt_ps": resolved["minimum_rtt"],
            "additive_bps": resolved["additive"],
            "hyper_bps": resolved["hyper"],
            "minimum_bps": resolved["minimum"],
        }


class Dctcp(PresetSet):
    """Parameters of DCTCP over RDMA, a rate that the share of marks cuts; what is not given is that of the preset."""

    presets: ClassVar[Mapping[str, Figures]] = DCTCP
    what: ClassVar[str] = "DCTCP parameter set"

    preset: Annotated[str, *known(DCTCP, "DCTCP parameter set")] = "hpcc-ns3"
    """Named set of parameters; every other key replaces one figure of it."""
    g: Ratio | None = None
    """Weight of the newest share of marks in the estimate alpha, from 0 to 1; left out, the preset's."""
    additive: Rate | None = None
    """Step in bit/s of an increase, one in a round trip; left out, the preset's."""
    minimum: Rate | None = None
    """Rate in bit/s below which nothing is cut; left out, the preset's."""

    def plan(self, path: Path) -> dict[str, Any]:
        """Return the plan of congestion control for a longest path."""
        resolved = self.at(path.rate_bps)
        return {
            "kind": "dctcp",
            "g": resolved["g"],
            "additive_bps": resolved["additive"],
            "minimum_bps": resolved["minimum"],
        }


class Hpcc(PresetSet):
    """Parameters of HPCC, a rate and a window by what switches say; what is not given is that of the preset."""

    presets: ClassVar[Mapping[str, Figures]] = HPCC
    what: ClassVar[str] = "HPCC parameter set"
    derived: ClassVar[frozenset[str]] = frozenset({"base_rtt", "header"})

    preset: Annotated[str, *known(HPCC, "HPCC parameter set")] = "hpcc-ns3"
    """Named set of parameters; every other key replaces one figure of it."""
    target: Annotated[Ratio, Field(gt=0)] | None = None
    """Utilisation that links are to have, above 0 to 1; left out, the preset's."""
    stages: Annotated[int, Field(strict=True, ge=0, le=1000)] | None = None
    """Additive steps before utilisation sets a rate again; left out, the preset's."""
    additive: Rate | None = None
    """Step in bit/s of an increase; left out, the preset's."""
    minimum: Rate | None = None
    """Rate in bit/s below which nothing is cut; left out, the preset's."""
    base_rtt: Annotated[Time, Field(gt=0)] | None = None
    """Round trip without queues; left out, that of the longest path between two ranks that talk."""
    header: Annotated[Size, Field(ge=HOPS_BYTES, le=MOST_HEADER_BYTES)] | None = None
    """Bytes that telemetry takes of data and acknowledgements; left out, 2, and 8 for each switch on the longest path."""

    def header_bytes(self, links: int) -> int:
        """Return what telemetry takes of a packet whose longest path has so many links."""
        return self.header if self.header is not None else HOPS_BYTES + HOP_BYTES * max(links - 1, 0)

    def plan(self, path: Path) -> dict[str, Any]:
        """Return the plan of congestion control for a longest path."""
        resolved = self.at(path.rate_bps)
        return {
            "kind": "hpcc",
            "target": resolved["target"],
            "stages": resolved["stages"],
            "base_rtt_ps": self.base_rtt if self.base_rtt is not None else path.round_trip_ps,
            "additive_bps": resolved["additive"],
            "minimum_bps": resolved["minimum"],
            "header_bytes": self.header_bytes(path.links),
        }


class Swift(PresetSet):
    """Parameters of Swift, a window that keeps the delay at a target; what is not given is that of the preset."""

    presets: ClassVar[Mapping[str, Figures]] = SWIFT
    what: ClassVar[str] = "Swift parameter set"
    derived: ClassVar[frozenset[str]] = frozenset({"hops"})

    preset: Annotated[str, *known(SWIFT, "Swift parameter set")] = "csg-htsim"
    """Named set of parameters; every other key replaces one figure of it."""
    base_target: Annotated[Time, Field(gt=0)] | None = None
    """Delay that is aimed at on a path without hops; left out, the preset's, or the longest path's round trip if more."""
    hop: Time | None = None
    """Delay that each hop adds to it; left out, the preset's."""
    hops: Annotated[int, Field(strict=True, ge=0, le=255)] | None = None
    """Hops of a path; left out, the links of the longest path between two ranks that talk."""
    scaling_range: Time | None = None
    """Delay that a small window adds to the target at most; left out, the preset's."""
    scaling_least: Factor | None = None
    """Window in packets at which it adds all of that; left out, the preset's."""
    scaling_most: Factor | None = None
    """Window in packets from which it adds nothing; left out, the preset's."""
    additive: Factor | None = None
    """Packets by which a window grows in a round trip; left out, the preset's."""
    beta: Ratio | None = None
    """Share that a decrease takes of a window for a delay far above the target; left out, the preset's."""
    most_decrease: Annotated[Ratio, Field(lt=1)] | None = None
    """Share of a window that a decrease takes at most, below 1; left out, the preset's."""
    initial: Factor | None = None
    """Window in packets that a connection begins with; left out, the preset's."""

    @model_validator(mode="after")
    def _agrees(self) -> Swift:
        figures = self.at(_REFERENCE_BPS)
        if figures["scaling_least"] >= figures["scaling_most"]:
            raise ValueError("scaling-least is not below scaling-most")
        return self

    def plan(self, path: Path) -> dict[str, Any]:
        """Return the plan of congestion control for a longest path."""
        resolved = self.at(path.rate_bps)
        return {
            "kind": "swift",
            # A target below what a path takes by itself would leave no window.
            "base_target_ps": self.base_target
            if self.base_target is not None
            else max(int(resolved["base_target"]), path.round_trip_ps),
            "hop_ps": resolved["hop"],
            "hops": self.hops if self.hops is not None else path.links,
            "scaling_range_ps": resolved["scaling_range"],
            "scaling_least_packets": resolved["scaling_least"],
            "scaling_most_packets": resolved["scaling_most"],
            "additive_packets": resolved["additive"],
            "beta": resolved["beta"],
            "most_decrease": resolved["most_decrease"],
            "initial_packets": resolved["initial"],
        }


class Nscc(PresetSet):
    """Parameters of NSCC, the sender's window of Ultra Ethernet; what is not given is that of the preset.

    All steps are for a network of 100 Gb/s and 12 us, and grow with what is under way on a path.
    """

    presets: ClassVar[Mapping[str, Figures]] = NSCC
    what: ClassVar[str] = "NSCC parameter set"
    derived: ClassVar[frozenset[str]] = frozenset({"base_rtt", "target"})

    preset: Annotated[str, *known(NSCC, "NSCC parameter set")] = "uet-htsim"
    """Named set of parameters; every other key replaces one figure of it."""
    base_rtt: Annotated[Time, Field(gt=0)] | None = None
    """Round trip without queues; left out, that of the longest path between two ranks that talk."""
    target: Annotated[Time, Field(gt=0)] | None = None
    """Delay in queues that is aimed at; left out, the round trip without queues, as where no switch trims."""
    proportional: Factor | None = None
    """Packets by which a window grows in a round trip without delay; left out, the preset's."""
    fair: Factor | None = None
    """Packets by which it grows above the target without a mark; left out, the preset's."""
    eta: Factor | None = None
    """Packets by which it grows in every round trip; left out, the preset's."""
    fast: Factor | None = None
    """Share of what is acknowledged by which it grows on an idle path; left out, the preset's."""
    gamma: Ratio | None = None
    """Share that a decrease takes of a window for a delay far above the target; left out, the preset's."""
    most_decrease: Ratio | None = None
    """Share of a window that a decrease takes at most; left out, the preset's."""
    delay_weight: Ratio | None = None
    """Weight of the newest delay in the average, from 0 to 1; left out, the preset's."""
    most_window: Factor | None = None
    """Bandwidth-delay products of the largest window; left out, the preset's."""
    initial_window: Factor | None = None
    """Bandwidth-delay products of the window that a connection begins with; left out, the preset's."""

    def plan(self, path: Path) -> dict[str, Any]:
        """Return the plan of congestion control for a longest path."""
        resolved = self.at(path.rate_bps)
        base_ps = self.base_rtt if self.base_rtt is not None else path.round_trip_ps
        return {
            "kind": "nscc",
            "base_rtt_ps": base_ps,
            "target_ps": self.target if self.target is not None else base_ps,
            "proportional_packets": resolved["proportional"],
            "fair_packets": resolved["fair"],
            "eta_packets": resolved["eta"],
            "fast": resolved["fast"],
            "gamma": resolved["gamma"],
            "most_decrease": resolved["most_decrease"],
            "delay_weight": resolved["delay_weight"],
            "most_products": resolved["most_window"],
            "initial_products": resolved["initial_window"],
        }
