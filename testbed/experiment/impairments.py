"""What can be wrong with a link for a while, as an experiment's `timeline:` or `testbed impair` says it.

Models only: what they come to for the data plane is worked out in `timeline.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from testbed.lab.endpoints import parse_endpoint
from testbed.lab.routes import Target
from testbed.optics.loss import random_loss
from testbed.optics.profiles import Ber, Decibels
from testbed.schema.fields import FileModel, Flag, LossRatio, Priorities, Rate, Ratio, Time, Weights

MAX_ENTRIES = 1_000
MAX_STEPS = 1_000
MAX_FLAPS = 10_000
MAX_TRACE_POINTS = 10_000
# Renewed at half time, PAUSE frames then take 84 of 3200 bytes of the line.
SHORTEST_STORM_QUANTA = 100

LOSSES = ("loss", "ber", "osnr_db", "margin_db")
"""Settings that each say how frames are lost: only one of them can hold."""


def _endpoint(text: str) -> str:
    return str(parse_endpoint(text))


def _positive(time_ps: int) -> int:
    if time_ps <= 0:
        raise ValueError("must last longer than 0")
    return time_ps


def _points(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("a trace in a file can be named in an experiment file only; give its points")
    return value


Span = Annotated[Time, AfterValidator(_positive)]
Lanes = Annotated[int, Field(strict=True, ge=0)]
Burst = Annotated[float, Field(ge=1)]
Direction = Literal["both", "out", "in"]
EndpointText = Annotated[
    str,
    AfterValidator(_endpoint),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9][a-z0-9-]*:eth[1-9][0-9]*$", "examples": ["leaf-a:eth9"]}),
]


class Impairment(FileModel):
    """How a link shall be; what is left out stays as it is.

    `loss` is independent from frame to frame, or comes in bursts of `burst` frames on average. `ber`, `osnr-db` and
    `margin-db` are operating points of a link with a profile. `drain` keeps the sending port from starting anything new.
    `weights` are those by which a switch shares the sending port among priorities.
    """

    delay: Time | None = None
    """Time that a frame takes one way; left out, as it was."""
    jitter: Time | None = None
    """Largest time by which a frame is late at random, its order kept; left out, as it was."""
    loss: LossRatio | None = None
    """Share of the frames that are lost, from 0 to 1; left out, as it was."""
    burst: Burst | None = None
    """Frames lost in a row on average, at least 1; left out, each frame is lost independently."""
    ber: Ber | None = None
    """Bit error ratio before the FEC, of a link with a profile; left out, as it was."""
    osnr_db: Decibels | None = None
    """OSNR in dB in 0.1 nm, of a coherent link; left out, as it was."""
    margin_db: Decibels | None = None
    """Margin in dB above the limit of the link's profile; left out, as it was."""
    rate: Rate | None = None
    """Rate in bit/s; left out, as it was."""
    lanes_down: Lanes | None = None
    """Number of lanes that have failed; left out, as it was."""
    down: Flag | None = None
    """Whether the link goes down; left out, as it was."""
    up: Flag | None = None
    """Whether the link comes up; left out, as it was."""
    drain: Flag | None = None
    """Whether the sending port starts nothing new; left out, as it was."""
    weights: Weights | None = None
    """Weights by priority, 0 is strict, of the sending port of a switch; left out, as they were."""

    @model_validator(mode="after")
    def _agrees(self) -> Impairment:
        if not self.model_fields_set:
            raise ValueError("nothing is impaired; give at least one setting")
        given = [name.replace("_", "-") for name in LOSSES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each set how frames are lost; give one")
        if self.down is not None and self.up is not None and self.down == self.up:
            raise ValueError("a link is either up or down")
        if self.burst is not None and self.loss is None and "loss" not in self._ramped():
            raise ValueError("a burst needs a loss")
        if self.loss is not None:
            random_loss(self.loss, self.burst)
        return self

    def _ramped(self) -> Mapping[str, Any]:
        """Return what changes steadily."""
        return {}

    @property
    def carrier(self) -> bool | None:
        """Whether the link is to be up, None if that is not said."""
        if self.up is not None:
            return self.up
        return None if self.down is None else not self.down


class Flap(FileModel):
    """A link that goes down at the start of each `period`, for a share `duty` of it, `count` times or while it lasts."""

    period: Span
    """Time from one fall of the link to the next."""
    duty: Annotated[Ratio, Field(gt=0, lt=1)] = 0.5
    """Share of each period for which the link is down, between 0 and 1."""
    count: Annotated[int, Field(strict=True, ge=1, le=MAX_FLAPS)] | None = None
    """Number of falls; left out, as many as the entry's `for` has room for."""


class Ramp(FileModel):
    """Settings that go from one value to another in so many equal steps; `over` is left out where `for` says it."""

    delay: tuple[Time, Time] | None = None
    """First and last delay; left out, it does not change."""
    jitter: tuple[Time, Time] | None = None
    """First and last jitter; left out, it does not change."""
    loss: tuple[LossRatio, LossRatio] | None = None
    """First and last share of frames that are lost; left out, it does not change."""
    ber: tuple[Ber, Ber] | None = None
    """First and last bit error ratio before the FEC; left out, it does not change."""
    osnr_db: tuple[Decibels, Decibels] | None = None
    """First and last OSNR in dB; left out, it does not change."""
    margin_db: tuple[Decibels, Decibels] | None = None
    """First and last margin in dB; left out, it does not change."""
    rate: tuple[Rate, Rate] | None = None
    """First and last rate in bit/s; left out, it does not change."""
    steps: Annotated[int, Field(strict=True, ge=1, le=MAX_STEPS)] = 10
    """Number of equal steps from the first value to the last."""
    over: Span | None = None
    """Time from the first value to the last; left out, the entry's `for`."""

    @model_validator(mode="after")
    def _agrees(self) -> Ramp:
        if not self.fields():
            raise ValueError("nothing changes; give a setting and two values, as delay: [80us, 400us]")
        given = [name.replace("_", "-") for name in LOSSES if name in self.fields()]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each set how frames are lost; give one")
        return self

    def fields(self) -> dict[str, tuple[Any, Any]]:
        """Return the settings that change, each from one value to another."""
        names = [name for name in type(self).model_fields if name not in ("steps", "over")]
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class TracePoint(FileModel):
    """From `time` on, counted from the entry's `at`, a link is like this; what is left out stays."""

    time: Time
    """Time from which the point holds, counted from the entry's `at`."""
    rate: Rate | None = None
    """Rate in bit/s; left out, it stays."""
    delay: Time | None = None
    """Time that a frame takes one way; left out, it stays."""
    jitter: Time | None = None
    """Largest time by which a frame is late at random, its order kept; left out, it stays."""
    loss: LossRatio | None = None
    """Share of the frames that are lost; left out, it stays."""


Trace = Annotated[tuple[TracePoint, ...], Field(min_length=1, max_length=MAX_TRACE_POINTS)]
_TRACE_SCHEMA = {
    "type": ["string", "array", "null"],
    "description": "CSV file beside the experiment with the columns time and any of rate, delay, jitter, loss; or points",
    "examples": ["trace.csv", [{"time": "0ms", "rate": "50G"}]],
}


class TimedImpairment(Impairment):
    """An impairment that may also flap, ramp, or follow a trace: a CSV file beside the experiment, or its points."""

    flap: Flap | None = None
    """Go down and come up again, period by period; left out, the link does not flap."""
    ramp: Ramp | None = None
    """Go from one value to another in steps; left out, nothing changes steadily."""
    trace: Annotated[Trace | None, BeforeValidator(_points), WithJsonSchema(_TRACE_SCHEMA)] = None
    """Follow a CSV file beside the experiment, or its points; left out, there is no trace."""

    @model_validator(mode="after")
    def _once(self) -> TimedImpairment:
        ramped = self._ramped()
        both = [name for name in ramped if getattr(self, name) is not None]
        if both:
            raise ValueError(f"{both[0].replace('_', '-')} is given outright and as a ramp")
        if any(name in ramped for name in LOSSES) and any(getattr(self, name) is not None for name in LOSSES):
            raise ValueError("how frames are lost is given outright and as a ramp")
        for value in ramped.get("loss", ()):
            random_loss(value, self.burst)
        if self.flap is not None and self.carrier is not None:
            raise ValueError("a link that flaps is neither up nor down; give one")
        if self.trace is not None and any(a.time >= b.time for a, b in zip(self.trace, self.trace[1:], strict=False)):
            raise ValueError("the points of a trace must be in the order of their times")
        return self

    def _ramped(self) -> Mapping[str, Any]:
        return {} if self.ramp is None else self.ramp.fields()


class Storm(FileModel):
    """PAUSE frames that a host sends without need: unbroken, or in a share `duty` of every `period`.

    Each asks to pause the `priorities` (left out: the lossless one of the experiment) for so many `quanta` and is renewed
    at half time; what is held at the end is let go.
    """

    priorities: Annotated[Priorities, Field(min_length=1)] | None = None
    """Priorities that the host asks to pause; left out, the lossless one of the experiment."""
    quanta: Annotated[int, Field(strict=True, ge=SHORTEST_STORM_QUANTA, le=65_535)] = 65_535
    """Pause time that each PAUSE frame asks for, in quanta of 512 bit times."""
    period: Span | None = None
    """Time from one start of the storm to the next; left out, the storm is unbroken."""
    duty: Annotated[Ratio, Field(gt=0, lt=1)] | None = None
    """Share of each period in which the storm is on; left out, as `period` then must be, it is unbroken."""

    @model_validator(mode="after")
    def _agrees(self) -> Storm:
        if (self.period is None) != (self.duty is None):
            raise ValueError("a periodic storm needs both a period and a duty")
        if self.period is not None and not 0 < self.on_ps(self.period) < self.period:
            raise ValueError("the period is too short for this duty")
        return self

    def on_ps(self, period: int) -> int:
        """Return how long of a period the storm is on."""
        return round(period * (self.duty or 1))


class TimelineEntry(FileModel):
    """From `at` on, counted from the start of the first workload, a link is impaired, for good or `for` a while.

    `direction` is seen from the named port: `out` is what it sends, `in` what it receives. When the while is over the
    link is as if this entry had never been. Instead of `link` and `impair`: `node`, a host, and its `storm`; or `node`, any,
    and `impair` to take all of its links down or up.
    """

    at: Time
    """Nominal time, from the start of the first workload, at which the entry begins."""
    link: EndpointText | None = None
    """Port whose link is impaired, written `node:ethN`; left out, the entry is about a `node`."""
    impair: TimedImpairment | None = None
    """How the link is from then on, as far as it is said; left out, the entry is about a `node`."""
    node: Target | None = None
    """Host that sends a pause storm (of several ports one, like `h1:eth2`), or node that goes down or comes up; left out,
    the entry is about a `link`."""
    storm: Storm | None = None
    """PAUSE frames that the host sends without need; left out, the entry is about a `link`."""
    for_: Span | None = Field(default=None, alias="for")
    """Time after which the entry is over and as if it had never been; left out, it holds for good."""
    direction: Direction = "both"
    """Direction seen from the named port: what it sends, what it receives, or both."""

    @model_validator(mode="after")
    def _whole(self) -> TimelineEntry:
        given = {name for name in ("link", "impair", "node", "storm") if getattr(self, name) is not None}
        if given not in ({"link", "impair"}, {"node", "storm"}, {"node", "impair"}):
            raise ValueError("an entry has a link and what to impair, or a node and its storm, or that it is down")
        if self.node is not None and self.impair is not None:
            if not self.impair.model_fields_set <= {"down", "up", "flap"}:
                raise ValueError("a node can go down, come up or flap; anything else is of a link")
            if self.direction != "both":
                raise ValueError("a node goes down with both directions of its links")
        if self.storm is not None and self.direction != "both":
            raise ValueError("a storm is sent by its node and takes no direction")
        return self

    @model_validator(mode="after")
    def _ends(self) -> TimelineEntry:
        if self.impair is None:
            return self
        if self.impair.ramp is not None and self.impair.ramp.over is None and self.for_ is None:
            raise ValueError("a ramp needs a time: over, or for")
        flap = self.impair.flap
        if flap is not None and flap.count is None:
            if self.for_ is None:
                raise ValueError("a flapping link needs an end: count, or for")
            if self.for_ > flap.period * MAX_FLAPS:
                raise ValueError(f"a link cannot flap more than {MAX_FLAPS} times")
        return self
