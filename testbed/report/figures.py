"""Counts, times and lengths as text, with as many digits as the eye takes in."""

from __future__ import annotations


def format_count(number: int) -> str:
    """Write a number with a comma for thousands; a dash for none."""
    return f"{number:,}" if number else "-"


def format_span(time_ns: float) -> str:
    """Write a time as `format_ns` does; a dash for none."""
    return format_ns(time_ns) if time_ns else "-"


def format_ns(time_ns: float) -> str:
    """Write a time to the eye's precision: "391.76 us"."""
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if time_ns >= factor:
            return f"{time_ns / factor:.2f} {unit}"
    return f"{time_ns:.0f} ns"


def format_bytes(length: int) -> str:
    """Write a length to the eye's precision, decimal as rates are: "10.04 MB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if length >= factor:
            return f"{length / factor:.2f} {unit}"
    return f"{length} B"
