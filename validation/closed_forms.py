"""The laws that runs are held against, each with where it comes from; seconds, bytes and bytes a second throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PauseCycle:
    """A queue that pauses its sender at XOFF = XON = `threshold`; it fills at `arrival` and drains at `drain` < arrival.

    `trip` is the time from a threshold passed to its effect in the queue. Derived by following the queue for one period:
    it fills to the threshold, overshoots for a trip, drains to the threshold, and for a trip more, or until it is empty.
    """

    arrival: float
    drain: float
    threshold: float
    trip: float

    @property
    def idle(self) -> float:
        """How long the queue is empty in each period."""
        return max(0.0, self.trip - self.threshold / self.drain)

    @property
    def period(self) -> float:
        """From one XOFF to the next."""
        fill = min(self.threshold, self.drain * self.trip) / (self.arrival - self.drain)
        return 2 * self.trip + self.trip * (self.arrival - self.drain) / self.drain + fill

    @property
    def utilisation(self) -> float:
        """The share of time in which the draining link is busy; 1 if and only if threshold ≥ drain · trip."""
        return 1 - self.idle / self.period

    @property
    def paused(self) -> float:
        """The share of time for which the sender is paused."""
        return self.trip * self.arrival / self.drain / self.period

    @property
    def peak(self) -> float:
        """The most that the queue holds."""
        return self.threshold + (self.arrival - self.drain) * self.trip

    @property
    def peak_stopped(self) -> float:
        """The most that it holds when nothing drains any more: what headroom is for."""
        return self.threshold + self.arrival * self.trip


def go_back_n(loss: float, window_packets: float) -> float:
    """Return goodput over line rate when each loss costs the packets of a round trip, `window_packets` = rate · RTT / packet."""
    return (1 - loss) / (1 - loss + loss * window_packets)


def window_limited(window: float, rate: float, round_trip: float) -> float:
    """Return goodput over line rate when no more than `window` bytes may be on their way."""
    return min(1.0, window / (rate * round_trip))


def dynamic_threshold(pool: float, alpha: float, groups: int) -> float:
    """Return what each of n equally loaded groups holds at T = alpha · (pool − used): alpha·B / (1 + n·alpha).

    Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.
    """
    return alpha * pool / (1 + groups * alpha)


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index of fairness: 1 if all are alike, 1/n if one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
