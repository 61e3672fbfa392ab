"""Quantities with units at the edge, plain integers inside: bit/s, picoseconds, millimetres, bytes.

Every `parse_*` is exact (no binary fractions on the way) and raises `UnitError` for what it cannot read, or what is
finer than the integer unit. Every `format_*` is the inverse: `parse_x(format_x(n)) == n`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from testbed.errors import UnitError

PS_PER_NS = 1_000
PS_PER_US = 10**6
PS_PER_MS = 10**9
PS_PER_SECOND = 10**12
BITS_PER_QUANTUM = 512  # IEEE 802.3 annex 31B: one pause quantum is 512 bit times

# Group index of standard single-mode fibre at 1310-1550 nm, about 1.468: 4.897 ns a metre.
FIBRE_PS_PER_METRE = 4897

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?)\s*([a-zA-Zµμ/%]*)")
LARGEST = 2**63 - 1
"""What any quantity may come to, given or derived: sums of two of them still fit the 64 bits that the data plane has."""
MAX_DIGITS = 64
"""The most characters of a number or quantity that are read: more say no more, and take time."""

_RATES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
RATE_UNITS = {prefix + unit: factor for prefix, factor in _RATES.items() for unit in ("", "bps", "b/s", "bit/s", "bit")}
TIME_UNITS = {"ps": 1, "ns": 10**3, "us": 10**6, "µs": 10**6, "μs": 10**6, "ms": 10**9, "s": 10**12}
LENGTH_UNITS = {"mm": 1, "cm": 10, "m": 10**3, "km": 10**6}
# A bare K, M or G is binary, as the -b and -e flags of nccl-tests read it; KB is decimal and KiB binary, as IEC says.
_BINARY = {prefix: 1024**power for power, prefix in enumerate(("", "K", "M", "G", "T"))}
_DECIMAL = {prefix: 1000**power for power, prefix in enumerate(("", "K", "M", "G", "T"))}
SIZE_UNITS = (
    _BINARY
    | {prefix + "iB": factor for prefix, factor in _BINARY.items() if prefix}
    | {prefix + "B": factor for prefix, factor in _DECIMAL.items()}
    | {"k": 2**10, "m": 2**20, "g": 2**30, "kB": 10**3}
)
LEAST_BARE_RATE = 10**4
"""A rate without a unit that is lower was meant in Gb/s: no link of a lab is so slow."""


def _number(value: object, what: str, example: str) -> tuple[Fraction, str]:
    """Split a value into an exact number and its unit."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UnitError(f"{value!r} is not a {what}; write it like {example}")
    if isinstance(value, int) and abs(value) > 10**MAX_DIGITS:
        raise UnitError(f"a {what} of more than {MAX_DIGITS} digits; write it like {example}")
    text = repr(value) if isinstance(value, float) else str(value).strip()
    if len(text) > MAX_DIGITS:
        raise UnitError(f'"{text[:16]}…" is {len(text)} characters long; write a {what} like {example}')
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(f'"{value}" is not a {what}; write it like {example}')
    return Fraction(Decimal(match[1])), match[2]


def _parse(value: object, what: str, units: Mapping[str, int], example: str, base: str) -> int:
    number, unit = _number(value, what, example)
    if unit not in units:
        if unit == "" and number == 0:
            return 0
        problem = f'"{unit}" is an impossible unit for a {what}' if unit else f"a {what} needs a unit"
        raise UnitError(
            f'"{value}": {problem}{_other_case(str(value).strip(), unit, units) or f"; write it like {example}"}'
        )
    exact = number * units[unit]
    if exact < 0:
        raise UnitError(f'"{value}": a {what} cannot be negative')
    if exact.denominator != 1:
        raise UnitError(f'"{value}" is finer than 1 {base}')
    if exact > LARGEST:
        raise UnitError(f'"{value}" is too large for a {what}')
    return int(exact)


def _other_case(text: str, unit: str, units: Mapping[str, int]) -> str:
    """Return `; did you mean "80km"?` for a unit that is known in other letters; nothing where a byte would become a bit."""
    if "B" in unit and "B" not in "".join(units):
        return ""
    known = next((name for name in units if name.lower() == unit.lower()), None) if unit else None
    return "" if known is None else f'; did you mean "{text.removesuffix(unit)}{known}"?'


