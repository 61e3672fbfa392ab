"""Circuit schedules: which path is dark when."""

from typing import Any

import pytest
from pydantic import ValidationError

from testbed.lab.circuits import CircuitSchedule, Outage, changes, outages

MS = 10**9
AB, AC, CD, BD = ("a", "b"), ("a", "c"), ("c", "d"), ("b", "d")


def schedule(
    *steps: tuple[int, list[tuple[str, str]]] | tuple[int, list[tuple[str, str]], bool], drain: int = 0
) -> Any:
    written = [
        {
            "at": f"{step[0]}ms",
            "circuits": [list(pair) for pair in step[1]],
            "repoint": step[2] if len(step) > 2 else False,
        }
        for step in steps
    ]
    return CircuitSchedule.model_validate({"steps": written, "drain": f"{drain}ms"})


def test_a_map_that_stays_disturbs_nothing() -> None:
    assert outages(schedule((0, [AB, CD]), (5, [CD, ("b", "a")])), 10 * MS) == []


def test_a_change_ends_one_path_and_begins_another() -> None:
    dark = outages(schedule((0, [AB, CD]), (5, [AC, BD])), 10 * MS)
    assert dark == [
        Outage(AC, 0, 0, 15 * MS),
        Outage(BD, 0, 0, 15 * MS),
        Outage(AB, 5 * MS, 5 * MS, None),
        Outage(CD, 5 * MS, 5 * MS, None),
    ]


def test_repointing_a_path_with_a_drain() -> None:
    assert outages(schedule((0, [AB]), (5, [AB], True), drain=2), 10 * MS) == [Outage(AB, 3 * MS, 5 * MS, 15 * MS)]


def test_away_and_back() -> None:
    dark = outages(schedule((0, [AB]), (50, [AC]), (100, [AB])), 10 * MS)
    assert dark == [
        Outage(AC, 0, 0, 60 * MS),
        Outage(AB, 50 * MS, 50 * MS, 110 * MS),
        Outage(AC, 100 * MS, 100 * MS, None),
    ]


def test_a_step_before_the_last_is_over_prolongs_the_dark() -> None:
    dark = outages(schedule((0, [AB]), (5, [AB], True), (8, [AB], True), (30, [AB], True)), 10 * MS)
    assert dark == [Outage(AB, 5 * MS, 5 * MS, 18 * MS), Outage(AB, 30 * MS, 30 * MS, 40 * MS)]


def test_a_path_that_never_came_up() -> None:
    assert outages(schedule((0, []), (5, [AB]), (8, [])), 10 * MS) == [Outage(AB, 0, 0, None)]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "at least 1 item"),
        ([(0, [AB, AC])], "port a is joined twice"),
        ([(0, [("a", "a")])], "port a is joined twice"),
        ([(1, [AB])], "first step"),
        ([(0, [AB]), (5, []), (5, [AB])], "in the order of their times"),
    ],
)
def test_schedules_that_cannot_be(steps: list[Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        schedule(*steps)


def test_changes_go_both_ways_and_a_drain_comes_before() -> None:
    listed = changes("x", schedule((0, [AB]), (5, [("b", "a")], True), drain=2), 10 * MS, {AB: 7})
    drained, dark, bright = ({"drain": True}, {"up": False}, {"up": True, "drain": False})
    expected = [(3 * MS, "x drained", drained), (5 * MS, "x dark", dark), (15 * MS, "x bright", bright)]
    assert listed == [
        {"link": 7, "at_ps": at_ps, **state, "label": label, "way": way}
        for at_ps, label, state in expected
        for way in (0, 1)
    ]


def test_a_path_that_ends_never_brightens_and_changes_are_in_the_order_of_time() -> None:
    listed = changes("x", schedule((0, [AB, CD]), (5, [AC, BD])), 10 * MS, {AB: 0, CD: 1, AC: 2, BD: 3})
    assert [(change["at_ps"] // MS, change["link"], change["up"]) for change in listed if change["way"] == 0] == [
        (0, 2, False), (0, 3, False), (5, 0, False), (5, 1, False), (15, 2, True), (15, 3, True),
    ]  # fmt: skip


def test_mirrors_of_pairs_that_stay_rest_unless_they_are_told_to_move() -> None:
    steps = [{"at": "0s", "circuits": [list(AB)]}, {"at": "5ms", "circuits": [list(AB), list(CD)]}]
    plain = CircuitSchedule.model_validate({"steps": steps})
    assert outages(plain, 10 * MS) == [Outage(CD, 0, 0, 15 * MS)]
