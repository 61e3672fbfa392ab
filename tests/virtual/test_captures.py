"""Captures of the virtual clock, read by others: tshark decodes every frame, scapy agrees with every ICRC."""

import collections
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from scapy.contrib.roce import AETH, BTH
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from testbed._dataplane import VirtualFabric
from testbed.plan.workload import compile_workload
from testbed.traffic import RankSchedule, Recv, Schedule, Send
from tests.captures import assert_icrc, read_capture, tshark
from tests.golden_files import GOLDEN
from tests.virtual.harness import PS_PER_BYTE, Json, finish, flows_to_last, loaded_fabric, make_trial, report_of, star

SIZES = (200_002, 17, 4096, 0, 9_000)
ONLY, FIRST, MIDDLE, LAST = "only", "first", "middle", "last"
OPCODES = {
    "write": {FIRST: 0x06, MIDDLE: 0x07, LAST: 0x08, ONLY: 0x0A},
    "send": {FIRST: 0x00, MIDDLE: 0x01, LAST: 0x02, ONLY: 0x04},
}
ACK = 0x11
NAK_SEQUENCE_ERROR = 0x60
ROCE_PORT = 4791
XOFF = 0xFFFF
COMMENT = "1048576"


def end_of_packet(frame: bytes) -> int:
    """Return where the IPv4 packet in a frame ends."""
    return 14 + int.from_bytes(frame[16:18], "big")


def read_hex(name: str) -> bytes:
    lines = (GOLDEN / "frames" / name).read_text().splitlines()
    return bytes.fromhex("".join(line.partition("#")[0] for line in lines))


@dataclass
class Captured:
    """A run of two senders that write to one receiver, with pauses and losses, and its capture."""

    verb: str
    path: Path
    frames: list[tuple[int, bytes]]
    report: Json
    plan: Json
    sent: list[bytes]

    @property
    def packets(self) -> list[bytes]:
        return [frame for _, frame in self.frames if frame[12:14] == b"\x08\x00"]

    @property
    def roce(self) -> Iterator[Ether]:
        """The RoCEv2 packets without the padding of short frames."""
        return (Ether(frame[: end_of_packet(frame)]) for frame in self.packets)

    @property
    def pauses(self) -> list[bytes]:
        return [frame for _, frame in self.frames if frame[12:14] == b"\x88\x08"]


@pytest.fixture(scope="module", params=["write", "send"])
def captured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Captured:
    lab = star({"s1": "1us", "s2": "2us", "r1": "1us"}, loss=[0.01, 0])
    settings = ["lossless.xoff=30KB", "lossless.xon=20KB", f"transport.verb={request.param}", "seed=5"]
    trial = make_trial(lab, "incast", *settings)
    total = sum(SIZES)
    starts = [sum(SIZES[:index]) for index in range(len(SIZES))]
    senders = [
        RankSchedule(total, tuple(Send(2, at, size, base + at) for at, size in zip(starts, SIZES, strict=True)))
        for base in (0, total)
    ]
    receives = [Recv(rank, rank * total + at, size) for rank in (0, 1) for at, size in zip(starts, SIZES, strict=True)]
    schedule = Schedule((*senders, RankSchedule(2 * total, tuple(receives))))
    path = tmp_path_factory.mktemp("captures") / f"{request.param}.pcapng"
    fabric = VirtualFabric(json.dumps(trial.plan))
    fabric.capture(str(path))
    fabric.load(json.dumps(compile_workload(trial.lab, trial.experiment, schedule)))
    payloads = [random.Random(rank).randbytes(total) for rank in (0, 1)]
    for rank, payload in enumerate(payloads):
        fabric.write_memory(rank, 0, payload)
    report = finish(fabric)
    fabric.capture(None)
    assert report["complete"] and fabric.read_memory(2, 0, 2 * total) == b"".join(payloads)
    return Captured(request.param, path, read_capture(path), report, trial.plan, payloads)


