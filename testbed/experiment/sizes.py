"""From the smallest size of a run to the largest."""

from __future__ import annotations

ALL = "all"
"""Instead of a type, an operation or a root: every one of them, one after the other."""

MAX_SIZES = 64
"""Sizes of one run at most."""

FIRST_STEP_BYTES = 4
"""What a factor makes of a size of 0: the length of a float."""


def sizes_between(
    smallest: int, largest: int, factor: int, step_bytes: int | None = None, at_most: int | None = None
) -> list[int]:
    """Return the sizes from one to the other, in steps of a factor or, if given, of bytes; the first `at_most` of them."""
    sizes = [smallest]
    while at_most is None or len(sizes) < at_most:
        last = sizes[-1]
        following = last + step_bytes if step_bytes else last * factor or FIRST_STEP_BYTES
        if not last < following <= largest:
            break
        sizes.append(following)
    return sizes
