"""Sweeps: one experiment under every combination of some settings, side by side, and which of them wins where.

Each combination is a trial of its own under the virtual clock. Where a trial runs, and beside which others, has no bearing
on what comes out, so the document is the same for any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from testbed.errors import UsageError
from testbed.experiment.axes import Axis
from testbed.experiment.file import Experiment
from testbed.run.versions import versions
from testbed.study.combinations import Combination, Finished, SweepRow, run_combinations
from testbed.study.document import HELD, Document, Model, exit_code_of
from testbed.study.means import Means

NEAR = 0.99
"""A row whose busbw is so much of the winner's is as good."""


class Winner(Model):
    """The row with the best busbw where some settings have these values; rows count from 0.

    Of rows that come out alike, the one that lost nothing and then the first. `near` are the rows within 1 % of it.
    """

    where: dict[str, str]
    row: int | None
    near: list[int]


class SweepResult(Document):
    """The document sweep.json."""

    over: dict[str, list[str]]
    rows: list[SweepRow]
    best_by: list[str]
    best: list[Winner]

    @property
    def exit_code(self) -> int:
        """Return 0 if every row ran to its end and held what was expected, 3 after a defect, else 1.

        To lose frames is a finding of a sweep, and fails it only where the experiment expects otherwise.
        """
        return exit_code_of(row.verdict for row in self.rows)


class NothingToRunError(UsageError):
    """Every combination of a sweep is invalid."""


def run(work: Sequence[Combination], means: Means, progress: Callable[[int, Finished], None]) -> list[SweepRow]:
    """Run every combination and return their rows in order; `progress` is called as each is finished, in any order.

    Raises NothingToRunError if not one can be run.
    """
    by_number = run_combinations(work, means, progress)
    rows = [by_number[number] for number in sorted(by_number)]
    if rows and all(row.verdict == "invalid" for row in rows):
        reasons = list(dict.fromkeys(reason for row in rows for reason in row.reasons))
        raise NothingToRunError("no combination can be run:\n" + "\n".join(reasons[:8]))
    return rows


def winners(rows: Sequence[SweepRow], best_by: Sequence[str]) -> list[Winner]:
    """Return for each combination of the values of `best_by`, in order, which row wins; rows that failed cannot."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(tuple(row.settings[key] for key in best_by), []).append(number)
    return [
        Winner(where=dict(zip(best_by, values, strict=True)), **_best(rows, members))
        for values, members in groups.items()
    ]


def _best(rows: Sequence[SweepRow], members: Sequence[int]) -> Mapping[str, Any]:
    held = [
        (number, figures) for number in members if (figures := rows[number].figures) and rows[number].verdict in HELD
    ]
    if not held:
        return {"row": None, "near": []}
    best, figures = max(held, key=lambda pair: (pair[1].busbw_gbytes_per_s, pair[1].lossless, -pair[0]))
    bound = NEAR * figures.busbw_gbytes_per_s
    near = [number for number, other in held if number != best and other.busbw_gbytes_per_s >= bound]
    return {"row": best, "near": near}


def assemble(
    base: Experiment, lab: str, axes: Sequence[Axis], rows: list[SweepRow], best_by: Sequence[str], replay: str
) -> SweepResult:
    """Return the document of a sweep."""
    return SweepResult(
        lab=lab,
        seed=base.seed,
        versions=versions(),
        replay=replay,
        over={axis.key: list(axis.values) for axis in axes},
        rows=rows,
        best_by=list(best_by),
        best=winners(rows, best_by) if best_by else [],
    )


def reasons_by_rows(rows: Sequence[SweepRow]) -> Iterator[tuple[str, list[int]]]:
    """Yield every reason with the rows that give it, in the order in which reasons first occur."""
    numbers: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        for reason in row.reasons:
            numbers.setdefault(reason, []).append(number)
    yield from numbers.items()
