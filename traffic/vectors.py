"""Vectors of elements that are drawn or put together where they are looked at, so that none of them has to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from testbed.traffic.arrays import np
from testbed.traffic.elements import DTYPES, Elements, drawn

_WORD_BYTES = 8  # what the generator yields at once, and can be advanced by


class Vector(Protocol):
    """Elements by their positions: an array, or one that is made when it is asked for. Slices have step 1."""

    def __len__(self) -> int:
        """Return the number of elements."""

    def __getitem__(self, span: slice, /) -> Elements:
        """Return the elements of a span, as an array."""


class Drawn:
    """Elements drawn for one rank (`elements.drawn`); same seed and rank, same numbers, whatever part is looked at.

    float32 sums of such numbers over up to 65,536 ranks are exact, whatever their order.
    """

    def __init__(self, count: int, dtype: str, seed: int, rank: int, redop: str = "sum") -> None:
        self.count = count
        self.kind, self.redop = dtype, redop
        self.dtype = np.dtype(DTYPES[dtype])
        self._generator = np.random.Generator(np.random.PCG64([seed, rank]))
        self._words = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, span: slice, /) -> Elements:
        first, end, _step = span.indices(self.count)
        word, skipped = divmod(first, _WORD_BYTES)
        if first >= end:
            return np.empty(0, self.dtype)
        length = skipped + end - first
        self._generator.bit_generator.advance(word - self._words)  # type: ignore[attr-defined]
        numbers = np.frombuffer(self._generator.bytes(length), np.uint8)
        self._words = word + -(-length // _WORD_BYTES)
        return drawn(self.kind, self.redop, numbers[skipped:])


class Joined:
    """Parts of other vectors, one after the other; each part is a vector, its first element, and the end."""

    def __init__(self, parts: Sequence[tuple[Vector, int, int]]) -> None:
        self.parts = parts
        self.count = sum(end - first for _, first, end in parts)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, span: slice, /) -> Elements:
        low, high, _step = span.indices(self.count)
        pieces, at = [], 0
        for vector, first, end in self.parts:
            left, right = max(low - at, 0), min(high - at, end - first)
            if left < right:
                pieces.append(vector[first + left : first + right])
            at += end - first
        return np.concatenate(pieces) if pieces else self.parts[0][0][:0]
