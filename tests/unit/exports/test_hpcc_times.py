"""fct.txt and pfc.txt: the last column by its formula, addresses, order, and PFC frames by the port that they reach."""

from __future__ import annotations

import pytest

from testbed import pcapng
from testbed.errors import UsageError
from testbed.exports.hpcc import Standalone, address, fct_text, pfc_text
from testbed.importers.hpcc import read_hpcc
from testbed.importers.text import Text
from testbed.lab.topology import Lab, lab_from
from testbed.run.flow_result import FlowClass, FlowCompletion, FlowTimes

PAUSE = bytes.fromhex("0180c2000001020000000001880801010008000000000000ffff") + bytes(36)


def lab(text: str = "3 1 2\n2\n0 2 100Gbps 1us 0\n1 2 100Gbps 1us 0\n") -> Lab:
    return lab_from(read_hpcc(Text("topology.txt", text)).source)


def completion(*flows: tuple[str, str, int, float, float | None]) -> FlowCompletion:
    rows = [
        FlowTimes(src=src, dst=dst, priority=3, bytes=size, start_us=start, fct_us=took, alone_us=1, slowdown=took)
        for src, dst, size, start, took in flows
    ]
    whole = FlowClass(least_bytes=1, most_bytes=9, count=len(rows), finished=len(rows), fct_us=None, slowdown=None)
    return FlowCompletion(sizes="list", load=None, all=whole, by_size=[], flows=rows)


def test_the_last_column_is_round_trip_and_bytes_at_the_bottleneck() -> None:
    """Two hosts on one switch: delay 2000, first bits 160, so 4160; 2,096,000 bytes at 100 Gbps: 171,840 ns."""
    assert Standalone(lab(), 1000).ns("h0", "h1", 2_000_000) == 171_840


def test_among_shortest_ways_the_least_delay_counts_and_then_the_widest() -> None:
    text = (
        "6 4 6\n2 3 4 5\n0 2 100Gbps 1us 0\n1 3 100Gbps 1us 0\n"
        "2 4 25Gbps 1us 0\n4 3 25Gbps 1us 0\n2 5 400Gbps 3us 0\n5 3 400Gbps 3us 0\n"
    )
    quick = Standalone(lab(text), 1000).ns("h0", "h1", 1000)
    assert quick == 2 * 4000 + (80 + 320 + 320 + 80) + 1048 * 8 * 10**9 // (25 * 10**9)
    wide = Standalone(lab(text.replace("3us", "1us")), 1000).ns("h0", "h1", 1000)
    assert wide == 2 * 4000 + (80 + 20 + 20 + 80) + 1048 * 8 // 100
    # A host between two links forwards nothing.
    with pytest.raises(UsageError, match="no way"):
        Standalone(lab("4 1 3\n3\n0 1 1Gbps 1us 0\n1 2 1Gbps 1us 0\n2 3 1Gbps 1us 0\n"), 1000).ns("h0", "h2", 1)


@pytest.mark.parametrize(("node", "hexadecimal"), [(0, "0b000001"), (90, "0b005a01"), (256, "0b010001")])
def test_addresses(node: int, hexadecimal: str) -> None:
    assert address(node) == hexadecimal


def test_lines_are_in_the_order_of_ends_and_ports_count_by_pair() -> None:
    flows = completion(("h0", "h1", 2_000_000, 0, 200), ("h0", "h1", 5, 1, 4), ("h1", "h0", 5, 2, None))
    assert fct_text(lab(), flows, 1000, 2 * 10**9).splitlines() == [
        "0b000001 0b000101 10001 100 5 2000001000 4000 4164",
        "0b000001 0b000101 10000 100 2000000 2000000000 200000 171840",
    ]
    with pytest.raises(UsageError, match="no host h9"):
        fct_text(lab(), completion(("h9", "h1", 1, 0, 1)), 1000, 0)


def test_pauses_stand_at_the_port_that_they_reach_when_their_last_bit_does() -> None:
    resume = PAUSE[:24] + bytes(38)
    raw = pcapng.section() + pcapng.interface("s2:eth1") + pcapng.interface("h1:eth1")
    raw += pcapng.packet(0, 5000, pcapng.OUTBOUND, PAUSE) + pcapng.packet(1, 5001, pcapng.OUTBOUND, resume)
    raw += pcapng.packet(0, 9000, pcapng.OUTBOUND, bytes(64)) + pcapng.packet(0, 9000, pcapng.INBOUND, PAUSE)
    assert pfc_text(lab(), pcapng.frames(raw)) == "6006 0 0 1 1\n6007 2 1 2 0\n"
    with pytest.raises(UsageError, match="no port s9:eth1"):
        pfc_text(lab(), [pcapng.Frame(0, "s9:eth1", pcapng.OUTBOUND, PAUSE)])
