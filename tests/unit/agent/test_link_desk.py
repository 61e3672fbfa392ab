"""Links of a running lab, changed by hand: only what is named changes, and all of it can be taken back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from testbed.agent.kernel_part import KernelPart
from testbed.agent.link_desk import LinkDesk, read_impairment, read_lab
from testbed.drivers.emulation import Emulation, changed, choose, timed, with_native
from testbed.errors import UsageError
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.system.netem import Netem

SPAN = "border-a:eth2"


@dataclass
class FakeEngine:
    """An engine on which changes take place at once; `tick` lets the port of the span send."""

    now_ps: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    frames: int = 0
    lost: int = 0
    delays: list[dict[str, int]] = field(default_factory=list)

    def impair(self, changes: str) -> None:
        for change in json.loads(changes):
            assert change.get("at_ps") is None
            entry = {key: value for key, value in change.items() if key != "at_ps"}
            self.log.append({**entry, "asked_ps": self.now_ps, "at_ps": self.now_ps})

    def tick(self, frames: int, lost: int) -> None:
        self.now_ps += 10**9
        self.frames += frames
        self.lost += lost

    def report(self) -> str:
        drops = {"headroom": 0, "buffer": 0, "link": self.lost, "outage": 0, "watchdog": 0}
        counters = {"frames_tx": self.frames, "bytes_tx": self.frames * 1000, "drops": drops}
        ports = {SPAN: {"rate_bps": 10**11, "priorities": {"3": counters}}}
        drops = {"lossless": 0, "lossy": 0, "link": self.lost, "outage": 0}
        fidelity = {"delays": self.delays}
        report = {"now_ps": self.now_ps, "ports": ports, "impairments": self.log, "drops": drops, "fidelity": fidelity}
        return json.dumps(report)


class FakeDriver:
    """A kernel that has one netem for all ends."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, Any], int]] = []
        self.netem = Netem()
        self.carriers: list[tuple[tuple[str, str], bool]] = []

    def set_carrier(self, plan: dict[str, Any], link: tuple[str, str], up: bool, dilation: int) -> None:
        self.carriers.append((link, up))

    def impair(self, lab: str, endpoint: str, change: Mapping[str, Any], dilation: int) -> Netem:
        self.told.append((lab, endpoint, dict(change), dilation))
        self.netem = changed(self.netem, change, dilation)
        return self.netem

    def configured(self, lab: str, endpoint: str) -> Netem | None:
        return self.netem


def desk(engine: FakeEngine, driver: FakeDriver | None = None, topology: str = "two-dc") -> LinkDesk:
    """Return the desk of a lab whose links are all native or, with a driver, all netem's."""
    lab = load_lab(topology)
    plan = compile_fabric(lab, new_experiment(topology, "all_reduce"))
    emulations = [Emulation("netem" if driver else "native") for _ in lab.links]
    part = KernelPart(plan, 10, [Emulation("native")] * len(emulations), None)
    return LinkDesk(lab, engine, driver or FakeDriver(), part, emulations, 10, plan)  # type: ignore[arg-type]


def test_only_what_is_named_changes() -> None:
    links = desk(FakeEngine())
    ways = links.ways(SPAN, "out")
    (planned,) = links.show(ways)
    links.set(ways, read_impairment({"delay": "2ms"}))
    links.set(ways, read_impairment({"loss": "1%", "burst": 2}))
    (row,) = links.show(ways)
    assert row["asked"] == {**planned["asked"], "delay_ns": 2e6, "loss": row["asked"]["loss"]}
    assert row["asked"]["loss"]["kind"] == "gilbert-elliott"
    assert row["configured"] == row["asked"]
    assert links.show(links.ways(SPAN, "in"))[0]["configured"] == links.show(links.ways(SPAN, "in"))[0]["asked"]
    assert links.show(links.ways(SPAN, "in"))[0]["asked"]["delay_ns"] == planned["asked"]["delay_ns"]
    links.reset(ways)
    (after,) = links.show(ways)
    assert (after["asked"], after["configured"]) == (planned["asked"], planned["asked"])


