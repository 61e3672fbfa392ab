"""The graph of pauses from records made by hand: which cause each interval has, what roots come to, who their victims are."""

from typing import Any, cast

import pytest

from testbed.contract.pauses import Pauses
from testbed.contract.plan import Plan
from testbed.contract.report import FoundDeadlock
from testbed.run.pause_graph import combined, shifted
from testbed.run.pauses import INTERVALS_LISTED, PauseGraph, pauses_of

Json = dict[str, Any]
US = 10**6


def plan(delay_ps: int = US) -> Plan:
    """Return two hosts and a slow one on a leaf, and a host on another leaf: a1, a2 - la - lb - b1, b2."""

    def node(name: str, ports: int, **more: Any) -> Json:
        named = [{"name": f"eth{number}", "response_ps": 500, "rate_bps": 10**11} for number in range(1, ports + 1)]
        return {"name": name, "ports": named, **more}

    slow = {"drain_bps": 50 * 10**9, "priority": 3}
    hosts = [node(name, 1, kind="host") for name in ("a1", "a2", "b2")] + [node("b1", 1, kind="host", receive=slow)]
    links = [
        {"a": [0, 0], "b": [4, 0], "delay_ps": US},
        {"a": [1, 0], "b": [4, 1], "delay_ps": US},
        {"a": [3, 0], "b": [5, 0], "delay_ps": US},
        {"a": [2, 0], "b": [5, 1], "delay_ps": US},
        {"a": [4, 2], "b": [5, 2], "delay_ps": delay_ps},
    ]
    return cast(Plan, {"nodes": [*hosts, node("la", 3, kind="switch"), node("lb", 3, kind="switch")], "links": links})


def interval(port: str, start: int, end: int | None, first: int | None) -> Json:
    return {
        "port": port,
        "priority": 3,
        "from_ps": start,
        "to_ps": end,
        "first": first,
        "last": first,
        "credits": False,
    }


def request(port: str, number: int, start: int, end: int | None, *held: tuple[str, int, bool], **more: Any) -> Json:
    shares = [{"port": at, "priority": 3, "bytes": size, "stood": stood} for at, size, stood in held]
    base = {"port": port, "named": [3], "number": number, "from_ps": start, "to_ps": end, "shares": shares}
    return {**base, "lost": 0, "backlog": None, "senders": 0, **more}


def path(src: str, dst: str, *ports: str, end: int | None = None) -> Json:
    queues = [{"port": port, "priority": 3} for port in ports]
    return {"src": src, "dst": dst, "queues": queues, "active": [{"from_ps": 0, "to_ps": end}]}


def records(intervals: list[Json], requests: list[Json] = [], paths: list[Json] = [], **more: Any) -> Pauses:  # noqa: B006
    empty = {"intervals_omitted": 0, "intervals_omitted_from_ps": {}, "omitted_ps": 0, "paths_omitted": 0}
    found = {"intervals": intervals, "requests": requests, "paths": paths, "requests_omitted": {}}
    return cast(Pauses, {"now_ps": 1000 * US, **empty, **found, **more})


def graph(found: Pauses, deadlocks: list[FoundDeadlock] = [], start: int = 0, of: Plan | None = None) -> Json:  # noqa: B006
    document = pauses_of(of or plan(), found, deadlocks, start)
    PauseGraph.model_validate(document)
    return document


SLOW = records(
    [
        interval("lb:eth1", 10 * US, 30 * US, 0),
        interval("la:eth3", 15 * US, 35 * US, 1),
        interval("a1:eth1", 20 * US, 40 * US, 1),
    ],
    [
        request("lb:eth3", 1, 12 * US, 33 * US, ("lb:eth1", 750, True), ("lb:eth2", 250, False)),
        request("la:eth1", 1, 18 * US, 38 * US, ("la:eth3", 1000, True)),
    ],
    [
        path("a1", "b1", "a1:eth1", "la:eth3", "lb:eth1"),
        path("a1", "b2", "a1:eth1", "la:eth3", "lb:eth2"),
        path("a2", "b2", "a2:eth1", "la:eth3", "lb:eth2", end=25 * US),
    ],
)


