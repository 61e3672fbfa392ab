"""Ranges that a search goes through in steps from one end to the other: sizes, times, lengths, rates, shares, numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from testbed import units
from testbed.errors import UnitError, UsageError

DEFAULT_TOLERANCE = "1%"
_NANO = Decimal(10) ** 9
_MOST_DIGITS = 12


@dataclass(frozen=True)
class Unit:
    """How values of a kind are read as integers, and written so that they are read as the same."""

    read: Callable[[str], int]
    write: Callable[[int], str]


def _read_whole(text: str) -> int:
    return int(text)


def _read_percent(text: str) -> int:
    if not text.endswith("%"):
        raise ValueError(text)
    return int(text[:-1])


def _read_number(text: str) -> int:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(text) from error
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS or number * _NANO % 1:
        raise ValueError(text)
    return int(number * _NANO)


def _write_number(value: int) -> str:
    return format((Decimal(value) / _NANO).normalize(), "f")


_NUMBERS = (Unit(_read_whole, str), Unit(_read_percent, lambda value: f"{value}%"), Unit(_read_number, _write_number))
_TIME = Unit(units.parse_time, units.format_time)
_LENGTH = Unit(units.parse_length, units.format_length)
_SIZE = Unit(units.parse_size, units.format_size)
_RATE = Unit(units.parse_rate, units.format_rate)


@dataclass(frozen=True)
class Range:
    """A setting and the steps from `low` to `high`, so long each, the last perhaps shorter."""

    key: str
    low: int
    high: int
    step: int
    unit: Unit

    @property
    def steps(self) -> int:
        """Return the number of the last step, the first being 0."""
        return -(-(self.high - self.low) // self.step)

    def text(self, step: int) -> str:
        """Return the value at a step, as a setting has it."""
        return self.unit.write(min(self.low + step * self.step, self.high))

    def described(self) -> Mapping[str, str]:
        """Return both ends and the length of a step."""
        write = self.unit.write
        return {"low": write(self.low), "high": write(self.high), "tolerance": write(self.step)}


def read_range(key: str, text: str, tolerance: str = DEFAULT_TOLERANCE) -> Range:
    """Read `0:4MiB`, to be searched in steps of `tolerance`, a value or a percentage of the range. Raises UsageError."""
    low, colon, high = (part.strip() for part in text.partition(":"))
    if not colon or not low or not high:
        raise UsageError(f'--between "{text}": write both ends, as 0:4MiB or topology.length=1km:300km')
    unit = _unit_of(key, low, high)
    first, last = unit.read(low), unit.read(high)
    if first >= last:
        raise UsageError(f'--between "{text}": {low} is not less than {high}')
    return Range(key, first, last, _step(tolerance, last - first, unit), unit)


def _unit_of(key: str, low: str, high: str) -> Unit:
    # A bare M is a size or a rate: the key says which.
    sizes = (_RATE, _SIZE) if "rate" in key else (_SIZE, _RATE)
    for unit in (*_NUMBERS, _TIME, _LENGTH, *sizes):
        try:
            unit.read(low), unit.read(high)
        except (UnitError, ValueError):
            continue
        return unit
    raise UsageError(
        f'--between {key}: "{low}" and "{high}" are not two sizes, times, lengths, rates, shares or numbers'
    )


def _step(tolerance: str, width: int, unit: Unit) -> int:
    try:
        # Of the range, unless what varies is a share itself and more than a part of it is meant.
        step = (
            width * _read_number(tolerance[:-1]) // (100 * 10**9) if tolerance.endswith("%") else unit.read(tolerance)
        )
    except (UnitError, ValueError):
        raise UsageError(
            f'--tolerance "{tolerance}": write a value as in --between, or a percentage of the range'
        ) from None
    if step > width or (step <= 0 and not tolerance.endswith("%")):
        raise UsageError(f'--tolerance "{tolerance}" must be greater than 0 and less than the range')
    return max(step, 1)
