"""Quantities: what is read is exact, what is written can be read again, what is meant otherwise is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import units
from testbed.errors import UnitError, UsageError

READ = [
    (units.parse_rate, "100G", 100 * 10**9),
    (units.parse_rate, "400Gbps", 400 * 10**9),
    (units.parse_rate, "2.5 Gb/s", 2_500_000_000),
    (units.parse_rate, 100_000_000_000, 100 * 10**9),
    (units.parse_rate, 100e9, 100 * 10**9),
    (units.parse_time, "80us", 80 * 10**6),
    (units.parse_time, "1.5ms", 1_500_000_000),
    (units.parse_time, "0.1ns", 100),
    (units.parse_time, 0, 0),
    (units.parse_length, "80km", 80_000_000),
    (units.parse_length, "3.5m", 3_500),
    (units.parse_size, "400KB", 400_000),
    (units.parse_size, "32MB", 32_000_000),
    (units.parse_size, "64MiB", 67_108_864),
    (units.parse_size, "1M", 1_048_576),
    (units.parse_size, "4k", 4_096),
    (units.parse_size, 77, 77),
    (units.parse_ratio, "1e-4", 1e-4),
    (units.parse_ratio, "0.1%", 1e-3),
    (units.parse_ratio, 1, 1.0),
]

REFUSED = [
    (units.parse_rate, "80km", "impossible unit"),
    (units.parse_rate, "100g", "impossible unit"),
    (units.parse_rate, 0, "greater than 0"),
    (units.parse_rate, True, "is not a rate"),
    (units.parse_rate, None, "is not a rate"),
    (units.parse_rate, "1e99G", "too large"),
    (units.parse_time, 5, "needs a unit"),
    (units.parse_time, "0.5ps", "finer than 1 ps"),
    (units.parse_time, "-1us", "cannot be negative"),
    (units.parse_time, "1 u s", "is not a time"),
    (units.parse_length, "80 kilo", "impossible unit"),
    (units.parse_length, "nan", "is not a length"),
    (units.parse_size, "0.5", "finer than 1 byte"),
    (units.parse_size, "1MBit", "impossible unit"),
    (units.parse_ratio, "101%", "not between 0 and 1"),
    (units.parse_ratio, float("inf"), "is not a ratio"),
]


@pytest.mark.parametrize(("parse", "text", "value"), READ)
def test_reads(parse: Callable[[object], int], text: object, value: int) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text", "message"), REFUSED)
def test_refuses(parse: Callable[[object], int], text: object, message: str) -> None:
    with pytest.raises(UnitError, match=message) as caught:
        parse(text)
    assert isinstance(caught.value, UsageError) and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("parse", "write", "low"),
    [
        (units.parse_rate, units.format_rate, 1),
        (units.parse_time, units.format_time, 0),
        (units.parse_length, units.format_length, 0),
        (units.parse_size, units.format_size, 0),
    ],
)
@given(data=st.data())
def test_what_is_written_can_be_read(
    parse: Callable[[object], int], write: Callable[[int], str], low: int, data: st.DataObject
) -> None:
    value = data.draw(st.integers(low, 2**63 - 1) | st.integers(low, 10**6).map(lambda n: n * 2**20))
    assert parse(write(value)) == value


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (units.format_rate(100 * 10**9), "100G"),
        (units.format_time(391_760_000), "391.76us"),
        (units.format_length(80_000_000), "80km"),
        (units.format_size(67_108_864), "64MiB"),
        (units.format_size(32_000_000), "32MB"),
    ],
)
def test_writes_what_a_person_would(written: str, text: str) -> None:
    assert written == text


def test_delay_of_fibre() -> None:
    assert units.fibre_delay_ps(units.parse_length("80km")) == units.parse_time("391.76us")
    assert units.fibre_delay_ps(1) == 5  # 4.897 ps


@given(st.integers(0, 10**9), st.integers(1, 10**12))
def test_serialisation_is_never_too_short(size: int, rate: int) -> None:
    time = units.serialisation_ps(size, rate)
    assert (time - 1) * rate < size * 8 * units.PS_PER_SECOND <= time * rate


def test_units_are_those_of_the_si_and_of_iec_80000_13() -> None:
    si = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000, "T": 1_000_000_000_000}
    written = ("", "bps", "b/s", "bit/s", "bit")
    assert {prefix + unit: factor for prefix, factor in si.items() for unit in written} == units.RATE_UNITS
    us = 1_000_000
    assert {
        **{"ps": 1, "ns": 1_000, "us": us, "µs": us, "μs": us},
        **{"ms": 1_000_000_000, "s": 1_000_000_000_000},
    } == units.TIME_UNITS
    assert units.LENGTH_UNITS == {"mm": 1, "cm": 10, "m": 1_000, "km": 1_000_000}
    kib, mib, gib, tib = 1_024, 1_048_576, 1_073_741_824, 1_099_511_627_776
    assert {
        **{"": 1, "K": kib, "M": mib, "G": gib, "T": tib, "k": kib, "m": mib, "g": gib},
        **{"KiB": kib, "MiB": mib, "GiB": gib, "TiB": tib},
        **{"B": 1, "kB": 1_000, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000, "TB": 1_000_000_000_000},
    } == units.SIZE_UNITS
    assert (units.PS_PER_NS, units.PS_PER_SECOND, units.BITS_PER_QUANTUM) == (1_000, 1_000_000_000_000, 512)
    assert (units.LARGEST, units.MAX_DIGITS) == (9_223_372_036_854_775_807, 64)
    assert (units.FIBRE_PS_PER_METRE, units.LEAST_BARE_RATE) == (4_897, 10_000)


@pytest.mark.parametrize(
    ("write", "texts"),
    [
        (units.format_rate, {10**12: "1T", 10**9: "1G", 10**6: "1M", 10**3: "1K", 1: "1bps", 0: "0bps", 999: "999bps"}),
        (units.format_time, {10**12: "1s", 10**9: "1ms", 10**6: "1us", 10**3: "1ns", 1: "1ps", 0: "0ps", 999: "999ps"}),
        (units.format_length, {10**6: "1km", 10**3: "1m", 1: "1mm", 0: "0mm", 999_999: "999.999m"}),
        (
            units.format_size,
            {10**12: "1TB", 10**9: "1GB", 10**6: "1MB", 10**3: "1KB", 1: "1B", 0: "0B", 1_500: "1.5KB"},
        ),
        (units.format_size, {2**40: "1TiB", 3 * 2**30: "3GiB", 2**20: "1MiB", 2**10: "1KiB", 1_024_000: "1.024MB"}),
    ],
)
def test_a_quantity_is_written_in_the_largest_unit_that_it_reaches(
    write: Callable[[int], str], texts: dict[int, str]
) -> None:
    assert {number: write(number) for number in texts} == texts


def test_what_is_read_ends_where_it_says() -> None:
    assert units.parse_size(units.LARGEST) == units.LARGEST
    for large in (units.LARGEST + 1, 10**63):
        with pytest.raises(UnitError, match="is too large for a size"):
            units.parse_size(large)
    for digits in (10**64 + 1, -(10**64) - 1):
        with pytest.raises(UnitError, match="of more than 64 digits"):
            units.parse_size(digits)
    assert units.parse_size("1".rjust(64, "0")) == 1
    with pytest.raises(UnitError, match="is 65 characters long"):
        units.parse_size("1".rjust(65, "0"))
    with pytest.raises(UnitError, match="is not a size"):
        units.parse_size(True)
    assert units.parse_rate("10000") == 10_000
    for low in ("9999", 1):
        with pytest.raises(UnitError, match="a rate needs a unit"):
            units.parse_rate(low)
    for nothing in (0, "0G"):
        with pytest.raises(UnitError, match="a rate must be greater than 0"):
            units.parse_rate(nothing)
    with pytest.raises(UnitError, match="a rate cannot be negative"):
        units.parse_rate(-1)


def test_the_whole_and_nothing_are_ratios() -> None:
    assert [units.parse_ratio(value) for value in (0, 1, "100%", "1%", 0.25)] == [0, 1, 1, 0.01, 0.25]
    for outside in (-0.1, 1.1, "101%"):
        with pytest.raises(UnitError, match="is not between 0 and 1"):
            units.parse_ratio(outside)
    assert [units.parse_loss_ratio(value) for value in ("1.0", "100%", 0.5, "0.1")] == [1, 1, 0.5, 0.1]
    for bare in (1, "1", " 1 "):
        with pytest.raises(UnitError, match=r"100 %\? write 1% for one frame in a hundred, or 1\.0 for every frame"):
            units.parse_loss_ratio(bare)


def test_light_and_lines_take_their_time() -> None:
    assert [units.fibre_delay_ps(length) for length in (0, 1, 1_000, 80_000_000)] == [0, 5, 4_897, 391_760_000]
    assert [units.serialisation_ps(*line) for line in ((1, 10**12), (1, 3), (1_500, 10**9))] == [
        8,
        2_666_666_666_667,
        12_000_000,
    ]
