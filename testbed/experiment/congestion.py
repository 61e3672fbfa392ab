"""Congestion marking and control: named sets of parameters, each figure beside its source, and what a plan says of them.

Marking (RED on dequeue) has two thresholds and a probability; DCQCN is the reaction to marks of Zhu et al., "Congestion
Control for Large-Scale RDMA Deployments", SIGCOMM 2015. `ns-3 HPCC` is the simulator published with Li et al., "HPCC",
SIGCOMM 2019; its figures are given per 25 Gb/s and grow with the rate.

Notifications (CNP) travel at DSCP 48, priority 6, which is not lossless unless a switch says so: they are small, overtake
the queues that they report, and one that is lost is followed by another as long as there are marks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, model_validator

from testbed.lab.presets import Figure, Figures, PresetSet, known
from testbed.schema.fields import Rate, Ratio, Size, Time
from testbed.units import PS_PER_SECOND

NOTIFY_PRIORITY = 6
# Algorithms that do nothing without marks.
ACTING_ON_MARKS = ("dcqcn", "dctcp", "nscc")
# What the data plane takes for a byte counter that never comes round.
NO_BYTE_COUNTER = 2**64 - 1

_US = PS_PER_SECOND // 10**6
_M = 10**6

_HPCC = "ns-3 HPCC, run.py"
_LCMP = "LCMP, config.txt"
_PAPER = "Zhu et al., SIGCOMM 2015"


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
    "lcmp": {
        "g": Figure(1 / 256, _LCMP),
        "initial_alpha": Figure(1.0, "ns-3 HPCC, rdma-hw.cc"),
        "alpha_timer": Figure(55 * _US, "ns-3 HPCC, rdma-hw.cc, which LCMP leaves as it is"),
        "increase_timer": Figure(900 * _US, _LCMP),
        "byte_counter": Figure(NO_BYTE_COUNTER, "ns-3 HPCC, rdma-hw.cc has none: time alone leads to hyper increase"),
        "fast_recovery": Figure(1, _LCMP),
        "additive": Figure(50 * _M, _LCMP),
        "hyper": Figure(100 * _M, _LCMP),
        "minimum": Figure(100 * _M, _LCMP),
        "cut_interval": Figure(4 * _US, _LCMP),
        "notify_interval": Figure(4 * _US, "as hpcc-ns3"),
    },
}


def _scaled(factor: int, unit: str) -> Callable[[Any], Any]:
    """Return how a whole number of a unit is written."""
    return lambda value: f"{value * factor}{unit}"


# Parameters of adapters, by the names that mlx5 gives them: the key that means the same, and how its value is written there.
ADAPTERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "rpg_time_reset": ("increase-timer", _scaled(1, "us")),
    "rpg_byte_reset": ("byte-counter", int),
    "rpg_threshold": ("fast-recovery", int),
    "rpg_ai_rate": ("additive", _scaled(1, "M")),
    "rpg_hai_rate": ("hyper", _scaled(1, "M")),
    "rpg_min_rate": ("minimum", _scaled(1, "M")),
    "rate_reduce_monitor_period": ("cut-interval", _scaled(1, "us")),
    "dce_tcp_g": ("g", lambda value: (1024 - value) / 1024),
    "dce_tcp_rtt": ("alpha-timer", _scaled(1, "us")),
    "initial_alpha_value": ("initial-alpha", lambda value: value / 1024),
    "min_time_between_cnps": ("notify-interval", _scaled(1, "us")),
}
_LARGEST_OF_ADAPTERS = 2**32 - 1


def in_own_names(given: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with those that have names of adapters under their own; raise ValueError for one that is given twice."""
    own = {key: value for key, value in given.items() if key not in ADAPTERS}
    for name, value in given.items():
        if name not in ADAPTERS:
            continue
        key, written = ADAPTERS[name]
        most = 1024 if name in ("dce_tcp_g", "initial_alpha_value") else _LARGEST_OF_ADAPTERS
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ValueError(f"{name} is a whole number from 0 to {most}, as adapters have it")
        if key in own:
            raise ValueError(f"{name} is {key}, which is given too")
        own[key] = written(value)
    return own


class Dcqcn(PresetSet):
    """Parameters of DCQCN; what is not given is that of the preset, and the preset, if none is named, is the paper's.

    `additive` and `hyper` are the steps of a rate's target, `minimum` is what no cut goes below, and `fast-recovery` is
    how many rounds of timer or byte counter only halve the distance to the target. Names of adapters stand for their keys,
    with whole numbers in the adapters' units: `rpg_time_reset: 300` is `increase-timer: 300us`.
    """

    model_config = ConfigDict(
        json_schema_extra={"patternProperties": {"^x-": {}, f"^({'|'.join(ADAPTERS)})$": {"type": "integer"}}}
    )

    presets: ClassVar[Mapping[str, Figures]] = DCQCN
    what: ClassVar[str] = "DCQCN parameter set"
    other_names: ClassVar[frozenset[str]] = frozenset(ADAPTERS)

    preset: Annotated[str, *known(DCQCN, "DCQCN parameter set")] = "paper"
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

    @model_validator(mode="before")
    @classmethod
    def _of_adapters(cls, value: Any) -> Any:
        return in_own_names(value) if isinstance(value, dict) else value

    def plan(self, rate_bps: int) -> dict[str, Any]:
        """Return the plan of congestion control for NICs of which the slowest has this rate."""
        resolved = self.at(rate_bps)
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
