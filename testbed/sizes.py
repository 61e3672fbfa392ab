"""Sizes that standards fix, each of them once: headers and trailers, frames, and what surrounds a frame on the line.

`dataplane/src/wire/sizes.rs` has them under the same names; `tests/unit/test_sizes.py` compares the two.
"""

ETHERNET_HEADER_BYTES = 14  # IEEE 802.3 clause 3, untagged
FCS_BYTES = 4
SHORTEST_FRAME_BYTES = 64  # with its FCS; MAC control frames are no longer
PREAMBLE_BYTES = 8  # with the start delimiter
GAP_BYTES = 12  # the shortest between two frames
LINE_OVERHEAD_BYTES = PREAMBLE_BYTES + GAP_BYTES
"""What a frame, FCS included, has around it on the line."""

IPV4_HEADER_BYTES = 20  # RFC 791, without options
UDP_HEADER_BYTES = 8  # RFC 768

# Transport headers (IBTA volume 1, chapter 9), that of parity being this testbed's own.
BTH_BYTES = 12
RETH_BYTES = 16
AETH_BYTES = 4
PETH_BYTES = 4
ICRC_BYTES = 4  # IBTA annex A17
ROCE_OVERHEAD_BYTES = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + UDP_HEADER_BYTES + BTH_BYTES + ICRC_BYTES
"""What a RoCEv2 frame has around its extension headers and padded payload, without FCS."""

LONGEST_MTU_BYTES = 9216  # no standard limits jumbo frames; switches commonly go as far
LONGEST_ON_LINE_BYTES = 9300
"""No frame takes more of the line: 9258 bytes, in round figures."""

LONGEST_PAUSE_QUANTA = 65_535  # IEEE 802.3 annex 31B, in quanta of 512 bits

LEAST_OWN_PAYLOAD_BYTES = 64  # of packets whose sizes are not those of RoCEv2
