"""What changed at the ports of a lab in one message, and what is told of a run: pure parts, with clocks of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testbed.agent.live import FULL_S, MOST_HAPPENED, LiveLab
from testbed.agent.story import PERIOD_S, Story
from tests.told import check

Document = dict[str, Any]
HEAD = {"v": 1, "agent": "m1", "lab": "pair", "at": "2026-11-30T19:00:00.000+00:00", "session": "0011aabb", "seq": 1}
QUIET = {
    **{"bytes_tx": 0, "bytes_rx": 0, "queue_bytes": 0, "ingress_bytes_max": 0, "paused": False, "paused_ns": 0},
    **{"pause_rx": 0, "pause_tx": 0, "ecn_marked": 0, "drops": {"headroom": 0, "link": 0}, "frames_tx": 7},
}


def ports(*names: str, priority: str = "3", **figures: Any) -> dict[str, Document]:
    return {name: {"rate_bps": 10**11, "priorities": {priority: {**QUIET, **figures}}} for name in names}


def message(lab: LiveLab, seen: dict[str, Document], now_s: float) -> Document:
    made = lab.message(seen, now_s)
    assert made is not None
    check("testbed/pair/m1/live", {**HEAD, "nominal_ns": 1, "run": None, **made})
    return made


def test_only_what_changed_is_told_and_now_and_then_everything() -> None:
    lab = LiveLab()
    first = message(lab, ports("a:eth1", "b:eth1"), 10.0)
    assert (first["full"], list(first["ports"]), first["happened"]) == (True, ["a:eth1", "b:eth1"], [])
    assert lab.message(ports("a:eth1", "b:eth1"), 10.1) is None
    changed = message(lab, {**ports("a:eth1"), **ports("b:eth1", bytes_tx=64, queue_bytes=9)}, 10.2)
    assert (changed["full"], changed["ports"]) == (False, {"b:eth1": {"3": (64, 0, 9, 0, 0, 0, 0, 0, 0, 0)}})
    again = message(lab, {**ports("a:eth1"), **ports("b:eth1", bytes_tx=64, queue_bytes=9)}, 10.0 + FULL_S)
    assert (again["full"], list(again["ports"])) == (True, ["a:eth1", "b:eth1"])


@pytest.mark.parametrize(
    ("before", "after", "happened"),
    [
        ({}, {"paused": True, "paused_ns": 5}, [("began", 5)]),
        ({"paused": True, "paused_ns": 5}, {"paused": True, "paused_ns": 9}, []),
        ({"paused": True, "paused_ns": 5}, {"paused_ns": 20}, [("ended", 15)]),
        ({"paused_ns": 20}, {"paused_ns": 26}, [("between", 6)]),
        # A watchdog takes back what a pause would still have lasted.
        ({"paused": True, "paused_ns": 30}, {"paused_ns": 26}, [("ended", 0)]),
    ],
)
def test_pauses_are_told_as_they_begin_and_end(before: Document, after: Document, happened: list[Any]) -> None:
    lab = LiveLab()
    message(lab, ports("a:eth1", **before), 0.0)
    events = message(lab, ports("a:eth1", bytes_rx=1, **after), 0.1)["happened"]
    assert [(event["state"], event["paused_ns"]) for event in events] == happened
    assert all((event["port"], event["priority"]) == ("a:eth1", 3) for event in events)


def test_losses_are_told_by_cause_as_differences_and_in_all() -> None:
    lab = LiveLab()
    message(lab, ports("a:eth1", drops={"headroom": 2, "link": 1}), 0.0)
    seen = message(lab, ports("a:eth1", drops={"headroom": 5, "link": 1}), 0.1)
    loss = {"what": "drops", "port": "a:eth1", "priority": 3, "cause": "headroom", "frames": 3}
    assert seen["happened"] == [loss]
    assert seen["drops"] == {"a:eth1": {"3": {"headroom": 5, "link": 1}}} and seen["ports"]["a:eth1"]["3"].dropped == 6


@pytest.mark.parametrize("count", [MOST_HAPPENED, MOST_HAPPENED + 17])
def test_what_happens_at_once_is_bounded_and_the_rest_is_counted(count: int) -> None:
    names = [f"leaf{number}:eth1" for number in range(count)]
    lab = LiveLab()
    message(lab, ports(*names), 0.0)
    storm = message(lab, ports(*names, paused=True), 0.1)
    assert len(storm["happened"]) == MOST_HAPPENED and storm["left_out"] == count - MOST_HAPPENED
    assert len(storm["ports"]) == count


def test_a_hundred_ports_take_less_than_ten_kilobytes_a_message() -> None:
    busy = dict.fromkeys(("bytes_tx", "bytes_rx", "queue_bytes", "ingress_bytes_max", "paused_ns"), 10**9)
    seen = ports(*(f"leaf{number}:eth{number}" for number in range(100)), **busy, pause_rx=1000, pause_tx=1000)
    assert len(json.dumps(message(LiveLab(), seen, 0.0), separators=(",", ":"))) < 10_000


RUN = {
    **{"event": "run started", "name": "all_reduce", "ranks": 2, "rows": 1, "sizes": [8, 8], "seed": 1, "dilation": 9},
    **{"clock": "real", "expected_ns": 4, "experiment": {}},
}
STEP = {"row": 0, "rows": 1, "size_bytes": 8, "nominal_ps": 2 * 10**9, "share": 0.25}
OVER = {
    **{"event": "run ended", "name": "all_reduce", "complete": True, "interrupted": False, "reasons": []},
    **{"verdict": "PASSED: lossless", "passed": True, "exit_code": 0, "figures": {"busbw": 1.0}, "nominal_ns": 5},
}


def test_a_run_is_told_from_its_beginning_to_its_verdict_and_at_most_once_a_second() -> None:
    now = [0.0]
    story, heard = Story(lambda: now[0]), list[Document]()
    story.begin(RUN, "r1", heard.append)
    for tick in range(1, 13):
        now[0] = tick * PERIOD_S / 4
        story.go_on(STEP, heard.append)
        story.go_on({**STEP, "nominal_ps": None}, heard.append)
    assert [event["event"] for event in heard] == ["run started", *["run progress"] * 3]
    assert (heard[1]["rate"], heard[1]["left_s"], heard[1]["nominal_ns"]) == (0.002, 3.0, 2_000_000)
    assert (story.current, story.progress, story.last) == (heard[0], heard[-1], None)
    story.end(OVER, {"host": "m", "path": "/run.json"}, heard.append)
    assert (story.current, story.progress, story.last) == (None, None, heard[-1])
    assert (heard[-1]["run"], heard[-1]["wall_s"]) == ("r1", 3.0)
    for number, event in enumerate(heard):
        check("testbed/pair/events", {**HEAD, "seq": 1 + number, **event})


def test_a_run_that_was_given_up_is_told_no_more_of() -> None:
    story, heard = Story(), list[Document]()
    story.go_on(STEP, heard.append)
    story.end(OVER, None, heard.append)
    story.begin(RUN, "r2", heard.append)
    story.give_up()
    story.end(OVER, None, heard.append)
    assert [event["event"] for event in heard] == ["run started"] and story.current is None
