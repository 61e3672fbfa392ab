"""Circles of iterations: the shift at which arcs on a shared wire meet least."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.scheduling.circles import Turning, best_shift
from testbed.scheduling.rhythm import Burst, Rhythm

WIRE, OTHER = ("leaf", 1), ("leaf", 2)


def turning(
    period: int, *arcs: tuple[int, int], share: float = 1.0, start: int = 0, wire: tuple[str, int] = WIRE
) -> Turning:
    bursts = tuple(Burst(first, end, {wire: share}) for first, end in arcs)
    return Turning(Rhythm(period, bursts), start, 1000)


def test_an_arc_goes_into_the_gap_of_another() -> None:
    assert best_shift(turning(100, (60, 100)), [turning(100, (60, 100))]) == 40
    # It may as well end where the other begins, and the least shift is taken.
    assert best_shift(turning(100, (0, 30)), [turning(100, (0, 60))]) == 60
    assert best_shift(turning(100, (0, 30)), [turning(100, (20, 60))]) == 60


def test_a_job_that_runs_once_gains_nothing_by_waiting() -> None:
    """It would wait as long before its burst as within it."""
    once = Turning(Rhythm(100, (Burst(60, 100, {WIRE: 1.0}),)), 0, 1)
    assert best_shift(once, [once]) == 0
    twice = Turning(once.rhythm, 0, 2)
    assert best_shift(twice, [twice]) == 40


def test_two_gaps_take_two_arcs() -> None:
    """Arcs of 20 at 0 and 50 leave gaps for another such pair from 20 on."""
    assert best_shift(turning(100, (0, 20), (50, 70)), [turning(100, (0, 20), (50, 70))]) == 20


def test_arcs_that_share_a_wire_without_filling_it_may_meet() -> None:
    half = turning(100, (0, 50), share=0.5)
    assert best_shift(half, [half]) == 0
    # A third one of a half would be too much.
    assert best_shift(half, [half, half]) == 50


def test_jobs_on_other_wires_and_jobs_without_bursts_do_not_shift() -> None:
    assert best_shift(turning(100, (0, 50)), [turning(100, (0, 50), wire=OTHER)]) == 0
    assert best_shift(Turning(Rhythm(0), 0, 1), [turning(100, (0, 50))]) == 0


def test_circles_of_different_size_are_compared_over_many_turns() -> None:
    """A circle of 50 goes around twice while one of 100 does: arcs of 20 in each fit behind one of 30 at 30 and 80 alone."""
    assert best_shift(turning(50, (0, 20)), [turning(100, (0, 30))]) == 30


@given(
    own=st.tuples(st.integers(1, 40), st.integers(0, 60)),
    other=st.tuples(st.integers(1, 40), st.integers(0, 60)),
    start=st.integers(0, 200),
)
def test_two_arcs_that_fit_never_meet(own: tuple[int, int], other: tuple[int, int], start: int) -> None:
    """Two arcs of together at most the circle find a rotation at which they share no time, whatever their places."""
    one = turning(100, (own[1], own[1] + own[0]))
    two = turning(100, (other[1], other[1] + other[0]), start=start)
    shift = best_shift(one, [two])
    assert 0 <= shift < 100
    mine = {(shift + own[1] + offset) % 100 for offset in range(own[0])}
    theirs = {(start + other[1] + offset) % 100 for offset in range(other[0])}
    begins = max(shift, start)
    met = mine & theirs
    assert not met or begins > 16 * 100, (shift, met)


@pytest.mark.parametrize("count", [3, 5])
def test_as_many_arcs_as_fill_a_circle_take_turns(count: int) -> None:
    arc = turning(100 * count, (0, 100))
    settled: list[Turning] = []
    for _ in range(count):
        shift = best_shift(arc, settled)
        settled.append(Turning(arc.rhythm, shift, arc.repeat))
    assert [each.start_ps for each in settled] == [100 * turn for turn in range(count)]
