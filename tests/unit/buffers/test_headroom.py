"""Headroom: the IEEE sum as printed elsewhere, and its terms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.buffers.headroom import headroom, in_cells, interface_bits, response_ps

G = 10**9
NS_PER_METRE = 5  # the printed sums take the round figure for fibre

# 9216-byte frames, interfaces left out.
SUMS = [
    (100 * G, 300, 81_272),
    (100 * G, 2_000, 293_772),
    (100 * G, 80_000, 10_043_772),
    (100 * G, 1_000_000, 125_043_772),
    (400 * G, 300, 226_476),
    (400 * G, 80_000, 40_076_476),
    (400 * G, 1_000_000, 500_076_476),
]


@pytest.mark.parametrize(("rate", "metres", "total"), SUMS)
def test_sums(rate: int, metres: int, total: int) -> None:
    assert headroom(rate, metres * NS_PER_METRE * 1000, 9216).total_bytes == total


@pytest.mark.parametrize(
    ("rate", "quanta"),
    [(10 * G, 60), (25 * G, 80), (40 * G, 118), (50 * G, 147), (100 * G, 394), (200 * G, 453), (400 * G, 905)],
)
def test_response_is_in_quanta_of_512_bit_times(rate: int, quanta: int) -> None:
    assert (response_ps(rate) - 1) * rate < quanta * 512 * 10**12 <= response_ps(rate) * rate


def test_a_rate_between_two_responds_like_the_faster() -> None:
    assert response_ps(60 * G) == -(-394 * 512 * 10**12 // (60 * G))
    assert response_ps(1600 * G) == 905 * 512 * 10**12 // (1600 * G)


def test_terms_can_be_replaced_and_added() -> None:
    quick = headroom(100 * G, 0, 9216, response=0)
    assert quick.terms["response"] == 0 and quick.terms["round_trip"] == 0
    assert quick.total_bytes == 2 * 9236 + 84
    hardware = headroom(100 * G, 0, 9216, response=0, interface=interface_bits(100 * G))
    assert hardware.total_bytes - quick.total_bytes == 122_880 // 8


@given(st.integers(1, 10**12), st.integers(0, 10**11), st.integers(64, 10_000), st.integers(0, 10**8))
def test_terms_are_whole_bytes_that_add_up_to_a_total_that_is_enough(
    rate: int, delay: int, frame: int, response: int
) -> None:
    room = headroom(rate, delay, frame, response)
    assert sum(room.terms.values()) == room.total_bytes and min(room.terms.values()) >= 0
    exact = (2 * delay + response) * rate + (2 * (frame + 20) + 64 + 20) * 8 * 10**12
    assert 0 <= room.total_bytes * 8 * 10**12 - exact < 8 * 10**12
    assert room.total_bytes * 8 * 10**12 >= (2 * delay + response) * rate + 2 * frame * 8 * 10**12


@given(st.integers(2, 1000), st.lists(st.tuples(st.integers(64, 9216), st.integers(1, 500)), min_size=1, max_size=4))
def test_whole_cells_are_enough_for_any_frames(cell: int, trains: list[tuple[int, int]]) -> None:
    line = sum(count * (frame + 20) for frame, count in trains)
    taken = sum(count * -(-frame // cell) * cell for frame, count in trains)
    assert in_cells(line, cell) >= taken + cell


@pytest.mark.parametrize(("cell", "frame"), [(208, 64), (192, 64), (64, 65), (48, 97), (63, 64)])
def test_no_more_cells_than_the_worst_frame_takes(cell: int, frame: int) -> None:
    count = 10_000
    assert in_cells(count * (frame + 20), cell) - count * -(-frame // cell) * cell <= 2 * cell
    assert in_cells(count * (frame + 20), 1) == count * (frame + 20)
