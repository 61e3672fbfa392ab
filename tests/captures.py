"""Captures read by others: what a file holds, what tshark makes of it, and scapy's own idea of an ICRC."""

import itertools
import subprocess
from pathlib import Path

from scapy.contrib.roce import BTH
from scapy.packet import Packet

from testbed import pcapng


def read_capture(path: Path) -> list[tuple[int, bytes]]:
    """Return the frames of a capture with their time in ns."""
    return [(frame.time_ns, frame.data) for frame in pcapng.frames(path.read_bytes())]


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
