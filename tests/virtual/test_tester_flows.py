"""Trains that are flows of a tester: shapes in turn, bursts, ends, pauses, and what the ports count of them."""

import json
from typing import Any

import pytest

from testbed._dataplane import VirtualFabric
from testbed.conformance.frames import address, pfc, udp
from tests.virtual.harness import PS_PER_BYTE, Json, make_trial, star

DELAY_PS = 1_000_000
US = 1_000_000


class Lab:
    """Hosts a and b around a switch, each 1 us away, or in another lab."""

    def __init__(self, data: Json | None = None) -> None:
        plan = make_trial(data or star({"a": "1us", "b": "1us"}), "all_reduce").plan
        self.fabric = VirtualFabric(json.dumps(plan))
        self.a, self.b = (address(station) for station in plan["stations"][:2])

    def send(self, count: int, length: int = 1000, host: str = "a", **keys: Any) -> None:
        train = {"node": host, "port": "eth1", "hex": self.frame(length), "count": count, "flow": {"number": 7}}
        self.fabric.inject(json.dumps([train | keys]))

    def frame(self, length: int, dscp: int = 24) -> str:
        return udp(self.a, self.b, dscp, length).hex()

    def pause(self, at_us: int, quanta: int) -> None:
        frame = pfc({3: quanta}, bytes(6)).hex()
        self.fabric.inject(json.dumps([{"node": "b", "port": "eth1", "hex": frame, "after_ps": at_us * US}]))

    def run(self, until_us: int) -> tuple[Json, Json]:
        """Return what a sent and what b received of flow 7."""
        assert self.fabric.run_until(until_us * US, 1_000_000)
        ports = {each["port"]: each for each in json.loads(self.fabric.meters())}
        received = ports["b:eth1"]["received"]
        return ports["a:eth1"]["sent"][0], received[0] if received else {}


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.mark.parametrize("last_bit", [False, True])
def test_latency_is_that_of_the_bit_which_is_stamped(lab: Lab, last_bit: bool) -> None:
    lab.send(3, every_ps=10 * US, flow={"number": 7, "stamped": True, "last_bit": last_bit})
    sent, received = lab.run(100)
    line_ps = 1020 * PS_PER_BYTE
    # Two links, and the switch takes the frame in before it sends it on.
    latency = 2 * DELAY_PS + (0 if last_bit else line_ps)
    assert (sent["frames"], sent["bytes"], sent["running"]) == (3, 3000, False)
    assert (sent["first_ps"], sent["last_ps"]) == (0, 20 * US)
    assert (received["frames"], received["bytes"]) == (3, 3000)
    assert {received[f"latency_{each}_ps"] for each in ("min", "mean", "max")} == {latency}
    assert received["last_ps"] - received["first_ps"] == 20 * US


def test_shapes_come_in_turn_and_bursts_have_a_gap(lab: Lab) -> None:
    more = [{"hex": lab.frame(500), "every_ps": 2 * US}]
    lab.send(6, every_ps=US, more=more, burst={"frames": 4, "gap_ps": 50 * US})
    sent, _ = lab.run(200)
    assert (sent["frames"], sent["bytes"]) == (6, 4500)
    assert sent["last_ps"] == (1 + 2 + 1 + 2 + 50 + 1) * US


def test_a_flow_ends_when_its_time_is_over_or_it_is_withdrawn(lab: Lab) -> None:
    lab.send(2**40, every_ps=US, after_ps=5 * US, until_ps=10 * US)
    sent, _ = lab.run(100)
    assert (sent["frames"], sent["running"]) == (5, False)
    lab.send(2**40, every_ps=US)
    assert lab.run(103)[0]["running"]
    lab.fabric.withdraw("[7]")
    sent, _ = lab.run(200)
    assert (sent["frames"], sent["running"]) == (9, False)


def test_what_a_pause_delays_keeps_its_rate_afterwards() -> None:
    """b pauses a for 65535 quanta, 336 us at 100G; the frame that was due goes then, and the others keep their distance."""
    nodes: Json = {"a": {"kind": "host"}, "b": {"kind": "host"}}
    link = {"endpoints": ["a:eth1", "b:eth1"], "delay": "1us", "rate": "100G"}
    lab = Lab({"name": "direct", "topology": {"nodes": nodes, "links": [link]}})
    lab.send(2**40, every_ps=US, priority=3)
    lab.pause(10, 65535)
    before = lab.run(30)[0]["frames"]
    assert lab.run(340)[0]["frames"] == before < 30
    sent, _ = lab.run(440)
    first_us = sent["last_ps"] / US - (sent["frames"] - before - 1)
    assert 340 < first_us < 360
    assert sent["frames"] - before == 1 + int(440 - first_us)


def test_what_has_no_room_for_a_stamp_is_refused(lab: Lab) -> None:
    for frame in (pfc({3: 1}, bytes(6)).hex(), "02" * 12 + "0800" + "00" * 13):
        with pytest.raises(ValueError, match="without room"):
            lab.send(1, hex=frame, flow={"number": 1, "stamped": True})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"burst": {"frames": 0, "gap_ps": 1}}, "a burst has at least one frame"),
        ({"at_ps": 1, "after_ps": 1}, "at_ps or after_ps"),
        ({"flow": {"number": 65536}}, "u16"),
        ({"more": [{"hex": "00", "every_ps": 1}]}, "1 bytes are no frame"),
    ],
)
def test_trains_that_cannot_be_are_refused(lab: Lab, keys: Json, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lab.send(1, **keys)
