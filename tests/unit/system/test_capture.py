"""Frames of several sockets in the order of their times, and the file that they go into."""

from __future__ import annotations

import pytest

from testbed import pcapng
from testbed.system.capture import HOLD_S, InOrder, Received


def received(source: int, *times: int) -> list[Received]:
    return [Received(time, source, bytes([source])) for time in times]


def test_a_frame_that_another_socket_hands_over_later_is_written_first() -> None:
    """The kernel stamped it 3 us before one that was read first."""
    order = InOrder()
    order.add(0, received(0, 10_000, 14_000), 1.0, is_all=True)
    assert order.due(1.0) == []
    order.add(1, received(1, 11_000), 1.0 + HOLD_S / 2, is_all=True)
    assert [each.time_ns for each in order.due(1.0 + HOLD_S)] == [10_000, 11_000, 14_000]
    assert order.wait_s(1.0 + HOLD_S) == HOLD_S / 2


def test_a_socket_that_is_behind_is_waited_for() -> None:
    order = InOrder()
    order.add(0, received(0, 100), 1.0, is_all=False)
    order.add(1, received(1, 150, 900), 1.0, is_all=True)
    assert [each.time_ns for each in order.due(9.0)] == [100]
    order.add(0, received(0, 200, 950), 9.0, is_all=True)
    assert [each.time_ns for each in order.due(9.0)] == [150, 200, 900]
    assert order.wait_s(9.0) == HOLD_S
    assert [each.time_ns for each in order.remaining()] == [950]


def test_what_is_written_is_read_with_port_time_and_direction() -> None:
    content = pcapng.section() + pcapng.interface("leaf-a:eth1") + pcapng.interface("a1:eth1")
    content += pcapng.packet(1, 10**18 + 7, pcapng.INBOUND, b"odd") + pcapng.packet(0, 5, pcapng.OUTBOUND, b"", 9000)
    content += pcapng.packet(0, 6, pcapng.OUTBOUND, b"four", comment="sent again, 1 µs later")
    assert list(pcapng.frames(content)) == [
        (10**18 + 7, "a1:eth1", pcapng.INBOUND, b"odd", ""),
        (5, "leaf-a:eth1", pcapng.OUTBOUND, b"", ""),
        (6, "leaf-a:eth1", pcapng.OUTBOUND, b"four", "sent again, 1 µs later"),
    ]


def test_a_damaged_file_is_refused_as_one_wherever_it_is_cut_off() -> None:
    content = pcapng.section() + pcapng.interface("a1:eth1") + pcapng.packet(0, 7, pcapng.INBOUND, b"frame")
    ends = (0, len(pcapng.section()), len(pcapng.section() + pcapng.interface("a1:eth1")), len(content))
    for length in range(len(content) + 1):
        if length in ends:
            assert len(list(pcapng.frames(content[:length]))) == (length == len(content))
            continue
        with pytest.raises(ValueError, match=r"^byte \d+: "):
            list(pcapng.frames(content[:length]))
    of_nobody = pcapng.section() + pcapng.packet(3, 7, pcapng.INBOUND, b"frame")
    longer_than_it_is = content[: ends[2]] + content[ends[2] :].replace((5).to_bytes(4, "little"), b"\xff\xff\0\0", 1)
    for damaged in (of_nobody, longer_than_it_is):
        with pytest.raises(ValueError, match=r"^byte \d+: "):
            list(pcapng.frames(damaged))
