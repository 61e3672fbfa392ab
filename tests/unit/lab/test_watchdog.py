"""Watchdogs in labs and experiments, storms in timelines, and what is said of what a watchdog found."""

from typing import Any

import pytest

from testbed.errors import ExperimentError, TopologyError
from testbed.experiment.file import Experiment, experiment_from, new_experiment
from testbed.lab import watchdog
from testbed.lab.topology import Lab, load_lab
from testbed.plan.compile import compile_fabric
from testbed.run import storms, timeline
from testbed.schema.source import Source
from tests.unit.lab.test_switch_settings import lab_of, planned
from tests.unit.plan.test_plan import switches

Json = dict[str, Any]
MS = 10**9


def watchdog_of(switch: Json, *overrides: str, ports: int = 2) -> Json | None:
    watchdog: Json | None = switches(planned(lab_of(switch, ports=ports), *overrides))["sw"].get("watchdog")
    return watchdog


def times(detection: int, restoration: int, poll: int, action: str = "drop") -> Json:
    return {
        "detection_ps": detection * MS,
        "restoration_ps": restoration * MS,
        "poll_ps": poll * MS,
        "action": action,
    }


def test_watchdogs_are_off_unless_somebody_wants_one() -> None:
    assert watchdog_of({}) is None
    assert watchdog_of({"watchdog": False}) is None
    assert watchdog_of({"watchdog": True}) == watchdog_of({}, "lossless.watchdog=true") == times(200, 200, 200)
    assert watchdog_of({"watchdog": True}, "lossless.watchdog=false") is None
    assert watchdog_of({"watchdog": False}, "lossless.watchdog=true") == times(200, 200, 200)


def test_settings_come_in_layers() -> None:
    switch = {"watchdog": {"detection": "100ms", "action": "forward"}}
    assert watchdog_of(switch) == times(100, 200, 200, "forward")
    assert watchdog_of(switch, "lossless.watchdog.poll=50ms") == times(100, 200, 50, "forward")
    assert watchdog_of(switch, "lossless.watchdog={detection: 400ms, restoration: 1s}") == times(
        400, 1000, 200, "forward"
    )
    kinds = {"switch": {"watchdog": {"detection": "100ms"}}}
    for own, expected in [
        ({}, times(100, 200, 200)),
        ({"watchdog": False}, None),
        ({"watchdog": True}, times(100, 200, 200)),
    ]:
        assert switches(planned(lab_of(own, kinds=kinds)))["sw"].get("watchdog") == expected


def test_a_lab_with_a_watchdog_can_be_sent_to_an_agent() -> None:
    lab = lab_of({"watchdog": {"detection": "100ms", "action": "forward"}})
    assert Lab.model_validate(lab.model_dump(mode="json", by_alias=True)) == lab