def test_directions_are_seen_from_the_port() -> None:
    links = desk(FakeEngine())
    assert [(row["from"], row["to"]) for row in links.show(links.ways("border-b:eth2", "out"))] == [
        ("border-b:eth2", "border-a:eth2")
    ]
    assert links.ways("border-b:eth2", "in") == links.ways("border-a:eth2", "out")
    assert sorted(links.ways(SPAN, "both")) == [(6, 0), (6, 1)]


def test_measured_is_since_the_last_change() -> None:
    engine = FakeEngine()
    links = desk(engine)
    ways = links.ways(SPAN, "out")
    engine.tick(frames=500, lost=100)
    assert links.show(ways)[0]["measured"]["loss"] == 0.2
    links.set(ways, read_impairment({"loss": 0.01}))
    assert links.show(ways)[0]["measured"]["loss"] is None, "nothing was sent since"
    engine.tick(frames=1000, lost=10)
    ((index, way),) = ways
    engine.delays = [{"link": index, "way": 1 - way, "count": 1, "mean_ns": 7}]
    assert links.show(ways)[0]["measured"]["delay_ns"] is None, "that was the other direction"
    engine.delays.append({"link": index, "way": way, "count": 3, "mean_ns": 392_000})
    measured = links.show(ways)[0]["measured"]
    assert measured == {
        "over_ns": 1e6, "frames": 1000, "lost": 10, "outage": 0, "loss": 0.01, "rate_bps": 8 * 10**9, "delay_ns": 392_000
    }  # fmt: skip


def test_what_a_timeline_left_is_undone_and_what_a_hand_set_stays() -> None:
    engine = FakeEngine()
    links = desk(engine)
    links.set(links.ways(SPAN, "out"), read_impairment({"rate": "50G"}))
    left = [{"link": 6, "way": way, "at_ps": None, "up": False, "label": "timeline[0]"} for way in (0, 1)]
    engine.impair(json.dumps(left))
    assert [row["configured"]["up"] for row in links.show(links.ways(SPAN, "both"))] == [False, False]
    links.settle()
    rows = links.show(links.ways(SPAN, "both"))
    assert [(row["configured"]["up"], row["configured"]["rate_bps"]) for row in rows] == [
        (True, 50 * 10**9), (True, 100 * 10**9)
    ]  # fmt: skip
    before = len(engine.log)
    links.settle()
    assert len(engine.log) == before, "nothing is left to undo"


