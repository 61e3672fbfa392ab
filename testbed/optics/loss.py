"""How frames are lost on one direction of a link, as plain parameters: nothing here draws a random number.

Each process says what it costs in closed form (`frame_loss`) and writes itself into the plan (`plan`), from which the data
plane draws. Rates too rare to see in a run can be accelerated by a factor, which stays on record in the plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from testbed.errors import UsageError
from testbed.units import PS_PER_SECOND


class LossError(UsageError, ValueError):
    """Parameters that no loss process can have; a ValueError too, so that models may raise it while they validate."""


def _probability(value: float, what: str) -> None:
    if not 0 <= value <= 1:
        raise LossError(f"{what} must be between 0 and 1, not {value:g}")


def _factor(factor: float) -> None:
    if not (math.isfinite(factor) and factor >= 1):
        raise LossError(f"an acceleration is a factor of 1 or more, not {factor:g}")


@dataclass(frozen=True)
class Bernoulli:
    """Each frame is lost on its own with one probability."""

    probability: float
    acceleration: float = 1.0

    def __post_init__(self) -> None:
        _probability(self.probability, "the probability of loss")

    def frame_loss(self, frame_bytes: int) -> float:
        """Return the share of frames lost."""
        return self.probability

    def accelerated(self, factor: float) -> Bernoulli:
        """Return the same process with its losses `factor` times as frequent."""
        _factor(factor)
        if self.probability * factor > 1:
            raise LossError(f"an acceleration of {factor:g} makes the loss {self.probability:g} exceed 1")
        return Bernoulli(self.probability * factor, self.acceleration * factor)

    def plan(self) -> dict[str, Any]:
        """Return the process as the plan has it."""
        return {"kind": "bernoulli", "probability": self.probability, "acceleration": self.acceleration}


@dataclass(frozen=True)
class GilbertElliott:
    """Two states. A frame is lost by the chance of the state that it finds, and then the state changes by chance.

    That order is netem's: with `loss_good` 0 and `loss_bad` 1, bursts of lost frames last 1/leave frames on average.
    """

    enter: float
    leave: float
    loss_good: float = 0.0
    loss_bad: float = 1.0
    acceleration: float = 1.0

    def __post_init__(self) -> None:
        for name in ("enter", "leave", "loss_good", "loss_bad"):
            _probability(getattr(self, name), name.replace("_", " "))
        if self.enter > 0 and self.leave == 0:
            raise LossError("a bad state that is never left loses everything; give a leave above 0")

    @classmethod
    def from_burst(cls, mean_loss: float, mean_burst_frames: float) -> GilbertElliott:
        """Make the process that loses `mean_loss` of all frames in bursts of `mean_burst_frames` on average."""
        _probability(mean_loss, "the mean loss")
        if not (math.isfinite(mean_burst_frames) and mean_burst_frames >= 1):
            raise LossError(f"a burst is 1 frame or more on average, not {mean_burst_frames:g}")
        leave = 1 / mean_burst_frames
        if mean_loss * leave > 1 - mean_loss:
            most = mean_burst_frames / (mean_burst_frames + 1)
            raise LossError(f"bursts of {mean_burst_frames:g} frames cannot lose more than {most:g} of all frames")
        return cls(mean_loss * leave / (1 - mean_loss), leave)

    @property
    def share_bad(self) -> float:
        """The share of frames that find the bad state, in the long run."""
        return self.enter / (self.enter + self.leave) if self.enter else 0.0

    def frame_loss(self, frame_bytes: int) -> float:
        """Return the share of frames lost in the long run."""
        return self.loss_good + self.share_bad * (self.loss_bad - self.loss_good)

    def accelerated(self, factor: float) -> GilbertElliott:
        """Return the process whose bursts come `factor` times as often and last as long."""
        _factor(factor)
        if self.enter * factor > 1:
            raise LossError(f"an acceleration of {factor:g} makes the chance {self.enter:g} of a burst exceed 1")
        return replace(self, enter=self.enter * factor, acceleration=self.acceleration * factor)

    def plan(self) -> dict[str, Any]:
        """Return the process as the plan has it."""
        return {
            "kind": "gilbert-elliott",
            "enter": self.enter,
            "leave": self.leave,
            "loss_good": self.loss_good,
            "loss_bad": self.loss_bad,
            "acceleration": self.acceleration,
        }


@dataclass(frozen=True)
class Codewords:
    """Failures as a Poisson process in time; each kills every frame whose time on the line overlaps its burst.

    `burst_ps` 0 is a single wrong bit: it kills the frame that is on the line at that instant.
    """

    per_second: float
    burst_ps: int
    rate_bps: int
    acceleration: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.per_second) and self.per_second >= 0):
            raise LossError(f"failures per second must be 0 or more, not {self.per_second:g}")
        # Whoever draws them draws each one: this bounds the work for a frame by its bits.
        if self.per_second > self.rate_bps:
            raise LossError(
                f"{self.per_second:g} failures per second are more than the bits of {self.rate_bps:g} bit/s"
            )

    @classmethod
    def from_failure(cls, failure: float, mac_bits: int, burst_ps: int, rate_bps: int) -> Codewords:
        """Make the process of blocks that carry `mac_bits` each and fail independently with probability `failure`.

        The rate is −ln(1 − failure) a block, so that a frame over n blocks survives with (1 − failure)^n exactly.
        """
        _probability(failure, "the chance of failure")
        # A certain failure has no finite rate; 40 a block leave nothing alive that could be told from it.
        hazard = min(-math.log1p(-failure), 40.0) if failure < 1 else 40.0
        return cls(hazard * rate_bps / mac_bits, burst_ps, rate_bps)

    def frame_loss(self, frame_bytes: int) -> float:
        """Return the chance that a frame of this length (with FCS) is lost."""
        seconds = self.burst_ps / PS_PER_SECOND + 8 * frame_bytes / self.rate_bps
        return -math.expm1(-self.per_second * seconds)

    def accelerated(self, factor: float) -> Codewords:
        """Return the same process with `factor` times as many failures."""
        _factor(factor)
        return replace(self, per_second=self.per_second * factor, acceleration=self.acceleration * factor)

    def plan(self) -> dict[str, Any]:
        """Return the process as the plan has it."""
        return {
            "kind": "codewords",
            "per_second": self.per_second,
            "burst_ps": self.burst_ps,
            "rate_bps": self.rate_bps,
            "acceleration": self.acceleration,
        }


LossProcess = Bernoulli | GilbertElliott | Codewords


def random_loss(mean_loss: float, mean_burst_frames: float | None = None) -> Bernoulli | GilbertElliott:
    """Return the process of a plain loss ratio: independent losses, or bursts of so many frames on average."""
    if mean_burst_frames is None:
        return Bernoulli(mean_loss)
    return GilbertElliott.from_burst(mean_loss, mean_burst_frames)