def test_a_slow_nic_is_the_root_of_all_that_follows_and_its_victims_never_went_to_it() -> None:
    document = graph(SLOW)
    assert [(row["port"], row["by"], row["causes"], row["reason"]) for row in document["intervals"]] == [
        ("lb:eth1", "b1:eth1", [], "slow receiver"),
        ("la:eth3", "lb:eth3", [(0, 0.75)], None),
        ("a1:eth1", "la:eth1", [(1, 1.0)], None),
    ]
    (root,) = document["roots"]
    assert (root["reason"], root["at"], root["intervals"], root["paused_ps"]) == (
        "slow receiver",
        "b1:eth1",
        3,
        60 * US,
    )
    assert (root["from_ps"], root["to_ps"], root["ports"]) == (10 * US, 40 * US, ["lb:eth1", "la:eth3", "a1:eth1"])
    # a1 to b2 waited from 15 to 40 us, two ports at once for a while; a2 was done when it had waited for 10 us.
    assert root["victims"] == {
        "flows": 2,
        "listed": [{"src": "a1", "dst": "b2", "held_ps": 25 * US}, {"src": "a2", "dst": "b2", "held_ps": 10 * US}],
    }
    assert root["sentence"] == (
        "b1's NIC takes in 50 Gb/s: it paused lb:eth1, which paused la:eth3 … 3 ports, 60 us in sum; "
        "victims: 2 flows that never went to b1"
    )


def test_times_count_from_the_start_of_the_run() -> None:
    document = graph(SLOW, start=12 * US)
    first = document["intervals"][0]
    assert (first["from_ps"], first["to_ps"]) == (-2 * US, 18 * US)
    assert document["roots"][0]["from_ps"] == -2 * US


def test_frames_from_a_real_wire_bear_no_number_and_are_told_by_time() -> None:
    late = request("lb:eth3", 2, 14_500_000, 60 * US, ("lb:eth2", 9, False), backlog="incast", senders=2)
    found = {**SLOW, "intervals": [{**row, "first": None, "last": None} for row in SLOW["intervals"]]}
    found["requests"] = [*SLOW["requests"], late]
    document = graph(cast(Pauses, found))
    # What was asked 0.5 us before the pause took hold cannot have come over a link of 1 us.
    assert [row["causes"] for row in document["intervals"]] == [[], [(0, 0.75)], [(1, 1.0)]]
    assert [row["root"] for row in document["intervals"]] == [0, 0, 0]


def test_a_number_tells_of_two_requests_in_flight_which_one_a_frame_stands_for() -> None:
    requests = [
        request("lb:eth3", 1, 10 * US, 11 * US, ("lb:eth2", 5, False), backlog="incast", senders=2),
        request("lb:eth3", 2, 12 * US, 13 * US, ("lb:eth1", 5, False), backlog="failed link", senders=1),
    ]
    rows = [interval("la:eth3", 110 * US, 111 * US, 1), interval("la:eth3", 112 * US, 113 * US, 2)]
    document = graph(records(rows, requests), of=plan(100 * US))
    assert [row["reason"] for row in document["intervals"]] == ["incast", "failed link"]
    assert {(root["at"], root["reason"]) for root in document["roots"]} == {
        ("lb:eth2", "incast"),
        ("lb:eth1", "failed link"),
    }


@pytest.mark.parametrize(
    ("numbers", "reason"), [((0, 0), "slow receiver"), ((1, 1), "storm"), ((0, 1), "storm"), ((2, 2), "storm")]
)
def test_a_host_says_why_it_asks(numbers: tuple[int, int], reason: str) -> None:
    row = {**interval("lb:eth1", 0, None, None), "first": numbers[0], "last": numbers[1]}
    (root,) = graph(records([row]))["roots"]
    assert (root["reason"], root["at"], root["to_ps"], root["paused_ps"]) == (reason, "b1:eth1", None, 1000 * US)


def test_a_host_without_a_receive_buffer_that_asks_over_a_real_wire_storms() -> None:
    document = graph(records([interval("lb:eth2", 0, 9, None), interval("lb:eth1", 0, 9, None)]))
    assert {(root["at"], root["reason"]) for root in document["roots"]} == {
        ("b2:eth1", "storm"),
        ("b1:eth1", "slow receiver"),
    }


def test_who_stood_still_only_since_xon_was_long_under_way_waited_for_the_distance() -> None:
    """The far end needed la:eth3 to stop for 5 us; 60 us after its XON, still on its way, the group of a1 was full."""
    rows = [interval("la:eth3", 110 * US, 205 * US, 1), interval("a1:eth1", 170 * US, 210 * US, 1)]
    requests = [
        request("lb:eth3", 1, 100 * US, 105 * US, ("lb:eth2", 5, False), backlog="incast", senders=2),
        request("la:eth1", 1, 165 * US, 208 * US, ("la:eth3", 5, True)),
    ]
    document = graph(records(rows, requests), of=plan(100 * US))
    assert [(row["reason"], row["causes"]) for row in document["intervals"]] == [
        ("incast", []),
        ("distance", [(0, 1.0)]),
    ]
    assert ("distance", "la:eth3", ["a1:eth1"]) in [
        (root["reason"], root["at"], root["ports"]) for root in document["roots"]
    ]
    requests[0]["to_ps"] = 140 * US  # needed for 40 us, 25 us before
    (root,) = graph(records(rows, requests), of=plan(100 * US))["roots"]
    assert (root["reason"], root["ports"]) == ("incast", ["la:eth3", "a1:eth1"])


