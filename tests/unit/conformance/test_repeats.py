"""Cases on a real clock that was not faithful: repeated, each time slower, unless the user has said how slow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from testbed.conformance import engines, suite
from testbed.conformance.bench import Bench
from testbed.conformance.case import Case, Measured, Place
from testbed.conformance.labs import PAIR
from testbed.conformance.suite import Outcome, Suite
from testbed.contract.plan import Plan
from testbed.plan.dilation import Calibration
from testbed.run.engine import Engine

FAITHFUL: dict[str, Any] = {
    "lateness_ns": {"p99": 0},
    "held_share": 0.1,
    "socket_drops": 0,
    "overflow": 0,
    "cpu_share": 0.1,
}


@dataclass
class Reporter:
    """A fabric that does nothing but tell how faithful it was."""

    held_share: float

    def report(self) -> str:
        return json.dumps({"fidelity": FAITHFUL | {"held_share": self.held_share}})


def outcome_of(*held_shares: float) -> tuple[list[int], Outcome]:
    """Run a case on benches of which each holds so much of its time; return the repeats that were asked for."""
    asked: list[int] = []

    @contextmanager
    def opened(plan: Plan, repeats: int) -> Iterator[Engine]:
        asked.append(repeats)
        yield cast(Engine, Reporter(held_shares[len(asked) - 1]))

    def measure(bench: Bench, place: Place) -> Measured:
        with bench.session():
            return {"priority": place.priority}

    case = Case(
        name="nothing",
        asserts="",
        source="",
        labs=(PAIR,),
        places=lambda device: [Place(device.ports, 3)],
        measure=measure,
        judge=lambda bench, place, measured: [],
    )
    return asked, Suite("real", opened).run(case, suite.own_devices(case, "real", "conformance"))


@pytest.mark.parametrize("held_shares", [(0.3,), (0.7, 0.2), (0.7, 0.6, 0.4)])
def test_a_case_is_repeated_until_it_can_be_trusted(held_shares: tuple[float, ...]) -> None:
    asked, outcome = outcome_of(*held_shares)
    assert asked == [*range(len(held_shares))]
    assert outcome.outcome == "passed" and not outcome.distrust


def test_a_case_that_three_runs_do_not_show_is_not_trusted() -> None:
    asked, outcome = outcome_of(0.9, 0.8, 0.7)
    assert asked == [0, 1, 2]
    assert outcome.distrust == ["untrusted: share of the time held back is 0.7, more than 0.5"]


def test_each_repetition_is_slower() -> None:
    plan = suite.own_device(PAIR, "real", "conformance").plan
    measured = Calibration(frame_hops_per_s=1_000_000, lateness_p99_ns=100_000)
    first, second, third = (engines.dilation_of(plan, measured, repeats) for repeats in range(3))
    assert first == 100 and second >= 4 * first and third >= 4 * second
