"""The sizes of standards: the controller and the data plane have the same ones, and they are those of the standards."""

import re
from pathlib import Path

from testbed import sizes, units
from testbed.experiment.transport import Transport
from testbed.plan import packets

ROOT = Path(__file__).resolve().parent.parent.parent
CONSTANT = re.compile(r"const ([A-Z0-9_]+): \w+\s*=\s*([A-Z0-9_+ ]+);")


def rust_sizes() -> dict[str, int]:
    """Return the constants of the data plane's file; each is a number, or a sum of those before it."""
    sizes: dict[str, int] = {}
    source = (ROOT / "dataplane" / "src" / "wire" / "sizes.rs").read_text()
    for name, expression in CONSTANT.findall(" ".join(source.split())):
        terms = expression.split(" + ")
        sizes[name] = sum(sizes[term] if term in sizes else int(term) for term in terms)
    return sizes


def python_sizes() -> dict[str, int]:
    return {name: value for name, value in vars(sizes).items() if name.isupper()}


def test_controller_and_data_plane_have_the_same_sizes() -> None:
    here, there = python_sizes(), rust_sizes()
    assert here == {name: there.get(name) for name in here}


def test_every_size_is_read() -> None:
    source = (ROOT / "dataplane" / "src" / "wire" / "sizes.rs").read_text()
    assert set(re.findall(r"pub const (\w+)", source)) == set(rust_sizes())


def test_a_quantum_is_as_long_on_both_sides() -> None:
    source = (ROOT / "dataplane" / "src" / "units.rs").read_text()
    assert f"const QUANTUM_BITS: u64 = {units.BITS_PER_QUANTUM};" in source


def test_frames_are_as_long_as_in_captures() -> None:
    """An RDMA WRITE Only with 4096 bytes is 4170 in a capture, and its ACK 62; on the line, 24 more each."""
    assert sizes.ROCE_OVERHEAD_BYTES + sizes.RETH_BYTES + 4096 == 4170
    assert packets.full_packet_bytes(Transport()) == 4194
    assert packets.ack_bytes(Transport()) == 62 + 24
