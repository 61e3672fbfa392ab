"""What is fuzzed: something that draws inputs, and something that looks at what becomes of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random


class Defect(Exception):
    """An input that was answered otherwise than it should be."""


@dataclass(frozen=True)
class Target:
    """A kind of input. `draw` makes one from random numbers alone; `check` raises whatever is wrong, a panic included.

    `suffix` is that of a file that holds an input.
    """

    name: str
    suffix: str
    draw: Callable[[Random], bytes]
    check: Callable[[bytes], None]


def require(holds: bool, message: str) -> None:
    """Raise Defect with a message, unless something holds."""
    if not holds:
        raise Defect(message)
