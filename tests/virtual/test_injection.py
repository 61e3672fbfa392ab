"""Raw frames put on a host's link: the bytes that were given, at the times that were asked for, whatever pauses say."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.l2 import Ether

from testbed._dataplane import VirtualFabric
from testbed.conformance.frames import Address, address, global_pause, pfc, roce, udp
from tests.captures import assert_icrc, read_capture
from tests.virtual.harness import PS_PER_BYTE, Json, make_trial, priority, report_of, star

DELAY_PS = 1_000_000
SOURCE = bytes.fromhex("020000000001")
FRAME = 1000
LINE_PS = (FRAME + 20) * PS_PER_BYTE


class Lab:
    """Hosts a and b around a switch, with a capture; a's link is link 0."""

    def __init__(self, path: Path) -> None:
        self.plan = make_trial(star({"a": "1us", "b": "1us"}), "all_reduce").plan
        self.fabric = VirtualFabric(json.dumps(self.plan))
        self.path = path / "capture.pcapng"
        self.fabric.capture(str(self.path))
        self.a, self.b = (address(station) for station in self.plan["stations"][:2])

    def inject(self, frame: bytes, host: str = "a", **when: Any) -> None:
        self.fabric.inject(json.dumps([{"node": host, "port": "eth1", "hex": frame.hex(), **when}]))

    def run(self, until_ps: int) -> Json:
        assert self.fabric.run_until(until_ps, 1_000_000)
        report = report_of(self.fabric)
        assert report["now_ps"] == until_ps and report["violations"] == []
        return report

    def captured(self) -> list[tuple[int, bytes]]:
        self.fabric.capture(None)
        return read_capture(self.path)

    def data(self, dscp: int = 24, length: int = FRAME, to: Address | None = None) -> bytes:
        return udp(self.a, to or self.b, dscp, length)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_frames_have_the_bytes_of_the_standards(lab: Lab) -> None:
    golden = "0180c200000102000000000188080101000800000000 0000ffff0000000000000000".replace(" ", "") + "00" * 26
    assert pfc({3: 0xFFFF}, SOURCE).hex() == golden
    assert global_pause(0x1234, SOURCE)[12:18] == bytes.fromhex("880800011234")
    for length in (64, 66, 1000, 4178):
        packet = roce(lab.a, lab.b, 24, length)
        assert max(64, len(packet) + 4) in range(length - 3, length + 1)
        assert_icrc(Ether(packet))
    assert [len(udp(lab.a, lab.b, 0, length)) + 4 for length in (64, 65, 999)] == [64, 65, 999]


def test_a_frame_keeps_its_bytes_on_every_link(lab: Lab) -> None:
    stranger = bytes.fromhex("0200deadbeef") + lab.data()[6:]
    frames = [pfc({0: 1, 3: 0xFFFF}, bytes(6)), pfc({}, SOURCE), global_pause(9, SOURCE), lab.data(), stranger]
    for frame in frames:
        lab.inject(frame)
    report = lab.run(10 * DELAY_PS)
    on_the_wire = [frame for _, frame in lab.captured()]
    # The switch forwards data; MAC control ends at its port, and so does what nobody is known to be behind.
    assert sorted(on_the_wire) == sorted([*frames, lab.data()])
    assert {p: c["pause_rx"] for p, c in report["ports"]["sw:eth1"]["priorities"].items()} == {"0": 1, "3": 1}
    assert priority(report, "sw:eth1")["drops"]["unroutable"] == 1


def test_ipv6_is_carried_by_its_mac_and_what_would_be_flooded_is_counted_where_it_ends(lab: Lab) -> None:
    """Broadcast, multicast of IPv4 and a neighbour solicitation of IPv6 end at the first switch, under their cause."""
    source, ipv6 = lab.data()[6:12], bytes.fromhex("86dd6000000000003aff") + bytes(92)
    unicast = lab.data()[:6] + source + ipv6
    flooded = [bytes.fromhex(mac) + source + ipv6 for mac in ("ffffffffffff", "01005e000001", "3333ff000001")]
    for frame in (unicast, *flooded):
        lab.inject(frame)
    report = lab.run(10 * DELAY_PS)
    assert sorted(frame for _, frame in lab.captured()) == sorted([unicast, unicast, *flooded])
    drops = priority(report, "sw:eth1", 0)["drops"]
    assert {cause: count for cause, count in drops.items() if count} == {"unroutable": len(flooded)}
    assert report["drops"]["lossy"] == len(flooded) and report["drops"]["lossless"] == 0


