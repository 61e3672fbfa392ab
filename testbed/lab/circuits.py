"""An optical circuit switch as a schedule of port maps, and the times at which each path is dark because of it.

A path is a pair of ports that a map joins. From one map to the next, pairs that stay are not disturbed (unless the step says
`repoint`); a pair that ends is dark from the step on; a new pair is dark until the mirrors have moved and the link has
come up. With a drain, nothing new is let onto a path for that long before it goes dark.

In a lab every path is a link, named by its two ends; `changes` is what a schedule makes of these links.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, model_validator

from testbed.schema.fields import FileModel, Flag, Time

Pair = tuple[str, str]


def ordered(a: str, b: str) -> Pair:
    """Return the pair of two ports, whichever was named first."""
    return (min(a, b), max(a, b))


class Step(FileModel):
    """From `at` on, `circuits` is the port map: pairs of ports. `repoint` moves the mirrors of pairs that stay, too."""

    at: Time
    """Nominal time, from the start of the workload, from which this port map holds; the first step is at 0s."""
    circuits: tuple[tuple[str, str], ...]
    """Pairs of ports that are joined, each port written `node:ethN` and joined once."""
    repoint: Flag = False
    """Whether the mirrors of pairs that stay move too, so that those paths go dark as well; left out, false."""

    @model_validator(mode="after")
    def _one_to_one(self) -> Step:
        seen: set[str] = set()
        for pair in self.circuits:
            for port in pair:
                if port in seen:
                    raise ValueError(f"port {port} is joined twice; a mirror points one way")
                seen.add(port)
        return self

    def pairs(self) -> frozenset[Pair]:
        """Return the pairs, each with its ports in order."""
        return frozenset(ordered(*pair) for pair in self.circuits)


class CircuitSchedule(FileModel):
    """Steps in the order of their times; the first is the map in place when the run begins."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    """Port maps in the order of their times."""
    drain: Time = 0
    """Time before a path goes dark in which nothing new enters it; left out, 0."""

    @model_validator(mode="after")
    def _in_order(self) -> CircuitSchedule:
        if self.steps[0].at != 0:
            raise ValueError("the first step is the map at the beginning of the run, at: 0s")
        for before, after in pairwise(self.steps):
            if after.at <= before.at:
                raise ValueError("steps must be in the order of their times, each at a time of its own")
        return self


class CircuitSwitch(CircuitSchedule):
    """A circuit switch of a lab: its schedule, and the profile whose mirror time and bring-up an outage lasts."""

    profile: str = "ocs"
    """Link profile whose mirror time and bring-up an outage lasts; left out, `ocs`."""


@dataclass(frozen=True)
class Outage:
    """A path is dark in [start_ps, end_ps); end None: for good. From `drain_ps` on nothing new should enter it."""

    pair: Pair
    drain_ps: int
    start_ps: int
    end_ps: int | None


def outages(schedule: CircuitSchedule, outage_ps: int) -> list[Outage]:
    """Return the outages of every path of a schedule, in the order of time and path.

    `outage_ps` is mirror time plus bring-up. A path that joins the map later is dark from 0 on without a drain. A step
    that comes before the one before it is over prolongs the dark.
    """
    steps = schedule.steps
    every = sorted(frozenset[Pair]().union(*(step.pairs() for step in steps)))
    outages = [outage for pair in every for outage in _outages_of(pair, steps, outage_ps, schedule.drain)]
    return sorted(outages, key=lambda outage: (outage.start_ps, outage.pair))


def _outages_of(pair: Pair, steps: Sequence[Step], outage_ps: int, drain: int) -> Iterable[Outage]:
    dark: int | None = None if pair in steps[0].pairs() else 0
    ready = 0  # when the path is bright again, while it is in the map
    for before, step in pairwise(steps):
        was, stays = pair in before.pairs(), pair in step.pairs()
        if was and stays and not step.repoint:
            continue
        if not was and not stays:
            continue
        if was and dark is not None and ready <= step.at:
            yield _outage(pair, dark, ready, drain)
            dark = None
        if dark is None:
            dark = step.at
        ready = step.at + outage_ps
    if dark is not None:
        yield _outage(pair, dark, ready if pair in steps[-1].pairs() else None, drain)


def _outage(pair: Pair, start: int, end: int | None, drain: int) -> Outage:
    return Outage(pair, max(0, start - drain), start, end)


def changes(name: str, schedule: CircuitSchedule, outage_ps: int, links: Mapping[Pair, int]) -> list[dict[str, Any]]:
    """Return what a schedule changes on links, both ways, in the order of time (docs/internals/engine.md).

    `links` has the index of the link of every pair; times count from the start of a workload.
    """
    steps_ps = []
    for outage in outages(schedule, outage_ps):
        states: list[tuple[int, dict[str, bool], str]] = []
        if outage.drain_ps < outage.start_ps:
            states.append((outage.drain_ps, {"drain": True}, "drained"))
        states.append((outage.start_ps, {"up": False}, "dark"))
        if outage.end_ps is not None:
            states.append((outage.end_ps, {"up": True, "drain": False}, "bright"))
        for at_ps, state, word in states:
            entry = {"link": links[outage.pair], "at_ps": at_ps, **state, "label": f"{name} {word}"}
            steps_ps += [{**entry, "way": way} for way in (0, 1)]
    return sorted(steps_ps, key=lambda change: (change["at_ps"], change["link"], change["way"]))