def test_every_frame_is_captured_in_order(captured: Captured) -> None:
    assert len(captured.frames) == captured.report["frame_hops"]
    times = [at for at, _ in captured.frames]
    assert times == sorted(times) and times[0] == 0
    assert times[-1] * 1000 <= captured.report["now_ps"]


def test_tshark_finds_no_fault(captured: Captured) -> None:
    checks = ["frame.protocols", "_ws.malformed", "_ws.expert.severity", "ip.checksum.status", "udp.checksum.status"]
    rows = tshark(captured.path, *checks)
    assert len(rows) == len(captured.frames)
    # To tshark a comment on a frame is one of its experts' notes.
    kinds = collections.Counter(tuple(field.replace(COMMENT, "") for field in row) for row in rows)
    # Status 1 is good; RoCEv2 leaves the UDP checksum out, which is status 3. Data hides behind the InfiniBand header.
    roce = {kind: count for kind, count in kinds.items() if kind[0].startswith("eth:ethertype:ip:udp:infiniband")}
    assert {kind[1:] for kind in roce} == {("", "", "1", "3")}
    assert sum(roce.values()) == len(captured.packets)
    assert {kind: count for kind, count in kinds.items() if kind not in roce} == {
        ("eth:ethertype:macc", "", "", "", ""): len(captured.pauses)
    }


def test_tshark_reads_the_opcodes(captured: Captured) -> None:
    """Every data packet sent crosses two links, less the second for those that the first one lost."""
    rows = tshark(captured.path, "infiniband.bth.opcode", "infiniband.reth.dmalen", "infiniband.aeth.syndrome")
    counts = collections.Counter(int(row[0], 0) for row in rows if row[0])
    codes = OPCODES[captured.verb]
    assert counts.keys() == {*codes.values(), ACK}
    sent = sum(qp["packets_tx"] for qp in captured.report["qps"])
    lost = captured.report["drops"]["link"]
    assert lost > 0 and sum(count for code, count in counts.items() if code != ACK) == 2 * sent - lost
    lengths = {int(row[1]) for row in rows if row[1]}
    assert lengths == (set(SIZES) if captured.verb == "write" else set())
    assert all(bool(row[1]) == (int(row[0], 0) in (0x06, 0x0A)) for row in rows if row[0])
    syndromes = {int(row[2], 0) for row in rows if row[2]}
    assert syndromes == {0x1F, NAK_SEQUENCE_ERROR}


def test_tshark_reads_the_pauses(captured: Captured) -> None:
    fields = ["macc.opcode", "macc.cbfc.enbv", "macc.cbfc.pause_time.c3", "frame.len", "eth.dst"]
    rows = [row for row in tshark(captured.path, *fields) if row[0]]
    assert {tuple(row) for row in rows} == {
        ("0x0101", "0x0008", quanta, "60", "01:80:c2:00:00:01") for quanta in (str(XOFF), "0")
    }
    heard = sum(
        counters["pause_rx"] for port in captured.report["ports"].values() for counters in port["priorities"].values()
    )
    assert len(rows) == heard > 5


def test_pauses_are_the_golden_frame(captured: Captured) -> None:
    """Every PAUSE is the golden frame but for its sender, a port of the switch, and for XON its zero time."""
    golden = read_hex("pfc_xoff_priority_3.hex")
    quanta = slice(24, 26)
    assert golden[quanta] == XOFF.to_bytes(2, "big")
    ports = {bytes.fromhex(port["mac"].replace(":", "")) for port in captured.plan["nodes"][-1]["ports"]}
    senders = set()
    for frame in captured.pauses:
        source = frame[6:12]
        senders.add(source)
        xoff = golden[:6] + source + golden[12:]
        assert frame in (xoff, xoff[:24] + bytes(2) + xoff[26:])
    assert senders <= ports and len(senders) == 2


def test_scapy_agrees_with_every_icrc(captured: Captured) -> None:
    checked = 0
    for frame in captured.roce:
        assert_icrc(frame)
        checked += 1
    assert checked > 200