@pytest.mark.parametrize(("ports", "factor"), [(2, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_default_times_grow_with_the_ports(ports: int, factor: int) -> None:
    assert watchdog_of({"watchdog": True}, ports=ports) == times(200 * factor, 200 * factor, 200 * factor)


@pytest.mark.parametrize(("ports", "without", "factor"), [(67, 3, 2), (67, 2, 3), (40, 8, 1), (33, 33, 1)])
def test_ports_without_pfc_do_not_count(ports: int, without: int, factor: int) -> None:
    """SONiC's own example of 64 ports with PFC among 67 comes to 400 ms."""
    lab = lab_of({"watchdog": True}, ports=ports, bare=without)
    assert switches(planned(lab))["sw"]["watchdog"] == times(200 * factor, 200 * factor, 200 * factor)


def test_a_time_that_is_given_is_taken_as_it_is() -> None:
    given = "lossless.watchdog={detection: 1ms, restoration: 1ms, poll: 500us}"
    planned_times = watchdog_of({}, given, ports=33)
    assert planned_times == times(1, 1, 1) | {"poll_ps": MS // 2}
    # One that is not given grows beside it, whichever layer gave the other.
    assert watchdog_of({"watchdog": {"poll": "50ms"}}, "lossless.watchdog.detection=1s", ports=65) == times(
        1000, 600, 50
    )


def test_the_settings_in_force_are_those_of_the_plan() -> None:
    plan = planned(lab_of({"watchdog": {"detection": "1ms", "action": "forward"}}, ports=33))
    expected = {"detection_ns": 1e6, "restoration_ns": 4e8, "poll_ns": 4e8, "action": "forward"}
    assert watchdog.settings_in_force(plan) == {"sw": expected}
    assert watchdog.settings_in_force(planned(lab_of({}))) == {}


def test_an_experiment_with_a_watchdog_can_be_written_and_read_again() -> None:
    for value in ("true", "false", "{detection: 300ms}"):
        experiment = new_experiment("pair", "incast").with_overrides([f"lossless.watchdog={value}"])
        assert Experiment.model_validate(experiment.data()) == experiment == experiment.with_overrides(["seed=1"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{detection: 0s}", "must be longer than 0"),
        ("{poll: 0s}", "must be longer than 0"),
        ("{action: flush}", '"flush" is not "drop" or "forward"'),
        ("{restore: 1s}", 'unknown key; did you mean "restoration"?'),
    ],
)
def test_what_a_watchdog_cannot_be(value: str, message: str) -> None:
    with pytest.raises(ExperimentError, match=message) as caught:
        new_experiment("pair", "incast").with_overrides([f"lossless.watchdog={value}"])
    assert "lossless.watchdog." in str(caught.value)
    with pytest.raises(TopologyError, match=r"nodes.sw.watchdog.action"):
        lab_of({"watchdog": {"action": "flush"}})


def expand(*entries: Json) -> list[Json]:
    experiment = experiment_from(Source("e", {"topology": "two-dc", "timeline": list(entries)}))
    return timeline.expand(load_lab("two-dc"), experiment)


def test_storms_of_hosts_become_changes_of_their_links() -> None:
    entry = {"at": "1ms", "node": "b1", "storm": {"priorities": [3, 4], "period": "100us", "duty": 0.25}, "for": "2ms"}
    plan = {"priorities": [3, 4], "quanta": 65_535, "period_ps": 10**8, "on_ps": 25 * 10**6}
    begins, ends = expand(entry)
    link = load_lab("two-dc").links[begins["link"]]
    assert str((link.a, link.b)[begins["way"]]) == "b1:eth1"
    assert begins == {"link": begins["link"], "way": begins["way"], "at_ps": MS, "storm": plan, "label": "timeline[0]"}
    assert (ends["at_ps"], ends["storm"], ends["label"]) == (3 * MS, None, "timeline[0] over")
    plain = expand({"at": "1ms", "node": "b1", "storm": {"quanta": 100}})
    assert [change["storm"] for change in plain] == [{"priorities": [3], "quanta": 100}]


def test_a_later_storm_lies_on_an_earlier_one_and_links_stay_as_they_are() -> None:
    changes = expand(
        {"at": "1ms", "node": "b1", "storm": {"quanta": 1000}, "for": "9ms"},
        {"at": "2ms", "node": "b1", "storm": {"quanta": 2000}, "for": "1ms"},
        {"at": "4ms", "link": "b1:eth1", "impair": {"rate": "50G"}, "for": "1ms", "direction": "out"},
    )
    quanta = [change["storm"] and change["storm"]["quanta"] for change in changes if "storm" in change]
    assert quanta == [1000, 2000, 1000, None]
    assert [sorted(change.keys() - {"link", "way", "at_ps", "label"}) for change in changes][3:5] == [["rate_bps"]] * 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"node": "b9", "storm": {}}, 'timeline[0].node: no host is called "b9"'),
        ({"node": "leaf-b", "storm": {}}, 'no host is called "leaf-b"'),
        ({"node": "b1"}, "an entry has a link and what to impair, or a node and its storm"),
        ({"node": "b1", "link": "b1:eth1", "storm": {}}, "an entry has a link and what to impair"),
        ({"node": "b1", "storm": {}, "direction": "out"}, "takes no direction"),
        ({"node": "b1", "storm": {"duty": 0.5}}, "needs both a period and a duty"),
        ({"node": "b1", "storm": {"period": "1ms", "duty": 1}}, "less than 1"),
        ({"node": "b1", "storm": {"period": "1ps", "duty": 0.5}}, "the period is too short for this duty"),
        ({"node": "b1", "storm": {"quanta": 99}}, "greater than or equal to 100"),
        ({"node": "b1", "storm": {"priorities": []}}, "must not be empty"),
        ({"node": "b1", "storm": {"priorities": [8]}}, "less than or equal to 7"),
    ],
)
def test_storms_that_cannot_be(entry: Json, message: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        expand({"at": "1ms", **entry})
    assert message in str(caught.value)


def explained(**changes: Any) -> Json:
    """Return what is said of a storm at border-a's span port, detected at 5 ms, whose peer's pause held from 1 ms on."""
    lab = load_lab("two-dc")
    plan = compile_fabric(lab, new_experiment("two-dc", "incast"))
    pause = {"from_ps": MS, "to_ps": 7 * MS, "held_bytes": 100_000, "came_bytes": 9 * 10**6, "drained_bytes": 9 * 10**6,
             "dropped_bytes": 0}  # fmt: skip
    storm = {"port": "border-a:eth2", "priority": 3, "action": "drop", "paused_since_ps": 2 * MS, "detected_ps": 5 * MS,
             "restored_ps": None, "dropped": 7, "peer": "border-b:eth2", "peer_pause": pause}  # fmt: skip
    storm |= {key: value for key, value in changes.items() if key in storm}
    if storm["peer_pause"]:
        storm["peer_pause"] |= {key: value for key, value in changes.items() if key in pause}
    others = changes.get("others", [])
    if "receive" in changes:
        plan["nodes"][0]["receive"] = changes["receive"]
    report = {"now_ps": 10 * MS, "watchdog": [*others, storm]}
    rows = list(storms.explain(plan, report, changes.get("impairments", []), changes.get("start_ps", 0)))
    return next(row for row in rows if row["port"] == storm["port"])


def test_a_buffer_that_drained_by_itself_needed_its_pause() -> None:
    row = explained()
    assert (row["cause"], row["detected_ns"], row["dropped"]) == ("long pause", 5e6, 7)
    assert row["explanation"] == (
        "no storm, but a long pause: border-b:eth2 had 100,000 bytes when it said stop, 9,000,000 came after that "
        "(a round trip of 783.5 us at 100G is 9,794,000), and it drained 9,000,000 by itself at 12 Gb/s, in 6 ms. "
        "A detection time above that would have let it be"
    )
    assert "in 9 ms so far" in explained(to_ps=None)["explanation"]


def test_a_buffer_that_nothing_left_waited_for_others() -> None:
    other = {"port": "border-b:eth1", "priority": 3, "action": "drop", "paused_since_ps": MS, "detected_ps": 5 * MS,
             "restored_ps": None, "dropped": 0, "peer": None, "peer_pause": None}  # fmt: skip
    row = explained(drained_bytes=0, others=[other])
    assert row["cause"] == "spread"
    assert row["explanation"].endswith("and let 0 leave in 6 ms; it was kept from sending at border-b:eth1")
    assert explained(dropped_bytes=5)["cause"] == "spread", "it ended because a watchdog flushed it"
    assert "kept from" not in explained(drained_bytes=0, others=[other | {"priority": 4}])["explanation"]


def test_a_host_has_no_excuse_and_whoever_requested_it_is_named() -> None:
    def change(at_ns: float, storm: Json | None) -> Json:
        return {"link": "a1:eth1", "at_ns": at_ns, "set": {"storm": storm}, "label": "timeline[4]"}

    on = change(2e6, {"quanta": 9})
    row = explained(peer="a1:eth1", peer_pause=None, impairments=[on])
    assert row["cause"] == "storm" and row["explanation"].endswith("as timeline[4] had it do")
    for others in ([], [on, change(3e6, None)], [change(6e6, {"quanta": 9})]):
        row = explained(peer="a1:eth1", peer_pause=None, impairments=others)
        assert row["cause"] == "storm" and "timeline" not in row["explanation"]


def test_a_nic_that_takes_in_too_little_is_no_storm() -> None:
    receive = {"drain_bps": 5 * 10**9, "priority": 3}
    row = explained(peer="a1:eth1", peer_pause=None, receive=receive)
    assert row["cause"] == "slow receiver"
    assert "a1:eth1 takes in 5G of the 100G that its line brings, and kept it paused for 3 ms" in row["explanation"]
    assert row["explanation"].endswith("what a round trip of 489.7 ns brings takes 9.794 us to take in")
    assert explained(peer="a1:eth1", peer_pause=None, receive=receive | {"priority": 4})["cause"] == "storm"


def test_what_cannot_be_explained_is_reported_too() -> None:
    assert explained(peer_pause=None)["cause"] == "unknown"
    assert "XON may be lost" in explained(peer_pause=None)["explanation"]
    assert explained(peer=None, peer_pause=None)["cause"] == "unknown"


def test_times_count_from_the_first_workload_and_what_was_before_is_not_reported() -> None:
    row = explained(start_ps=MS, restored_ps=9 * MS)
    assert (row["paused_since_ns"], row["detected_ns"], row["restored_ns"]) == (1e6, 4e6, 8e6)
    with pytest.raises(StopIteration):
        explained(start_ps=6 * MS)
