"""Completion times that another simulator wrote: its last column comes out of ours to the nanosecond."""

from __future__ import annotations

from testbed.exports.hpcc import Standalone, address
from testbed.importers.hpcc import read_hpcc
from testbed.importers.text import read_text
from testbed.lab.topology import lab_from
from tests.unit.importers.conftest import OTHERS


def test_all_2774_values_of_lcmp_come_out() -> None:
    lab = lab_from(read_hpcc(read_text(OTHERS / "lcmp" / "topology-8dc-as-run.txt")).source)
    standalone, count = Standalone(lab, 1000), 0
    for line in read_text(OTHERS / "lcmp" / "fct-ecmp-dcqcn-0.3.txt").lines():
        src, dst = ((int(word, 16) >> 8) & 0xFFFF for word in line.words[:2])
        assert [address(src), address(dst)] == list(line.words[:2])
        assert standalone.ns(f"h{src}", f"h{dst}", int(line.words[4])) == int(line.words[7]), line
        count += 1
    assert count == 2774
