"""Captures: files that were damaged, frames of several sockets in any order, disks that fill up, names of files off the bus."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from testbed import pcapng
from testbed.agent import captures
from testbed.errors import TestbedError
from testbed.system.capture import HOLD_S, InOrder, Received
from testbed.system.capture_files import Blocks
from tools.fuzz import mutation
from tools.fuzz.target import Target, require

_NAMES = (
    "x.pcapng",
    "../x.pcapng",
    "/etc/passwd",
    ".pcapng",
    "a\0.pcapng",
    "a/../../b.pcapng",
    "é.pcapng",
    "",
    "x" * 300,
)


def draw(random: Random) -> bytes:
    """Draw a case of one of the kinds."""
    kind = random.choice(("file", "file", "order", "disk", "fetch"))
    case: dict[str, Any] = {"kind": kind}
    if kind == "file":
        case["hex"] = mutation.octets(random, b"".join(_blocks(random))).hex()
    elif kind == "order":
        case["fetches"] = _fetches(random)
    elif kind == "disk":
        blocks = _blocks(random)
        case |= {"blocks": [block.hex() for block in blocks], "room": random.randrange(sum(map(len, blocks)) + 1)}
        case["most"] = random.choice((1, 7, 1000, 10**6))
    else:
        base = random.choice(_NAMES)
        case["name"] = mutation.text(random, base, _NAMES)[:300] if random.random() < 0.5 else base
    return mutation.dump(case).encode()


def _blocks(random: Random) -> list[bytes]:
    """Draw a capture of a few interfaces, block by block."""
    names = [random.choice(("a1:eth1", "é" * 20, "", "x")) for _ in range(random.randrange(1, 4))]
    blocks = [pcapng.section(), *(pcapng.interface(name) for name in names)]
    for _ in range(random.randrange(20)):
        data = random.randbytes(random.choice((0, 1, 3, 60, 1500)))
        way = random.choice((pcapng.INBOUND, pcapng.OUTBOUND))
        blocks.append(pcapng.packet(random.randrange(len(names)), random.randrange(2**63), way, data))
    return blocks


def _fetches(random: Random) -> list[list[Any]]:
    """Draw what is fetched of some sockets, each with frames in its own order, seen within the time that they are held back.

    Each is [socket, now in s, whether that was all, times in ns].
    """
    sockets = random.randrange(1, 4)
    waiting: list[list[int]] = [[] for _ in range(sockets)]
    now_ns, fetches = 0, []
    for _ in range(random.randrange(1, 40)):
        for socket in range(sockets):
            for _ in range(random.randrange(3)):
                now_ns += random.randrange(10**6)
                waiting[socket].append(now_ns)
        now_ns += random.randrange(int(HOLD_S * 1e9 / 8))
        for socket in range(sockets):
            count = random.choice((len(waiting[socket]), len(waiting[socket]), random.randrange(4)))
            taken, waiting[socket] = waiting[socket][:count], waiting[socket][count:]
            fetches.append([socket, now_ns / 1e9, not waiting[socket], taken])
    fetches += [[socket, now_ns / 1e9, True, times] for socket, times in enumerate(waiting)]
    return fetches


def check(data: bytes) -> None:
    """Look at what becomes of a case."""
    case = json.loads(data)
    if case["kind"] == "file":
        _read(bytes.fromhex(case["hex"]))
    elif case["kind"] == "order":
        _put_in_order(case["fetches"])
    elif case["kind"] == "disk":
        _fill([bytes.fromhex(block) for block in case["blocks"]], case["room"], case["most"])
    else:
        _fetch(case["name"])


def _read(content: bytes) -> None:
    """A damaged file is refused with a ValueError, however it is damaged."""
    try:
        for frame in pcapng.frames(content):
            require(len(frame.data) <= len(content), "a frame longer than its file")
    except ValueError as error:
        require(bool(str(error)), "ValueError without a word")


def _put_in_order(fetches: Sequence[Sequence[Any]]) -> None:
    """Every frame comes out once, and in the order of their times."""
    order, out, taken_in = InOrder(), [], []
    for socket, now_s, is_all, times in fetches:
        received = [Received(time_ns, socket, b"") for time_ns in times]
        taken_in += received
        order.add(socket, received, now_s, is_all)
        out += order.due(now_s)
    out += order.remaining()
    require(out == sorted(taken_in), f"{len(taken_in)} frames in, {len(out)} out, or not in order")


def _fill(blocks: list[bytes], room: int, most: int) -> None:
    """A disk that fills up leaves whole blocks; what is written takes several calls."""
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        left = room - os.fstat(descriptor).st_size
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[: min(left, most)])

    with tempfile.TemporaryFile() as file, mock.patch("os.write", write):
        whole = sum(map(len, blocks))
        try:
            Blocks(file.fileno()).write(blocks)
            require(whole <= room, "more was written than there is room for")
        except OSError:
            require(whole > room, "there was room")
        file.seek(0)
        content = file.read()
    ends = [b"".join(blocks[:count]) for count in range(len(blocks) + 1)]
    require(content in ends, f"{len(content)} bytes are left, which is not the end of a block")


def _fetch(name: str) -> None:
    """A name off the bus leads to a file of the agent's directory, or nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        state, target = Path(folder) / "state", Path(folder) / "target"
        inside = captures.folder(state)
        inside.mkdir(parents=True)
        kept = [Path(folder) / "x.pcapng", Path(folder) / "state" / "x.pcapng", Path(folder) / "b.pcapng"]
        for path in (*kept, inside / "x.pcapng"):
            path.write_text("kept")
        try:
            captures.fetch(state, name, target)
        except TestbedError as error:
            require(not target.exists(), f"{error}, and there is something")
        else:
            require(name == "x.pcapng" and target.read_text() == "kept", f"{name!r} was fetched")
        require(all(path.exists() for path in kept), f"{name!r} led out of the directory")


CAPTURES = Target("captures", ".json", draw, check)