def parse_rate(value: object) -> int:
    """Read a rate ("100G", "400Gbps", "2.5 Gb/s", 100000000000) as bit/s, greater than 0."""
    number, unit = _number(value, "rate", "100G")
    if unit == "" and 0 < number < LEAST_BARE_RATE:
        raise UnitError(f'"{value}": a rate needs a unit; write it like {value}G, or {value}bps for so many bit/s')
    rate_bps = _parse(value, "rate", RATE_UNITS, "100G", "bit/s")
    if rate_bps == 0:
        raise UnitError(f'"{value}": a rate must be greater than 0')
    return rate_bps


def parse_time(value: object) -> int:
    """Read a time ("80us", "1.5ms", 0) as picoseconds."""
    return _parse(value, "time", TIME_UNITS, "80us", "ps")


def parse_length(value: object) -> int:
    """Read a length ("80km", "3.5m", 0) as millimetres."""
    return _parse(value, "length", LENGTH_UNITS, "80km", "mm")


def parse_size(value: object) -> int:
    """Read a size as bytes: "400KB" is 400,000, "64MiB" and "64M" are 67,108,864, a plain number is bytes."""
    return _parse(value, "size", SIZE_UNITS, "64MiB", "byte")


def parse_ratio(value: object) -> float:
    """Read a ratio ("1e-4", "0.1%", 0.5) as a number from 0 to 1."""
    number, unit = _number(value, "ratio", "1e-4 or 0.1%")
    if unit not in ("", "%"):
        raise UnitError(f'"{value}": "{unit}" is an impossible unit for a ratio; write it like 1e-4 or 0.1%')
    ratio = number / 100 if unit else number
    if not 0 <= ratio <= 1:
        raise UnitError(f'"{value}" is not between 0 and 1')
    return float(ratio)


def parse_loss_ratio(value: object) -> float:
    """Read the share of frames that are lost. A bare 1 is asked back: some mean 100 % by it, and some 1 %."""
    ratio = parse_ratio(value)
    if ratio == 1 and str(value).strip() == "1":
        raise UnitError(f'"{value}": 100 %? write 1% for one frame in a hundred, or 1.0 for every frame')
    return ratio


def _format(number: int, steps: Mapping[str, int]) -> str:
    """Write a number in the largest step that it reaches, with as many decimals as exactness needs."""
    for unit, factor in steps.items():
        if number >= factor:
            # Steps are powers of ten, so the quotient has a finite expansion and 40 digits hold any 63-bit integer.
            text = format(Decimal(number).scaleb(1 - len(str(factor))), "f")
            return (text.rstrip("0").rstrip(".") if "." in text else text) + unit
    return f"{number}{list(steps)[-1]}"


def format_rate(rate_bps: int) -> str:
    """Write bit/s as "100G"."""
    return _format(rate_bps, {"T": 10**12, "G": 10**9, "M": 10**6, "K": 10**3, "bps": 1})


def format_time(time_ps: int) -> str:
    """Write picoseconds as "391.76us"."""
    return _format(time_ps, {"s": 10**12, "ms": 10**9, "us": 10**6, "ns": 10**3, "ps": 1})


def format_length(length_mm: int) -> str:
    """Write millimetres as "80km"."""
    return _format(length_mm, {"km": 10**6, "m": 10**3, "mm": 1})


def format_size(size_bytes: int) -> str:
    """Write bytes as "64MiB" or "32MB", whichever is exact and shorter."""
    decimal = _format(size_bytes, {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3, "B": 1})
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % SIZE_UNITS[unit] == 0:
            binary = f"{size_bytes // SIZE_UNITS[unit]}{unit}"
            return binary if len(binary) < len(decimal) else decimal
    return decimal


def fibre_delay_ps(length_mm: int) -> int:
    """Return the flight time over a length of single-mode fibre, to the nearest picosecond."""
    return (length_mm * FIBRE_PS_PER_METRE + 500) // 1000


def serialisation_ps(size_bytes: int, rate_bps: int) -> int:
    """Return how long `size_bytes` take at `rate_bps`, rounded up."""
    return -(-size_bytes * 8 * PS_PER_SECOND // rate_bps)
