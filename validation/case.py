"""What is held against what: topics of cases, each with figures expected and measured, and how far apart they may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Figures = Mapping[str, float]
Trace = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Quantity:
    """A figure that is measured: its title with the unit, and how far from the expected one it may be.

    `tolerance` is relative, or in the quantity's unit if `absolute`; None shows a difference without judging it.
    `digits` are those after the point, and `scale` what a figure is multiplied by to be shown.
    """

    key: str
    title: str
    tolerance: float | None
    absolute: bool = False
    digits: int = 3
    scale: float = 1

    def error(self, expected: float, measured: float) -> float:
        """Return by how much the measured figure is above the expected one, in the terms of the tolerance."""
        return measured - expected if self.absolute or not expected else measured / expected - 1


@dataclass(frozen=True)
class Measured:
    """What a case gave. `chance` is the standard error, in the terms of the tolerance, that its draws leave in a figure."""

    figures: Figures
    chance: Figures = field(default_factory=dict)
    trace: Trace = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One row: what the axes say of it, and what `expect` and `measure` are given. The quick ones are run by the tests.

    `source` is the row's own, where it is not the topic's. A row that is not `held` shows how far a figure is from one that was
    published under circumstances that are not all known; it cannot fail. `seconds` is what it takes, roughly.
    """

    labels: tuple[str, ...]
    setting: Any
    quick: bool = False
    source: str = ""
    held: bool = True
    seconds: float = 1


@dataclass(frozen=True)
class Topic:
    """Cases of one kind. `expect` computes what `measure` should find; either is given a case's setting.

    `text` says what is compared and where the testbed differs from its source; `source` is what stands in every row.
    `needs` is a folder of files that are no part of this project; where it is not there, the topic is left out.
    """

    name: str
    title: str
    text: str
    source: str
    axes: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    cases: tuple[Case, ...]
    expect: Callable[[Any], Figures]
    measure: Callable[[Any], Measured]
    needs: Path | None = None

    @property
    def is_here(self) -> bool:
        """Whether all that the topic needs is there."""
        return self.needs is None or self.needs.is_dir()

    def row(self, case: Case) -> Row:
        """Run one case."""
        return Row(self, case, self.expect(case.setting), self.measure(case.setting))


@dataclass(frozen=True)
class Row:
    """One case that was run."""

    topic: Topic
    case: Case
    expected: Figures
    measured: Measured

    def quantities(self) -> list[Quantity]:
        """Return the quantities that this row has."""
        return [quantity for quantity in self.topic.quantities if quantity.key in self.expected]

    def error(self, quantity: Quantity) -> float:
        """Return by how much a measured figure is off."""
        return quantity.error(self.expected[quantity.key], self.measured.figures[quantity.key])

    def faults(self) -> list[str]:
        """Return a line for each figure that is farther off than it may be."""
        faults = []
        for quantity in self.quantities() if self.case.held else ():
            error = self.error(quantity)
            if quantity.tolerance is not None and not abs(error) <= quantity.tolerance:
                faults.append(
                    f"{self.topic.name}, {', '.join(self.case.labels)}: {quantity.title} is "
                    f"{self.measured.figures[quantity.key]:.6g}, not {self.expected[quantity.key]:.6g}; "
                    f"off by {error:.4g}, allowed {quantity.tolerance:g}"
                )
        return faults
