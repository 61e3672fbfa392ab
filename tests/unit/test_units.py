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
