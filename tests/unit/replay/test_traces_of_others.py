"""Traces that other projects ship, read and matched where they are."""

from __future__ import annotations

import pytest

from testbed.replay.made import flows_of
from testbed.replay.matching import match
from testbed.replay.reading import read_traces
from tests.unit.importers.conftest import OTHERS


@pytest.mark.parametrize(
    ("pattern", "took", "messages", "calls"),
    [
        ("goal/binary_tree_32.goal", ("32 ranks", "62 ops"), 31, 0),
        ("htsim/incast_128.cm", ("128 nodes", "127 flows"), 127, 0),
        ("htsim/alltoall_serial_16n.cm", ("16 nodes", "240 flows", "224 triggers"), 240, 0),
        ("htsim/outcast_incast.cm", ("128 nodes", "21 flows"), 21, 0),
        ("htsim/perm_16n_16c_2MB.cm", ("16 nodes", "16 flows"), 16, 0),
        ("lcmp/flows-websearch-0.3.txt", ("2774 flows", "pg 3 as the lossless priority"), 2774, 0),
        ("simai/micro-all-reduce.txt", ("8 ranks", "2 layers", "TP 8, DP 1"), 0, 2),
        ("chakra/all_reduce.*.et", ("4 ranks", "4 nodes"), 0, 1),
        ("chakra/all_gather.*.et", ("4 ranks", "4 nodes"), 0, 1),
    ],
)
def test_files_are_read_whole_and_match(pattern: str, took: tuple[str, ...], messages: int, calls: int) -> None:
    (reading,) = read_traces(sorted(OTHERS.glob(pattern)))
    assert reading.took == took
    matched = match(reading.trace)
    assert len(matched.received) == messages and len(matched.calls) == calls


def test_the_bytes_of_the_flows_of_lcmp() -> None:
    (reading,) = read_traces([OTHERS / "lcmp" / "flows-websearch-0.3.txt"])
    flows = flows_of(reading.trace)
    assert flows is not None and sum(flow.bytes for flow in flows) == 4_754_800_538
