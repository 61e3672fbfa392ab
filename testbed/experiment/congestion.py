"""Congestion marking and control: named sets of parameters, each figure beside its source, and what a plan says of them.

Marking (RED on dequeue) has two thresholds and a probability; DCQCN is the reaction to marks of Zhu et al., "Congestion
Control for Large-Scale RDMA Deployments", SIGCOMM 2015. `ns-3 HPCC` is the simulator published with Li et al., "HPCC",
SIGCOMM 2019; its figures are given per 25 Gb/s and grow with the rate.

Notifications (CNP) travel at DSCP 48, priority 6, which is not lossless unless a switch says so: they are small, overtake
the queues that they report, and one that is lost is followed by another as long as there are marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from testbed.errors import nearest
from testbed.schema.fields import FileModel, Rate, Ratio, Size, Time
from testbed.units import PS_PER_SECOND

NOTIFY_PRIORITY = 6
# What the data plane takes for a byte counter that never comes round.
NO_BYTE_COUNTER = 2**64 - 1

_US = PS_PER_SECOND // 10**6
_M = 10**6

_AZURE = "SONiC's ECN profile for lossless queues, one for all rates"
_HPCC = "ns-3 HPCC, run.py"
_PAPER = "Zhu et al., SIGCOMM 2015"


@dataclass(frozen=True)
class Figure:
    """One figure of a set: its value, where it stands, and the rate in bit/s that it is meant for, if it grows with it."""

    value: float
    source: str
    per_bps: int = 0

    def at(self, rate_bps: int) -> float:
        """Return the value for a rate; whole figures stay whole."""
        if not self.per_bps:
            return self.value
        return int(self.value) * rate_bps // self.per_bps


Figures = Mapping[str, Figure]

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

# Times in ps, rates in bit/s, the byte counter in bytes.
DCQCN: Mapping[str, Figures] = {
    "paper": {
        "g": Figure(1 / 256, _PAPER),
        "initial_alpha": Figure(1.0, _PAPER),
        "alpha_timer": Figure(55 * _US, _PAPER),
        "increase_timer": Figure(55 * _US, _PAPER),
        "byte_counter": Figure(10 * _M, _PAPER),
        "fast_recovery": Figure(5, _PAPER),
        "additive": Figure(40 * _M, _PAPER),
        "hyper": Figure(400 * _M, _PAPER),
        "minimum": Figure(40 * _M, "not given there; one additive step"),
        "cut_interval": Figure(50 * _US, _PAPER),
        "notify_interval": Figure(50 * _US, _PAPER),
    },
    "hpcc-ns3": {
        "g": Figure(1 / 256, _HPCC),
        "initial_alpha": Figure(1.0, "ns-3 HPCC, rdma-hw.cc"),
        "alpha_timer": Figure(1 * _US, _HPCC),
        "increase_timer": Figure(300 * _US, _HPCC),
        "byte_counter": Figure(NO_BYTE_COUNTER, "ns-3 HPCC, rdma-hw.cc has none: time alone leads to hyper increase"),
        "fast_recovery": Figure(1, _HPCC),
        "additive": Figure(5 * _M, _HPCC, 25_000 * _M),
        "hyper": Figure(50 * _M, _HPCC, 25_000 * _M),
        "minimum": Figure(1000 * _M, _HPCC),
        "cut_interval": Figure(4 * _US, _HPCC),
        "notify_interval": Figure(
            4 * _US, "there every acknowledgement repeats the mark; more often than a cut is idle"
        ),
    },
}


def _known(known: Mapping[str, Figures], what: str) -> Any:
    def check(name: str) -> str:
        if name not in known:
            raise ValueError(f'no {what} is called "{name}"{nearest(name, known)}')
        return name

    return AfterValidator(check), WithJsonSchema({"enum": list(known)})


class _Set(FileModel):
    """A set of parameters that a file may give by its name alone: `ecn: sonic` is `ecn: {preset: sonic}`."""

    presets: ClassVar[Mapping[str, Figures]]
    what: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in cls.presets:
            raise ValueError(f'no {cls.what} is called "{value}"{nearest(value, cls.presets)}')
        return {"preset": value}


class Marking(_Set):
    """Marks of what leaves a queue: none up to kmin, all above kmax, in between with a probability that rises to pmax.

    Either a preset or all three figures. Thresholds hold for every queue of a switch; those of a preset that grows with
    the rate are taken for its slowest port, since a mark too early costs less than one too late.
    """

    presets: ClassVar[Mapping[str, Figures]] = MARKING
    what: ClassVar[str] = "marking"

    preset: Annotated[str, *_known(MARKING, "marking")] | None = None
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
        resolved = _resolved(self, rate_bps)
        return {"kmin_bytes": resolved["kmin"], "kmax_bytes": resolved["kmax"], "pmax": resolved["pmax"]}


class Dcqcn(_Set):
    """Parameters of DCQCN; what is not given is that of the preset, and the preset, if none is named, is the paper's.

    `additive` and `hyper` are the steps of a rate's target, `minimum` is what no cut goes below, and `fast-recovery` is
    how many rounds of timer or byte counter only halve the distance to the target.
    """

    presets: ClassVar[Mapping[str, Figures]] = DCQCN
    what: ClassVar[str] = "DCQCN parameter set"

    preset: Annotated[str, *_known(DCQCN, "DCQCN parameter set")] = "paper"
    """Named set of parameters; every other key replaces one figure of it."""
    g: Ratio | None = None
    """Weight of the newest observation in the estimate alpha, from 0 to 1; left out, the preset's."""
    initial_alpha: Ratio | None = None
    """Estimate alpha that a connection begins with, from 0 to 1; left out, the preset's."""
    alpha_timer: Annotated[Time, Field(gt=0)] | None = None
    """Time without a notification after which alpha decays; left out, the preset's."""
    increase_timer: Annotated[Time, Field(gt=0)] | None = None
    """Time after which a rate is increased; left out, the preset's."""
    byte_counter: Annotated[Size, Field(gt=0)] | None = None
    """Bytes sent after which a rate is increased; left out, the preset's."""
    fast_recovery: Annotated[int, Field(strict=True, ge=0, le=1000)] | None = None
    """Rounds of timer or byte counter that only halve the distance to the target rate; left out, the preset's."""
    additive: Rate | None = None
    """Step in bit/s of an additive increase; left out, the preset's."""
    hyper: Rate | None = None
    """Step in bit/s of a hyper increase; left out, the preset's."""
    minimum: Rate | None = None
    """Rate in bit/s below which nothing is cut; left out, the preset's."""
    cut_interval: Time | None = None
    """Least time between two cuts of a rate; left out, the preset's."""
    notify_interval: Time | None = None
    """Least time between two notifications to a sender; left out, the preset's."""

    def plan(self, rate_bps: int) -> dict[str, Any]:
        """Return the plan of congestion control for NICs of which the slowest has this rate."""
        resolved = _resolved(self, rate_bps)
        return {
            "kind": "dcqcn",
            "g": resolved["g"],
            "initial_alpha": resolved["initial_alpha"],
            "alpha_timer_ps": resolved["alpha_timer"],
            "increase_timer_ps": resolved["increase_timer"],
            "byte_counter_bytes": resolved["byte_counter"],
            "fast_recovery_rounds": resolved["fast_recovery"],
            "additive_bps": resolved["additive"],
            "hyper_bps": resolved["hyper"],
            "minimum_bps": resolved["minimum"],
            "cut_interval_ps": resolved["cut_interval"],
            "notify_interval_ps": resolved["notify_interval"],
            "notify_dscp": NOTIFY_PRIORITY << 3,
        }


def _resolved(chosen: Marking | Dcqcn, rate_bps: int) -> dict[str, float]:
    figures = chosen.presets[chosen.preset] if chosen.preset is not None else {}
    names = [name for name in type(chosen).model_fields if name != "preset"]
    resolved = {}
    for name in names:
        given = getattr(chosen, name)
        resolved[name] = figures[name].at(rate_bps) if given is None else given
    return resolved