def test_no_fcs_is_captured(captured: Captured) -> None:
    """Nothing follows the packet but the zeros that fill a short frame; only a SEND of nothing is that short."""
    short = 0
    for frame in captured.packets:
        end = end_of_packet(frame)
        assert frame[end:] == bytes(max(0, 60 - end))
        short += end < 60
    assert (short > 0) == (captured.verb == "send")
    assert {len(frame) for frame in captured.pauses} == {60}


def test_headers_say_what_the_plan_says(captured: Captured) -> None:
    nics = {station["mac"]: station["ip"] for station in captured.plan["stations"] if station["kind"] == "nic"}
    receiver = captured.plan["stations"][2]["mac"]
    for frame in captured.roce:
        assert (frame[IP].src, frame[IP].dst) == (nics[frame.src], nics[frame.dst])
        assert (frame.dst == receiver) != (AETH in frame)
        assert frame[IP].tos == 24 << 2 | 2  # the DSCP of priority 3, ECT(0)
        assert frame[IP].flags == "DF" and frame[UDP].dport == ROCE_PORT and frame[UDP].sport >= 49_152
        assert frame[UDP].len == frame[IP].len - 20 and frame[BTH].pkey == 0xFFFF and frame[BTH].version == 0


def test_the_payload_is_on_the_wire(captured: Captured) -> None:
    """Packets in order of their PSN, as they left the senders, carry the memory of the senders and no more."""
    for station, sent in zip(captured.plan["stations"][:2], captured.sent, strict=True):
        packets: dict[int, bytes] = {}
        for frame in captured.roce:
            if frame.src != station["mac"]:
                continue
            body = bytes(frame[BTH].payload)[16 if frame[BTH].opcode in (0x06, 0x0A) else 0 :]
            body = body[: len(body) - frame[BTH].padcount]
            assert packets.setdefault(frame[BTH].psn, body) == body  # a packet sent again is the same packet
        assert sorted(packets) == list(range(len(packets)))
        assert b"".join(body for _, body in sorted(packets.items())) == sent


def test_stamps_are_nominal_nanoseconds(tmp_path: Path) -> None:
    """Three packets back to back, 4194, 4178 and 98 bytes of wire, on a host's link and 1 us and a packet later on the next."""
    trial = make_trial(star({"a1": "1us", "b1": "1us"}), "incast", "workload.payload=false")
    fabric = loaded_fabric(trial, flows_to_last(1, 2 * 4096 + 16))
    fabric.capture(str(tmp_path / "three.pcapng"))
    finish(fabric)
    fabric.capture(None)
    data = [(at, Ether(frame)) for at, frame in read_capture(tmp_path / "three.pcapng")]
    stamps = sorted((frame[BTH].psn, at) for at, frame in data if AETH not in frame)
    left = [0, 4194, 4194 + 4178]
    forwarded = [10**6 + (4194 + start) * PS_PER_BYTE for start in left]
    wanted = [(psn, at // 1000) for psn in range(3) for at in (left[psn] * PS_PER_BYTE, forwarded[psn])]
    assert stamps == wanted


def test_a_capture_changes_nothing(tmp_path: Path) -> None:
    trial = make_trial("pair", "incast", "workload.payload=false")
    reports = []
    for capture in (None, str(tmp_path / "pair.pcapng")):
        fabric = loaded_fabric(trial, flows_to_last(1, 2**20))
        fabric.capture(capture)
        reports.append(finish(fabric))
    assert reports[0] == reports[1] == report_of(fabric)


def test_a_capture_that_cannot_be_written(tmp_path: Path) -> None:
    fabric = VirtualFabric(json.dumps(make_trial("pair", "incast").plan))
    with pytest.raises(OSError, match="No such file"):
        fabric.capture(str(tmp_path / "absent" / "file.pcapng"))
    fabric.capture(None)
