"""Types of elements and operations on them, as the data plane computes them: the reference that results are held against.

Integers wrap. `half` and `bfloat16` are widened to float, combined, and rounded to the nearest, ties to even. An average
is a sum that its last addition divides by the ranks: by a float of the type's own width or wider, of integers towards zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from testbed.traffic.arrays import np

if TYPE_CHECKING:
    import numpy.typing as npt

Elements: TypeAlias = "npt.NDArray[Any]"

DTYPES = {
    "int8": "i1",
    "uint8": "u1",
    "int32": "<i4",
    "uint32": "<u4",
    "int64": "<i8",
    "uint64": "<u8",
    "half": "<f2",
    "float": "<f4",
    "double": "<f8",
    "bfloat16": "<u2",
}
"""Element types by the names nccl-tests prints, as numpy calls them, little-endian; bits of a bfloat16 stand in an integer."""

REDOPS = ("sum", "prod", "max", "min", "avg")
"""Operations by the names nccl-tests prints."""

OPERATIONS = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"}
"""What a step of a reduction can be, as numpy calls it; an average is made of sums."""

_SIGN_AND_NAN = 0x7FC0


def item_bytes(dtype: str) -> int:
    """Return the length of an element of a type."""
    return int(DTYPES[dtype][-1])


def widened(bits: Elements) -> Elements:
    """Return the floats that bits of bfloat16 stand for."""
    return (bits.astype("<u4") << 16).view("<f4")


def narrowed(floats: Elements) -> Elements:
    """Return the bits of the bfloat16 nearest to each float, ties to even."""
    bits = np.ascontiguousarray(floats, "<f4").view("<u4")
    rounded = (bits.astype("<u8") + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(floats), (bits >> 16) | _SIGN_AND_NAN, rounded).astype("<u2")


def combine(dtype: str, redop: str, lhs: Elements, rhs: Elements) -> Elements:
    """Return what an operation makes of two vectors, element by element; of `avg`, which divides at its end, the sum."""
    operation = getattr(np, OPERATIONS["sum" if redop == "avg" else redop])
    with np.errstate(all="ignore"):
        if dtype == "bfloat16":
            return narrowed(operation(widened(lhs), widened(rhs)))
        return np.asarray(operation(lhs, rhs), DTYPES[dtype])


def divide(dtype: str, elements: Elements, divisor: int) -> Elements:
    """Return elements divided by a whole number."""
    kind = np.dtype(DTYPES[dtype])
    with np.errstate(all="ignore"):
        if dtype == "bfloat16":
            return narrowed(widened(elements) / np.float32(divisor))
        if dtype == "half":
            return (elements.astype("<f4") / np.float32(divisor)).astype(kind)
        if kind.kind == "f":
            return np.asarray(elements / kind.type(divisor), kind)
    # Wider than the elements, since there may be more ranks than an int8 can count.
    wide = elements.astype("<u8" if kind.kind == "u" else "<i8")
    quotient, rest = np.divmod(wide, wide.dtype.type(divisor))
    towards_zero: Elements = (quotient + ((rest != 0) & (wide < 0))).astype(kind)
    return towards_zero


def drawn(dtype: str, redop: str, numbers: npt.NDArray[np.uint8]) -> Elements:
    """Return elements for random bytes: whole numbers below 256, and for products such as neither vanish nor overflow soon.

    Products of floats are of halves, ones and twos, those of integers of odd numbers, which never become zero.
    """
    kind = np.dtype(DTYPES[dtype])
    if dtype != "bfloat16" and kind.kind != "f":
        return (numbers | np.uint8(1) if redop == "prod" else numbers).astype(kind)
    floats: Elements = numbers.astype("<f4")
    if redop == "prod":
        floats = np.exp2(floats % 3 - 1)
    return narrowed(floats) if dtype == "bfloat16" else floats.astype(kind, copy=False)
