"""Comments on frames of captures: each loss, mark and repair that the run counted, on the frame that it happened to."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from scapy.contrib.roce import BTH
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from testbed import pcapng
from testbed._dataplane import VirtualFabric
from testbed.run.trial import Trial
from tests.captures import tshark
from tests.virtual.harness import Json, finish, flows_to_last, loaded_fabric, make_trial, run_trial, star

LOSSY = star({"s1": "1us", "s2": "2us", "r1": "1us"}, loss=[0.01, 0])
# With less headroom than a frame, nearly every frame that comes after XOFF is lost.
SHORT_OF_HEADROOM = ("lossless.headroom=1KB", "lossless.xoff=30KB")


@dataclass
class Told:
    """A run and its capture."""

    report: Json
    frames: list[pcapng.Frame]
    path: Path

    def matching(self, pattern: str) -> list[tuple[int, re.Match[str]]]:
        """Return the numbers of the frames of which something is told, and what."""
        matches = ((number, re.search(pattern, frame.comment)) for number, frame in enumerate(self.frames, start=1))
        return [(number, match) for number, match in matches if match]

    def packet(self, number: int) -> tuple[str, str, int, int]:
        """Return what tells a packet from others: both addresses, the QP number, and the PSN."""
        packet = Ether(self.frames[number - 1].data)
        return packet[IP].src, packet[IP].dst, packet[BTH].dqpn, packet[BTH].psn


def captured(trial: Trial, path: Path, flows: int = 2, size: int = 2**20, fabric: VirtualFabric | None = None) -> Told:
    fabric = fabric or loaded_fabric(trial, flows_to_last(flows, size))
    fabric.capture(str(path))
    report = finish(fabric)
    fabric.capture(None)
    return Told(report, list(pcapng.frames(path.read_bytes())), path)


def total(report: Json, counter: str) -> int:
    return sum(entry[counter] for port in report["ports"].values() for entry in port["priorities"].values())


@pytest.mark.parametrize("recovery", ["go-back-n", "selective-repeat"])
def test_what_was_lost_names_the_frame_that_repaired_it(tmp_path: Path, recovery: str) -> None:
    trial = make_trial(LOSSY, "incast", "workload.payload=false", f"transport.recovery={recovery}", *SHORT_OF_HEADROOM)
    told = captured(trial, tmp_path / "a.pcapng")
    drops = told.report["drops"]
    assert drops["link"] > 0 < drops["lossless"]
    at_the_switch = told.matching(r"dropped at (sw:eth\d): headroom of group 3 used up")
    assert len(at_the_switch) == drops["lossless"]
    # By the port that counted them; each came from the host behind it.
    by_port = Counter(match[1] for _, match in at_the_switch)
    assert by_port == {port: told.report["ports"][port]["priorities"]["3"]["drops"]["headroom"] for port in by_port}
    assert {told.frames[number - 1].interface for number, _ in at_the_switch} <= {"s1:eth1", "s2:eth1"}
    assert len(told.matching(r"lost behind s\d:eth1: corrupted on the link")) == drops["link"]
    again = told.matching(r"sent again")
    resent = [number for number, _ in again if told.frames[number - 1].comment.startswith("sent again")]
    assert len(resent) == sum(qp["retransmitted"] for qp in told.report["qps"])
    repaired = told.matching(r"repaired: sent again as frame (\d+), (\d+\.\d{3}) µs later")
    assert len(repaired) == drops["lossless"] + drops["link"]
    for number, match in repaired:
        assert told.packet(int(match[1])) == told.packet(number)
        assert f"sent again: frame {number} was lost" in told.frames[int(match[1]) - 1].comment
        # From the loss on, which was after the frame had left.
        apart_us = (told.frames[int(match[1]) - 1].time_ns - told.frames[number - 1].time_ns) / 1000
        assert 0 < float(match[2]) < apart_us + 0.002


def test_tshark_reads_the_same_comments(tmp_path: Path) -> None:
    trial = make_trial(LOSSY, "incast", "workload.payload=false", *SHORT_OF_HEADROOM)
    told = captured(trial, tmp_path / "a.pcapng", size=2**18)
    rows = tshark(told.path, "frame.comment", "_ws.malformed")
    assert rows == [[frame.comment, ""] for frame in told.frames]
    assert any(frame.comment for frame in told.frames)


def test_every_mark_is_on_the_frame_that_leaves_the_queue(tmp_path: Path) -> None:
    settings = ("workload.payload=false", "lossless.ecn={kmin: 20KB, kmax: 200KB, pmax: 0.2}")
    trial = make_trial(star({"s1": "1us", "s2": "2us", "r1": "1us"}), "incast", *settings)
    told = captured(trial, tmp_path / "a.pcapng")
    marked = told.matching(r"^marked: queue 3 of (sw:eth\d) held (\d+) bytes$")
    assert len(marked) == total(told.report, "ecn_marked") > 10
    for number, match in marked:
        frame = told.frames[number - 1]
        assert match[1] == frame.interface and int(match[2]) > 20_000
        assert frame.data[15] & 3 == 3
    assert sum(frame.data[12:14] == b"\x08\x00" and frame.data[15] & 3 == 3 for frame in told.frames) == len(marked)


def test_what_parity_made_good(tmp_path: Path) -> None:
    trial = make_trial(LOSSY, "incast", "workload.payload=false", "transport.recovery=erasure")
    told = captured(trial, tmp_path / "a.pcapng", size=2**23)
    recovered = sum(qp["erasure"]["recovered"] for qp in told.report["qps"])
    completed = told.matching(r"completed its block: lost packets rebuilt from parity: (\d+)")
    assert sum(int(match[1]) for _, match in completed) == recovered > 5
    rebuilt = told.matching(r"repaired: rebuilt from parity when frame (\d+) had come")
    assert len(rebuilt) == recovered and all("lost behind" in told.frames[number - 1].comment for number, _ in rebuilt)
    assert {int(match[1]) for _, match in rebuilt} == {number for number, _ in completed}


def test_what_came_twice_is_late(tmp_path: Path) -> None:
    """Acknowledgements are lost, the timer runs out, and what is sent again had come already."""
    lab = star({"s1": "1us", "r1": "1us"}, loss=[0, 0.9])
    trial = make_trial(lab, "incast", "workload.payload=false", "transport.recovery=selective-repeat", "seed=3")
    told = captured(trial, tmp_path / "a.pcapng", flows=1, size=2**19)
    late = told.matching("late: its data had come before it")
    assert late and len(late) <= sum(qp["retransmitted"] for qp in told.report["qps"])
    came: set[tuple[str, str, int, int]] = set()
    numbers = {number for number, _ in late}
    for number, frame in enumerate(told.frames, start=1):
        packet = Ether(frame.data)
        if frame.interface == "sw:eth2" and BTH in packet:
            assert (told.packet(number) in came) == (number in numbers)
            came.add(told.packet(number))


def test_frames_that_are_on_a_link_when_it_is_cut(tmp_path: Path) -> None:
    cut = "timeline=[{at: 20us, link: 'a1:eth1', impair: {down: true}, for: 5us}]"
    path = tmp_path / "a.pcapng"
    outcome = run_trial(make_trial("pair", "incast", "workload.size=1M", "workload.payload=false", cut), path)
    told = Told(outcome.report, list(pcapng.frames(path.read_bytes())), path)
    lost = told.matching("lost behind [a-z0-9]+:eth1: the link was down")
    assert len(lost) == told.report["drops"]["outage"] > 0


def test_a_capture_without_stories_is_the_file_that_it_was(tmp_path: Path) -> None:
    told = captured(make_trial("pair", "incast", "workload.payload=false"), tmp_path / "a.pcapng", flows=1)
    assert not told.matching(".") and [path.name for path in tmp_path.iterdir()] == ["a.pcapng"]


def test_the_file_keeps_its_mode_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    path.touch(mode=0o600)
    (tmp_path / "a.pcapng.part").symlink_to(tmp_path / "victim")
    link = tmp_path / "link.pcapng"
    link.symlink_to(path)
    told = captured(make_trial(LOSSY, "incast", "workload.payload=false"), link, size=2**19)
    assert told.matching("lost") and path.stat().st_mode & 0o777 == 0o600 and link.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.pcapng", "link.pcapng"]


def test_a_capture_that_begins_and_ends_in_the_middle(tmp_path: Path) -> None:
    """Of what was under way when it began nothing is known, and nothing wrong is told."""
    trial = make_trial(LOSSY, "incast", "workload.payload=false", *SHORT_OF_HEADROOM)
    fabric = loaded_fabric(trial, flows_to_last(2, 2**19))
    assert fabric.run_until(60_000_000, 10**6)
    told = captured(trial, tmp_path / "a.pcapng", fabric=fabric)
    assert told.matching("dropped at sw")
    for number, match in told.matching(r"sent again: frame (\d+) was lost"):
        assert told.packet(int(match[1])) == told.packet(number)


def test_what_the_watchdog_flushes_and_discards(tmp_path: Path) -> None:
    """Frames that had stood in the queue, and frames that came for it later."""
    path = tmp_path / "a.pcapng"
    settings = (
        "workload.size=2M",
        "workload.payload=false",
        "timeline=[{at: 20us, node: b1, storm: {}, for: 1ms}]",
        "lossless.watchdog={detection: 100us, restoration: 100us, poll: 50us}",
    )
    outcome = run_trial(make_trial("two-dc:length=1km", "permutation", *settings), path)
    told = Told(outcome.report, list(pcapng.frames(path.read_bytes())), path)
    dropped = Counter(match[1] for _, match in told.matching(r"dropped at (\S+): the watchdog flushes queue 3"))
    counted = {
        port: entry["priorities"]["3"]["drops"]["watchdog"]
        for port, entry in told.report["ports"].items()
        if "3" in entry["priorities"]
    }
    assert dropped == {port: count for port, count in counted.items() if count} and dropped
    for number, match in told.matching(r"the watchdog flushes"):
        assert told.frames[number - 1].interface.partition(":")[0] != match[0]
