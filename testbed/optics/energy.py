"""Energy of links and of runs, and the cost of a petabyte from prices that the user gives.

A bit that crosses a link passes both ends, and each end serves both directions. So with 2·W spent and 2·rate carried, the
nominal energy of a bit is W/rate: the figure that makers state for one end. Amplifiers along a line are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from testbed.schema.fields import FileModel
from testbed.units import PS_PER_SECOND

PJ_PER_JOULE = 10**12
SECONDS_PER_YEAR = 365.25 * 86_400
BITS_PER_PETABYTE = 8 * 10**15
JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Energy:
    """What one or more links consumed over a run. Figures per bit are None where there was no bit to divide by."""

    watts: float
    joules: float
    nominal_pj_per_bit: float | None
    useful_pj_per_bit: float | None
    useful_bits: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures with their units in the keys, for run.json."""
        return asdict(self)


def link_energy(power_w: float, rate_bps: int, duration_ps: int, useful_bits: int) -> Energy:
    """Return the energy of a link whose ends draw `power_w` each, all the time.

    `rate_bps` is the usable rate of one direction, `useful_bits` what both directions delivered to applications.
    """
    return total_energy([(power_w, rate_bps)], duration_ps, useful_bits)


def total_energy(links: Iterable[tuple[float, int]], duration_ps: int, useful_bits: int) -> Energy:
    """Return the energy of links, each (watts an end, rate in bit/s), that together delivered `useful_bits`."""
    known = list(links)
    watts = sum(2 * power_w for power_w, _ in known)
    capacity_bps = sum(2 * rate_bps for _, rate_bps in known)
    joules = watts * duration_ps / PS_PER_SECOND
    return Energy(
        watts=watts,
        joules=joules,
        nominal_pj_per_bit=watts / capacity_bps * PJ_PER_JOULE if capacity_bps else None,
        useful_pj_per_bit=joules / useful_bits * PJ_PER_JOULE if useful_bits else None,
        useful_bits=useful_bits,
    )


NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


def _amount(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise ValueError(f'"{value}" is not an amount of 0 or more')
    return float(value)


def _capex(value: object) -> object:
    return {str(key): _amount(each) for key, each in value.items()} if isinstance(value, dict) else _amount(value)


_AMOUNT = {"type": "number", "minimum": 0}
Capex = Annotated[
    float | dict[str, float],
    BeforeValidator(_capex),
    WithJsonSchema({"anyOf": [_AMOUNT, {"type": "object", "additionalProperties": _AMOUNT}]}),
]


class Prices(FileModel):
    """What a link costs its owner, in one currency of the user's choice; nothing has a default but full load.

    `capex-per-end` is one price for all, or a price for each profile.
    """

    capex_per_end: Capex
    """Price of one end of a link, one for all links or a mapping of profiles to prices, in a currency of your choice."""
    lifetime_years: Positive
    """Years over which the price is written off."""
    energy_per_kwh: NotNegative
    """Price of a kilowatt hour, in the same currency."""
    utilisation: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of their rate that links carry on average, above 0 to 1; left out, 1."""

    def capex_of(self, profile: str) -> float | None:
        """Return the price of one end of a link; None where none was given."""
        return self.capex_per_end.get(profile) if isinstance(self.capex_per_end, dict) else self.capex_per_end


def cost_per_petabyte(power_w: float, rate_bps: int, prices: Prices, profile: str = "") -> float | None:
    """Return the cost of carrying a petabyte over a link: both ends' share of purchase, and their electricity.

    None where the profile has no price.
    """
    if rate_bps <= 0:
        raise ValueError("a link that is down has no cost per bit")
    return _cost(power_w, BITS_PER_PETABYTE / (2 * rate_bps), prices, profile)


def _cost(power_w: float, seconds: float, prices: Prices, profile: str) -> float | None:
    """Return what both ends of a link cost over so many seconds of full use."""
    capex = prices.capex_of(profile)
    if capex is None:
        return None
    owned = seconds / prices.utilisation
    purchase = 2 * capex * owned / (prices.lifetime_years * SECONDS_PER_YEAR)
    return purchase + 2 * power_w * owned / JOULES_PER_KWH * prices.energy_per_kwh


@dataclass(frozen=True)
class PoweredLink:
    """A link with a profile. `useful_bits` is what both its ends received during a run, frames with their headers."""

    name: str
    profile: str
    power_w: float
    rate_bps: int
    useful_bits: int


def energy_of_run(
    links: Sequence[PoweredLink], duration_ps: int, useful_bits: int, prices: Prices | None = None
) -> dict[str, Any]:
    """Return the energy of a run for run.json: of all links together, and of each; empty where no link has a profile.

    `useful_bits` is what the run delivered to applications. Costs are there if prices are, null where one is missing:
    `cost` is what all links cost their owner over the run, `cost_per_petabyte` the same for what was delivered.
    """
    if not links:
        return {}
    whole = total_energy([(link.power_w, link.rate_bps) for link in links], duration_ps, useful_bits)
    document = {"duration_ns": duration_ps / 1000, **whole.as_json()}
    each: dict[str, dict[str, Any]] = {}
    for link in links:
        spent = link_energy(link.power_w, link.rate_bps, duration_ps, link.useful_bits)
        each[link.name] = {"profile": link.profile, **spent.as_json()}
        if prices is not None:
            cost = cost_per_petabyte(link.power_w, link.rate_bps, prices, link.profile) if link.rate_bps else None
            each[link.name]["cost_per_petabyte"] = cost
    if prices is not None:
        document["cost"] = spent_in_run = _cost_of_run(links, duration_ps, prices)
        document["cost_per_petabyte"] = (
            None if spent_in_run is None or not useful_bits else spent_in_run * BITS_PER_PETABYTE / useful_bits
        )
    return {**document, "links": each}


def _cost_of_run(links: Sequence[PoweredLink], duration_ps: int, prices: Prices) -> float | None:
    """Return what links cost over a run; None where one has no price."""
    spent = [_cost(link.power_w, duration_ps / PS_PER_SECOND, prices, link.profile) for link in links]
    return None if None in spent else sum(cost for cost in spent if cost is not None)