def test_a_circle_that_was_proved_is_the_root_of_its_ports_and_of_who_waits_for_them() -> None:
    rows = [
        interval("la:eth3", 10 * US, None, 1),
        interval("lb:eth3", 11 * US, None, 1),
        interval("a1:eth1", 20 * US, None, 2),
    ]
    requests = [
        request("lb:eth3", 1, 8 * US, None, ("lb:eth3", 5, True)),
        request("la:eth3", 1, 9 * US, None, ("la:eth3", 5, True)),
        request("la:eth1", 2, 18 * US, None, ("la:eth3", 5, True)),
    ]
    circle: FoundDeadlock = {"at_ns": 100_000, "cured_ns": None, "ports": ["la:eth3", "lb:eth3"], "priority": 3}
    (root,) = graph(records(rows, requests), [circle])["roots"]
    assert (root["reason"], root["at"], root["intervals"]) == ("deadlock", "la:eth3", 3)
    assert root["sentence"].startswith("la:eth3 → lb:eth3 → la:eth3 wait for each other: it paused la:eth3")


def test_losses_after_a_request_are_for_want_of_headroom_beside_what_caused_the_pause() -> None:
    requests = [request("lb:eth3", 1, 12 * US, 33 * US, ("lb:eth2", 5, False), backlog="incast", senders=2, lost=7)]
    document = graph(records([interval("la:eth3", 15 * US, 35 * US, 1)], requests))
    headroom, incast = sorted(document["roots"], key=lambda root: str(root["reason"]))
    assert (incast["reason"], incast["at"], incast["intervals"]) == ("incast", "lb:eth2", 1)
    assert (headroom["reason"], headroom["at"], headroom["paused_ps"]) == ("headroom", "lb:eth3", 20 * US)
    assert (
        headroom["sentence"]
        == "the headroom of lb:eth3 is too small: 7 frames of priority 3 lost after it had asked la:eth3 to stop"
    )


def test_what_is_beyond_the_bounds_is_counted_and_nothing_is_guessed_of_it() -> None:
    rows = [interval("lb:eth1", number * US, number * US + 1, 0) for number in range(INTERVALS_LISTED + 5)]
    bounds = {"intervals_omitted": 3, "omitted_ps": 9, "intervals_omitted_from_ps": {"lb": 2000 * US}}
    late = interval("la:eth3", 3000 * US, None, 4)
    asked = request("lb:eth3", 3, 2500 * US, None, ("lb:eth1", 5, True))
    document = graph(records([*rows, late], [asked], requests_omitted={"lb:eth3": 4}, now_ps=4000 * US, **bounds))
    assert (document["omitted"], document["unrecorded"], document["unrecorded_ps"]) == (9, 3, 9)
    assert len(document["intervals"]) == INTERVALS_LISTED
    (root,) = document["roots"]
    assert root["intervals"] == INTERVALS_LISTED + 5 and root["ports"] == ["lb:eth1"], (
        "of the last one nothing is known"
    )
    asked["number"] = 2
    document = graph(records([*rows, late], [asked], now_ps=4000 * US, **bounds))
    assert len(document["roots"]) == 1, "nor of what stood still when intervals were no longer kept"


def test_agents_that_have_an_end_of_a_link_each_are_joined_as_if_they_were_one() -> None:
    def those_of(found: Pauses, switch: str) -> Pauses:
        of_switch = {
            key: [row for row in found[key] if row["port"].startswith(switch)]  # type: ignore[literal-required]
            for key in ("intervals", "requests")
        }
        return cast(Pauses, {**found, **of_switch, "paths": found["paths"] if switch == "la" else []})

    rows = [row for row in SLOW["intervals"] if row["port"].startswith("l")]
    whole = cast(Pauses, {**SLOW, "intervals": rows})
    far = shifted(those_of(whole, "lb"), 77)
    joined = combined([those_of(whole, "la"), shifted(far, -77)])
    assert graph(joined) == graph(whole)
    assert far["intervals"][0]["from_ps"] == 10 * US + 77 and far["requests"][0]["to_ps"] == 33 * US + 77