def test_what_is_netems_goes_to_the_kernel_and_comes_back_from_there() -> None:
    engine, driver = FakeEngine(), FakeDriver()
    links = desk(engine, driver)
    ways = links.ways(SPAN, "in")
    links.set(ways, read_impairment({"delay": "2ms", "loss": "1%", "rate": "50G"}))
    ((lab, endpoint, change, dilation),) = driver.told
    assert (lab, endpoint, change["delay_ps"], dilation) == ("two-dc", "border-b:eth2", 2 * 10**9, 10)
    (entry,) = engine.log
    assert entry["rate_bps"] == 50 * 10**9 and "delay_ps" not in entry and "loss_process" not in entry
    driver.netem = replace(driver.netem, delay_ns=19_999_000)
    (row,) = links.show(ways)
    assert (row["emulation"], row["asked"]["delay_ns"], row["configured"]["delay_ns"]) == ("netem", 2e6, 1_999_900)
    assert row["configured"]["loss"] == {"kind": "bernoulli", "probability": 0.01}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": 2}, "--loss: .*between 0 and 1"),
        ({"ber": 0.6}, "--ber: .*at most 0.5"),
        ({"rate": "400G"}, "--rate: 400G is more than the 100G"),
        ({"margin-db": 1.0}, "--margin-db: belongs to links with a profile"),
        ({"lanes-down": 1}, "--lanes-down: belongs to links with a profile"),
        ({"burst": 2}, "a burst needs a loss"),
        ({"flap": {"period": "1ms"}}, "--flap"),
        ({}, "nothing is impaired"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(settings: dict[str, Any], message: str) -> None:
    engine = FakeEngine()
    links = desk(engine)
    with pytest.raises(UsageError, match=message):
        links.set(links.ways(SPAN, "both"), read_impairment(settings))
    assert engine.log == []


def test_ports_and_labs_that_are_not_there() -> None:
    with pytest.raises(UsageError, match='no port "border-a:eth7"'):
        desk(FakeEngine()).ways("border-a:eth7", "both")
    lab = load_lab("two-dc")
    with pytest.raises(UsageError, match="not the lab of the plan"):
        read_lab(lab.model_dump(mode="json"), {"lab": "other", "links": []})
    with pytest.raises(UsageError, match=r"topology: .* faults"):
        read_lab({"name": 3}, {"lab": "two-dc", "links": []})
    plan = {"lab": "two-dc", "links": [{}] * len(lab.links)}
    assert read_lab(json.loads(json.dumps(lab.model_dump(mode="json"))), plan) == lab


def test_netem_is_not_left_to_keep_a_timeline() -> None:
    plan = compile_fabric(load_lab("two-dc"), new_experiment("two-dc", "all_reduce"))
    changes = [{"link": 6, "way": 0, "at_ps": 1, "delay_ps": 5}, {"link": 0, "way": 0, "at_ps": 1, "up": False}]
    assert timed(changes) == [6]
    native = choose(with_native(plan, [6]), 1, lambda: True)
    assert [link.mode for link in native] == ["netem"] * 6 + ["native"]
    KernelPart(plan, 1, native, None).refuse_timed(changes)
    with pytest.raises(UsageError, match="border-a:eth2 - border-b:eth2 is emulated by netem"):
        KernelPart(plan, 1, choose(plan, 1, lambda: True), None).refuse_timed(changes)


def test_carriers_follow_the_settings_of_both_ways() -> None:
    driver = FakeDriver()
    links = desk(FakeEngine(), driver)
    ends = ("border-a:eth2", "border-b:eth2")
    links.set(links.ways(SPAN, "out"), read_impairment({"down": True}))
    assert driver.carriers == [] and not links.in_the_kernel().cut
    links.set(links.ways(SPAN, "in"), read_impairment({"down": True}))
    links.set(links.ways(SPAN, "both"), read_impairment({"delay": "2ms"}))
    assert driver.carriers == [(ends, False)]
    assert links.in_the_kernel().cut == set(ends) == links.in_the_kernel().changed
    after = desk(FakeEngine(), driver)
    after.take_over(links)
    assert driver.carriers == [(ends, False)] * 2
    links.reset(links.ways(SPAN, "in"))
    assert driver.carriers[2:] == [(ends, True)] and not links.in_the_kernel().cut
    assert after.in_the_kernel().cut == set(ends)


def test_tables_follow_a_link_between_switches_that_a_hand_takes_down() -> None:
    engine = FakeEngine()
    links = desk(engine, topology="clos:spines=2,leaves=2,hosts=2")
    places = links.ways("leaf1:eth3", "both")
    links.set(places, read_impairment({"down": True}))
    *_, there = engine.log
    assert there["after_ps"] == 10**9 and {"node": 4, "station": 2, "ports": [3]} in there["routes"]
    links.set(places, read_impairment({"up": True}))
    *_, back = engine.log
    assert {"node": 4, "station": 2, "ports": [2, 3]} in back["routes"]
    count = len(engine.log)
    links.set(places, read_impairment({"delay": "2ms"}))
    assert not any("routes" in entry for entry in engine.log[count:])
    links.set(links.ways("h1:eth1", "both"), read_impairment({"down": True}))
    assert not any("routes" in entry for entry in engine.log[count:]), "a host has no other link"


def test_tables_that_a_timeline_left_are_those_of_the_links_again() -> None:
    engine = FakeEngine()
    links = desk(engine, topology="clos:spines=2,leaves=2,hosts=2")
    engine.log.append({"link": 4, "way": 0, "rerouted": 12, "label": "", "asked_ps": 0, "at_ps": 0})
    links.settle()
    *_, restored = engine.log
    assert {"node": 4, "station": 2, "ports": [2, 3]} in restored["routes"] and "after_ps" not in restored
