"""Parallel lanes of a link: the chance that spares run out, and what is left when lanes fail."""

from __future__ import annotations

import math

from testbed.optics.fec import log_binomial_tail

HOURS_PER_YEAR = 8766
FIT_PER_HOUR = 1e-9  # one FIT is one failure in 10^9 hours


def lane_failure(fit: float, hours: float) -> float:
    """Return the chance that a lane of constant failure rate `fit` has failed after `hours`."""
    return -math.expm1(-fit * FIT_PER_HOUR * hours)


def degraded_probability(lanes: int, spares: int, fit: float, hours: float) -> float:
    """Return the chance that more than `spares` of `lanes + spares` lanes have failed after `hours`."""
    return math.exp(log_binomial_tail(lanes + spares, lane_failure(fit, hours), spares))


def rate_after(rate_bps: int, lanes: int, spares: int, failed: int, degrades: bool) -> int:
    """Return the rate in bit/s that is left when `failed` lanes are dark, rounded down; 0 is a link that is down.

    Spares replace the first lanes to fail. After that the rate falls by one lane's share for each (`degrades`), or the
    whole link goes down, as one does whose standard knows only all of its lanes.
    """
    if not 0 <= failed <= lanes + spares:
        raise ValueError(f"{failed} lanes cannot be down: there are {lanes} and {spares} spare")
    missing = max(0, failed - spares)
    if missing and not degrades:
        return 0
    return rate_bps * (lanes - missing) // lanes
