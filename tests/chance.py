"""Whether a count of random events may be luck: tests bound by it what is drawn afresh in every run."""

from __future__ import annotations

import math

LUCK = 1e-10
"""How often luck alone may decide a test, on either side."""


def is_plausible(count: int, trials: int, probability: float) -> bool:
    """Return whether so many of independent trials are to be expected: fewer, or more, are not rarer than `LUCK`."""
    mass = [_mass(number, trials, probability) for number in range(trials + 1)]
    return min(sum(mass[: count + 1]), sum(mass[count:])) > LUCK


def _mass(number: int, trials: int, probability: float) -> float:
    """Return how probable exactly so many are: the binomial distribution, by logarithms."""
    ways = math.lgamma(trials + 1) - math.lgamma(number + 1) - math.lgamma(trials - number + 1)
    return math.exp(ways + number * math.log(probability) + (trials - number) * math.log1p(-probability))
