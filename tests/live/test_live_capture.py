"""A capture of the real clock while an incast runs: what crossed a veth link, read by tshark and scapy."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.contrib.roce import BTH
from scapy.layers.l2 import Ether

from testbed import pcapng
from tests.captures import assert_icrc, read_capture, tshark
from tests.live.machine import Machine, private_machine

LAB = ("-t", "incast:senders=3", "--dilation", "1000")
ACK, WRITES = 0x11, {0x06, 0x07, 0x08}


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def test_tshark_and_scapy_read_what_crossed_the_link(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "link.pcapng"
    machine.ok("deploy", *LAB)
    with machine.start("capture", "--name", "incast", "leaf:eth2", "-w", str(path)) as capture:
        assert capture.stderr is not None and "listening" in capture.stderr.readline()
        run = machine.run("run", "incast", *LAB, "--clock", "real", "-b", "1M", "--format", "json")
        capture.terminate()
        errors = capture.communicate(timeout=30)[1]
    assert run.returncode == 0, run.stderr
    assert "missed" not in errors

    counters = json.loads(run.stdout)["ports"]["leaf:eth2"]["priorities"]["3"]
    frames = [frame for _, frame in read_capture(path)]
    protocols = collections.Counter(row[0].split(":")[2] for row in tshark(path, "frame.protocols"))
    # What the port counted is what the capture holds, both ways: data in, acknowledgements and PAUSE frames out.
    assert protocols["ip"] == counters["frames_rx"] + counters["frames_tx"]
    assert protocols["macc"] == counters["pause_tx"] > 0
    faults = tshark(path, "_ws.malformed", "ip.checksum.status")
    assert {tuple(row) for row in faults} == {("", "1"), ("", "")}
    packets = [frame for frame in map(Ether, frames) if BTH in frame]
    assert len(packets) == protocols["ip"]
    assert {packet[BTH].opcode for packet in packets} == WRITES | {ACK}
    for packet in packets:
        assert_icrc(packet)


def test_comments_tell_what_the_real_clock_knows(machine: Machine, tmp_path: Path) -> None:
    """Losses on links and what repaired them are the data plane's own, and so is what the machine delivered late."""
    loss = "timeline=[{at: 0us, link: 'leaf:eth2', impair: {loss: 0.05}}]"
    run = machine.run("run", "incast", *LAB, "--clock", "real", "-b", "1M", "--set", loss, "--pcap", "--format", "json")
    assert run.stdout, run.stderr
    result = json.loads(run.stdout)
    (path,) = machine.directory.rglob("capture.pcapng")
    comments = [comment for (comment,) in tshark(path, "frame.comment")]
    assert comments == [frame.comment for frame in pcapng.frames(path.read_bytes())]
    told = collections.Counter(part.partition(":")[0] for comment in comments for part in comment.split("; "))
    lost = sum(count for kind, count in told.items() if kind.startswith("lost behind "))
    assert lost == result["drops"]["link"] > 0
    assert told["sent again"] == sum(qp["retransmitted"] for qp in result["qps"]) > 0
    assert 0 < told["repaired"] <= lost