def test_a_train_leaves_at_its_times_and_not_faster_than_the_line(lab: Lab) -> None:
    lab.inject(lab.data(), count=5, every_ps=10 * LINE_PS)
    lab.inject(lab.data(dscp=0), count=3, at_ps=2 * DELAY_PS)
    lab.run(10 * DELAY_PS)
    # UDP frames of either train leave the host, then the switch, a delay and a frame time later.
    times = {dscp: [at for at, frame in lab.captured() if frame[15] >> 2 == dscp] for dscp in (24, 0)}
    paced = [n * 10 * LINE_PS for n in range(5)]
    dense = [2 * DELAY_PS + n * LINE_PS for n in range(3)]
    for dscp, starts in ((24, paced), (0, dense)):
        expected = sorted([*starts, *(start + LINE_PS + DELAY_PS for start in starts)])
        late = [at - at_ps // 1000 for at, at_ps in zip(times[dscp], expected, strict=True)]
        assert all(0 <= by <= LINE_PS // 1000 for by in late), late


def test_the_line_is_shared_and_nothing_is_lost(lab: Lab) -> None:
    lab.inject(lab.data(), count=400)
    lab.inject(lab.data(dscp=0), count=400)
    report = lab.run(400 * LINE_PS)
    # Both are due at once: they take turns by who has waited longer, and the first given goes first.
    assert priority(report, "a:eth1", 3)["frames_tx"] == 400
    report = lab.run(900 * LINE_PS)
    assert priority(report, "a:eth1", 0)["frames_tx"] == priority(report, "sw:eth2", 0)["frames_tx"] == 400
    counts = report["kernel_frames"]
    assert counts == {"sent": 800, "delivered": 800, "dropped": 0, "in_flight": 0}


@pytest.mark.parametrize("obeys", [True, False])
def test_pauses_stop_a_train_that_obeys(lab: Lab, obeys: bool) -> None:
    quanta, start_ps = 1000, 3 * DELAY_PS
    # b's XOFF stops the switch's port, and the group at its ingress overflows into an XOFF to a.
    lab.inject(pfc({3: 0xFFFF}, SOURCE), host="b", every_ps=10**8, count=3)
    lab.inject(lab.data(), at_ps=start_ps, count=160, **({"priority": 3} if obeys else {}))
    report = lab.run(start_ps + 250 * LINE_PS)
    sent, held = priority(report, "a:eth1")["frames_tx"], priority(report, "sw:eth1")
    assert priority(report, "sw:eth2")["pause_rx"] == 1 and held["pause_tx"] == 1
    threshold = next(node for node in lab.plan["nodes"] if node["kind"] == "switch")["priority_groups"][0]
    assert held["ingress_bytes_max"] > threshold["xoff_bytes"]
    assert (threshold["xoff_bytes"] // FRAME < sent < 160) if obeys else sent == 160
    report = lab.run(report["now_ps"] + 10 * 335_544_000 + quanta)
    assert priority(report, "sw:eth2")["frames_tx"] == 160 and report["drops"]["lossless"] == 0


def test_packets_are_numbered(lab: Lab) -> None:
    lab.inject(roce(lab.a, lab.b, 24, FRAME, psn=0xFFFFFE), count=5, sequence=True)
    lab.run(10 * DELAY_PS)
    packets = [frame for _, frame in lab.captured()]
    numbers = [struct.unpack(">I", frame[50:54])[0] & 0xFFFFFF for frame in packets]
    assert sorted(numbers) == sorted(2 * [0xFFFFFE, 0xFFFFFF, 0, 1, 2])
    for frame in packets:
        assert_icrc(Ether(frame))


def test_runs_are_the_same_however_they_are_sliced(tmp_path: Path) -> None:
    hashes = set()
    for budget in (1, 7, 10**6):
        lab = Lab(tmp_path)
        lab.inject(pfc({3: 500}, SOURCE), host="b", every_ps=3 * 10**6, count=20)
        lab.inject(lab.data(), at_ps=5, count=300, every_ps=LINE_PS, priority=3)
        for until in range(10**6, 10**8, 10**6 * (1 + budget % 3)):
            while not lab.fabric.run_until(until, budget):
                pass
        assert lab.fabric.run_until(10**8, 10**6)
        report = report_of(lab.fabric)
        hashes.add((report["event_log_hash"], report["events"]))
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("train", "fault"),
    [
        ({"node": "x"}, "train 0: no node x"),
        ({"node": "sw"}, "train 0: sw is not a host"),
        ({"port": "eth9"}, "train 0: a has no port eth9"),
        ({"hex": "0g" * 64}, "hex is not"),
        ({"hex": "000"}, "hex is not"),
        ({"hex": "00" * 13}, "13 bytes are no frame"),
        ({"hex": "00" * 9235}, "9235 bytes are no frame"),
        ({"priority": 8}, "priority 8 is not between 0 and 7"),
        ({"sequence": True}, "only a RoCEv2 packet"),
        ({"every": 3}, "unknown field"),
        ({"count": -1}, "invalid value"),
    ],
)
def test_faults_are_named(lab: Lab, train: Json, fault: str) -> None:
    whole = {"node": "a", "port": "eth1", "hex": lab.data().hex(), **train}
    with pytest.raises(ValueError, match=fault):
        lab.fabric.inject(json.dumps([whole]))
