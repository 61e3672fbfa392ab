"""Energy of links and of runs, and the cost of a petabyte from prices that the user gives.

A bit that crosses a link passes both ends, and each end serves both directions. So with 2·W spent and 2·rate carried, the
nominal energy of a bit is W/rate: the figure that makers state for one end. Amplifiers along a line are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field

from testbed.models import FileModel
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


class Prices(FileModel):
    """What a link costs its owner, in one currency of the user's choice; nothing has a default but full load."""

    capex_per_end: NotNegative
    lifetime_years: Positive
    energy_per_kwh: NotNegative
    utilisation: Annotated[float, Field(gt=0, le=1)] = 1.0


def cost_per_petabyte(power_w: float, rate_bps: int, prices: Prices) -> float:
    """Return the cost of carrying a petabyte over a link: both ends' share of purchase, and their electricity."""
    if rate_bps <= 0:
        raise ValueError("a link that is down carries nothing at any price")
    seconds = BITS_PER_PETABYTE / (2 * rate_bps * prices.utilisation)
    capex = 2 * prices.capex_per_end * seconds / (prices.lifetime_years * SECONDS_PER_YEAR)
    return capex + 2 * power_w * seconds / JOULES_PER_KWH * prices.energy_per_kwh
