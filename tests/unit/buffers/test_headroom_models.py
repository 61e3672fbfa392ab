"""The planner's models against every published row, and what must hold between rows."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.buffers.headroom_models import (
    LONGEST_MM,
    ROUND_TRIP,
    Ieee,
    Model,
    Spectrum,
    longest_mm,
    pg_profile_row,
)
from testbed.buffers.headroom_tables import TOMAHAWK_2, TOMAHAWK_3, Chip, Sonic
from testbed.errors import UsageError

G = 10**9
KM = 10**6  # in millimetres
METRE = 1000

# The sum of IEEE 802.1Q with the terms of Cisco's and Dell's guides: 9216-byte frames, 5 ns/m, interfaces left out.
IEEE_SUMS = {
    (100, 300): 81_272,
    (100, 2_000): 293_772,
    (100, 80_000): 10_043_772,
    (100, 1_000_000): 125_043_772,
    (400, 300): 226_476,
    (400, 80_000): 40_076_476,
    (400, 1_000_000): 500_076_476,
}
# SONiC, Mellanox-SN5640-C512X2/pg_profile_lookup.ini: xoff by length and rate. Spectrum-5, cells of 192 bytes.
SPECTRUM_RATES = (10, 25, 50, 100, 200, 400)
SPECTRUM_ROWS = {
    5: (20_480, 21_504, 26_624, 44_032, 50_176, 86_016),
    30: (20_480, 22_528, 27_648, 48_128, 57_344, 99_328),
    40: (20_480, 22_528, 28_672, 49_152, 60_416, 104_448),
    200: (22_528, 27_648, 39_936, 70_656, 102_400, 190_464),
    250: (23_552, 29_696, 43_008, 76_800, 116_736, 217_088),
    300: (23_552, 30_720, 46_080, 83_968, 130_048, 243_712),
    1000: (33_792, 54_272, 93_184, 177_152, 317_440, 619_520),
}
# SONiC, pg_profile_lookup.ini: Tomahawk 2 in cells of 208 bytes, Tomahawk 3 (DellEMC-Z9332f-O32) in cells of 254.
SONIC_ROWS = {
    (208, 100): {5: 54_080, 40: 59_696, 300: 101_088},
    (254, 100): {5: 68_580, 40: 74_422, 300: 117_348, 1000: 233_172, 2000: 398_526},
    (254, 400): {5: 178_562, 40: 201_930, 300: 373_888, 1000: 836_676, 2000: 1_498_092},
}
# How far deployed rows rise above the round trip, by the metre.
DEPLOYED_SLOPE = (1.03, 1.5)

MODELS: list[Model] = [
    Ieee(100 * G, 9216),
    Ieee(400 * G, 1500, interfaces=False, ps_per_metre=4897),
    Spectrum(400 * G),
    Spectrum(10 * G, 1500, 1024, cell_bytes=96, small_percent=100),
    Sonic(100 * G),
    Sonic(100 * G, 254),
    Sonic(400 * G),
]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name}-{MODELS.index(model)}")
models = st.sampled_from(MODELS)
lengths = st.integers(0, 3000 * KM) | st.integers(0, 3 * KM)


@pytest.mark.parametrize(("rate", "metres"), IEEE_SUMS)
def test_ieee_sums(rate: int, metres: int) -> None:
    model = Ieee(rate * G, 9216, interfaces=False)
    assert model.headroom(metres * METRE).total_bytes == IEEE_SUMS[rate, metres]


@pytest.mark.parametrize(("rate", "bits"), [(10, 8_192), (25, 6_144), (40, 24_576), (100, 122_880)])
def test_ieee_interfaces_are_hardware(rate: int, bits: int) -> None:
    hardware, none = (Ieee(rate * G, 9216, interfaces=on).headroom(KM).total_bytes for on in (True, False))
    assert hardware - none == bits // 8


@pytest.mark.parametrize("metres", SPECTRUM_ROWS)
def test_spectrum_rows(metres: int) -> None:
    totals = [Spectrum(rate * G).headroom(metres * METRE).total_bytes for rate in SPECTRUM_RATES]
    assert totals == list(SPECTRUM_ROWS[metres])


def test_spectrum_by_hand() -> None:
    """100G over 200 m with every setting away from its default, each term computed on paper."""
    terms = Spectrum(100 * G, 1500, 1024, cell_bytes=144, small_percent=20).headroom(200 * METRE).terms
    assert list(terms.values())[:6] == [1024, 1500, 25_253, 819, 25_216, 0]
    # Small frames weigh 64 / (0.2 · 64 + 0.8 · 1024); a cell of 144 is three of them, so two more than they are.
    surplus = (1500 + 25_252.5 + 819.2 + 25_216) * 2 * 64 / 832
    assert abs(terms["cell_occupancy"] - surplus) <= 1
    assert (sum(terms.values()) % 1024, 0 <= terms["rounding"] < 1024) == (0, True)


def test_spectrum_cells_of_up_to_two_smallest_frames_waste_half() -> None:
    # Nothing but frames of 64 bytes. 2 · 96 / 97, rounded up.
    assert Spectrum(100 * G, cell_bytes=96, small_percent=100).occupancy() == 2
    assert Spectrum(100 * G, cell_bytes=1, small_percent=100).occupancy() == 1


@pytest.mark.parametrize(("cell", "rate"), SONIC_ROWS)
def test_sonic_rows(cell: int, rate: int) -> None:
    model, rows = Sonic(rate * G, cell), SONIC_ROWS[cell, rate]
    assert {metres: model.headroom(metres * METRE).total_bytes for metres in rows} == rows


@pytest.mark.parametrize(("cell", "rate"), SONIC_ROWS)
def test_sonic_rises_as_deployed_switches_do(cell: int, rate: int) -> None:
    model, round_trip = Sonic(rate * G, cell), 2 * 5e-9 * rate * G / 8
    for near, far in pairwise([5, 40, 300, 1000, 2000, 80_000, 3_000_000]):
        rise = model.headroom(far * METRE).total_bytes - model.headroom(near * METRE).total_bytes
        assert DEPLOYED_SLOPE[0] <= rise / (far - near) / round_trip <= DEPLOYED_SLOPE[1]


def test_sonic_is_in_whole_cells_and_never_below_the_shortest_row() -> None:
    model = Sonic(400 * G)
    assert model.headroom(0).total_bytes == model.headroom(5 * METRE).total_bytes == 178_562
    assert model.headroom(5 * METRE + 1).total_bytes == 178_562 + 254
    assert model.headroom(123_456_789).total_bytes % 254 == 0


def test_sonic_chips_by_rate_and_cell() -> None:
    chips: list[tuple[Chip, Sonic]] = [
        (TOMAHAWK_2, Sonic(100 * G)),
        (TOMAHAWK_3, Sonic(100 * G, 254)),
        (TOMAHAWK_3, Sonic(400 * G)),
    ]
    assert all(model.chip is chip for chip, model in chips)


@pytest.mark.parametrize(("rate", "cell"), [(200, None), (400, 208), (100, 192)])
def test_sonic_has_no_rows_for_other_rates_and_cells(rate: int, cell: int | None) -> None:
    with pytest.raises(UsageError, match=r"100G in cells of 208 \(Tomahawk 2\); 100G and 400G in cells of 254"):
        Sonic(rate * G, cell)


@pytest.mark.parametrize("rate", [60 * G, 100 * G + 1, 1600 * G])
def test_spectrum_has_no_response_for_other_rates(rate: int) -> None:
    with pytest.raises(UsageError, match="known: 10G"):
        Spectrum(rate)


def test_far_away_little_but_the_round_trip_counts() -> None:
    for rate in (100, 400):
        for length, most in ((10 * KM, 0.05), (80 * KM, 0.025)):
            room = Ieee(rate * G, 9216).headroom(length)
            assert 1 - room.terms[ROUND_TRIP] / room.total_bytes < most


@given(models, lengths)
def test_terms_add_up_and_have_sources(model: Model, length: int) -> None:
    room = model.headroom(length)
    assert list(room.terms) == list(model.sources)
    assert sum(room.terms.values()) == room.total_bytes
    assert min(room.terms.values()) >= 0


@given(models, lengths, st.integers(0, KM))
def test_a_longer_cable_never_needs_less(model: Model, length: int, more: int) -> None:
    assert model.headroom(length).total_bytes <= model.headroom(length + more).total_bytes


@given(lengths)
def test_a_faster_port_never_needs_less(length: int) -> None:
    ieee = [Ieee(rate * G, 9216, on) for on in (True, False) for rate in (10, 25, 40, 50, 100, 200, 400, 800, 1600)]
    spectrum = [Spectrum(rate * G) for rate in Spectrum.QUANTA]
    for family in (
        ieee[:9],
        ieee[9:],
        spectrum,
        [Sonic(100 * G), Sonic(400 * G)],
        [Sonic(100 * G, 254), Sonic(400 * G)],
    ):
        needs = [model.headroom(length).total_bytes for model in family]
        assert needs == sorted(needs)


@given(models, lengths)
def test_the_buffer_for_a_distance_carries_it(model: Model, length: int) -> None:
    needed = model.headroom(length).total_bytes
    longest = longest_mm(model, needed)
    assert longest is not None and longest >= length
    assert model.headroom(longest).total_bytes == needed < model.headroom(longest + 1).total_bytes


@given(models, st.integers(0, 10**9))
def test_the_longest_distance_is_the_last_that_fits(model: Model, budget: int) -> None:
    longest = longest_mm(model, budget)
    if longest is None:
        assert model.headroom(0).total_bytes > budget
    else:
        assert model.headroom(longest).total_bytes <= budget < model.headroom(longest + 1).total_bytes


@each_model
def test_a_boundless_buffer_reaches_as_far_as_is_searched(model: Model) -> None:
    assert longest_mm(model, 10**18) == LONGEST_MM


def test_rows_of_sonic_tables() -> None:
    # DellEMC-Z9332f-O32, the longest cable of its table.
    assert [line.split() for line in pg_profile_row(Sonic(400 * G), 400 * G, 2000 * METRE).splitlines()] == [
        ["#", "speed", "cable", "size", "xon", "xoff", "threshold", "xon_offset"],
        ["400000", "2000m", "2540", "2540", "1498092", "-2", "2540"],
    ]
    head, row = pg_profile_row(Spectrum(400 * G), 400 * G, 200 * METRE).splitlines()
    assert head.split() == ["#", "speed", "cable", "size", "xon", "xoff", "threshold"]
    assert row.split() == ["400000", "200m", str(19_456 + 190_464), "19456", "190464", "0"]
    assert head.index("xoff") == row.index("190464")


@pytest.mark.parametrize(("rate", "length"), [(100 * G, 1500), (100 * G + 1, METRE)])
def test_rows_have_whole_metres_and_megabits(rate: int, length: int) -> None:
    with pytest.raises(UsageError, match="whole"):
        pg_profile_row(Ieee(rate, 9216), rate, length)
