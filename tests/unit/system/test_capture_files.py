"""Rings of capture files: when the next begins, which are kept, and that each is whole."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from testbed import pcapng
from testbed.system.capture_files import Bounds, Ring, existing

HEAD = (pcapng.section(), pcapng.interface("leaf:eth1"))


def opened(path: Path) -> BinaryIO:
    return path.open("xb")


def block(number: int, length: int = 100) -> bytes:
    return pcapng.packet(0, number, pcapng.INBOUND, bytes(length))


def times(path: Path) -> list[int]:
    return [frame.time_ns for frame in pcapng.frames(path.read_bytes())]


@pytest.mark.parametrize("batch", [1, 3, 25])
def test_a_file_has_so_many_frames_and_the_newest_files_are_kept(tmp_path: Path, batch: int) -> None:
    ring = Ring(tmp_path / "a.pcapng", Bounds(frames=4, files=3), opened)
    ring.begin(HEAD)
    blocks = [block(number) for number in range(25)]
    for at in range(0, 25, batch):
        ring.write(blocks[at : at + batch])
    ring.close()
    assert [path.name for path in ring.kept] == [f"a_{number:05}.pcapng" for number in (5, 6, 7)]
    assert existing(tmp_path / "a.pcapng") == list(ring.kept) == sorted(tmp_path.iterdir())
    assert [times(path) for path in ring.kept] == [[16, 17, 18, 19], [20, 21, 22, 23], [24]]


def test_a_file_is_no_longer_than_its_bytes_unless_one_frame_is(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "a.pcapng", Bounds(bytes=1000), opened)
    ring.begin(HEAD)
    ring.write([block(number) for number in range(12)])
    ring.write([block(12, 5000), block(13)])
    ring.close()
    held = {path.name: (times(path), path.stat().st_size) for path in ring.kept}
    assert [at for each, _ in held.values() for at in each] == list(range(14))
    room = 1000 - sum(map(len, HEAD))
    assert len(held["a_00001.pcapng"][0]) == room // len(block(0))
    assert all(size <= 1000 or numbers == [12] for numbers, size in held.values())


def test_a_file_that_cannot_be_made_leaves_those_before_whole(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "a.pcapng", Bounds(frames=2), opened)
    ring.begin(HEAD)
    (tmp_path / "a_00002.pcapng").write_bytes(b"of somebody else")
    with pytest.raises(FileExistsError):
        ring.write([block(number) for number in range(5)])
    assert times(tmp_path / "a_00001.pcapng") == [0, 1]
    assert (tmp_path / "a_00002.pcapng").read_bytes() == b"of somebody else"
