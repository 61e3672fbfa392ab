"""Captures read by others: what a pcap file holds, what tshark makes of it, and scapy's own idea of an ICRC."""

import itertools
import struct
import subprocess
from pathlib import Path

from scapy.contrib.roce import BTH
from scapy.packet import Packet

NANOSECONDS_LITTLE_ENDIAN = 0xA1B23C4D


def read_pcap(path: Path) -> list[tuple[int, bytes]]:
    """Return the frames of a nanosecond pcap with their time in ns."""
    data = path.read_bytes()
    magic, major, minor, _, _, snap, link = struct.unpack_from("<IHHiIII", data)
    assert (magic, major, minor, link) == (NANOSECONDS_LITTLE_ENDIAN, 2, 4, 1) and snap >= 9216
    frames, at = [], 24
    while at < len(data):
        seconds, ns, kept, length = struct.unpack_from("<IIII", data, at)
        assert kept == length and ns < 10**9
        frames.append((seconds * 10**9 + ns, data[at + 16 : at + 16 + length]))
        at += 16 + length
    return frames


def tshark(path: Path, *fields: str) -> list[list[str]]:
    """Return fields of every frame as tshark reads them, checksums verified.

    tshark guesses at what a SEND carries, and takes some of these random bytes for a damaged call of RPC over RDMA.
    """
    options = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "--disable-protocol", "rpcordma"]
    chosen = itertools.chain(*(("-e", field) for field in fields))
    command = ["tshark", "-n", "-r", str(path), *options, "-T", "fields", *chosen]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [line.split("\t") for line in completed.stdout.splitlines()]


def assert_icrc(frame: Packet) -> None:
    """Insist that the ICRC of a RoCEv2 frame is the one that scapy computes."""
    bth = frame[BTH]
    assert bth.icrc.to_bytes(4, "big") == bth.compute_icrc(b""), frame.summary()
