"""The rows of a run: which sizes, types, operations and roots of a collective, and how each of them is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from testbed.errors import UsageError
from testbed.experiment.file import LIMIT_PS
from testbed.experiment.sizes import ALL, MAX_SIZES, sizes_between
from testbed.traffic import Collective, Schedule, Shape
from testbed.traffic.composition import repeated
from testbed.traffic.elements import DTYPES, REDOPS

Json = dict[str, Any]

MAX_ROWS = 4096


def statistics(warmup_ps: int | None, window_ps: int | None) -> Json | None:
    """Return what is to be told apart of a run, for `Engine.begin_span`; None if nothing is."""
    if warmup_ps is None and window_ps is None:
        return None
    return {"warmup_ps": warmup_ps or 0, "window_ps": window_ps}


@dataclass(frozen=True, slots=True)
class Series:
    """The rows to run: sizes from `min_bytes` to `max_bytes`, each `step_factor` times the last, or `step_bytes` more.

    They are run for each type, operation and root, where these are "all". A row is measured out of place and then, if the
    collective can, in place, `iterations` times each, of `aggregate` calls at once. Before the first row its largest size
    is run `warmup` times. `budget` is what `Engine.advance` is given. A workload that is not complete `limit_ps` of nominal
    time after its start is given up then. From `warmup_ps` after the start of the first workload on statistics are told
    once more, and with `window_ps` in windows of that length.
    Raises UsageError for sizes, steps or iterations that make no rows, or too many.
    """

    collective: Collective
    ranks: int
    min_bytes: int
    max_bytes: int
    step_factor: int = 2
    iterations: int = 1
    dtype: str = "float"
    seed: int = 1
    slice_bytes: int | None = None
    payload: bool = True
    sites: int = 1
    channels: int = 1
    local_ranks: int = 1
    budget: int = 200_000
    limit_ps: int = LIMIT_PS
    warmup_ps: int | None = None
    window_ps: int | None = None
    step_bytes: int | None = None
    redop: str = "sum"
    root: int | Literal["all"] = 0
    aggregate: int = 1
    warmup: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.min_bytes <= self.max_bytes:
            raise UsageError(f"sizes from {self.min_bytes} to {self.max_bytes} bytes make no row")
        if self.step_bytes is None and self.step_factor < 2 and self.min_bytes != self.max_bytes:
            raise UsageError(f"a step factor of {self.step_factor} never reaches {self.max_bytes} bytes")
        if self.iterations < 1 or self.aggregate < 1:
            raise UsageError("a row needs at least 1 iteration")
        if len(self.sizes()) > MAX_SIZES:
            raise UsageError(f"more than {MAX_SIZES} sizes: from {self.min_bytes} to {self.max_bytes} bytes")
        try:
            rows = len(self.shapes())
        except ValueError as error:
            raise UsageError(str(error)) from error
        if rows > MAX_ROWS:
            raise UsageError(f"{rows} rows are more than {MAX_ROWS}")

    def statistics(self) -> Json | None:
        """Return what is to be told apart of the run, for `Engine.begin_span`."""
        return statistics(self.warmup_ps, self.window_ps)

    def sizes(self) -> Sequence[int]:
        """Return the sizes asked for, in bytes; one too many at most if they are too many. Without sizes, one of an element."""
        if not self.collective.has_size:
            return [0]
        return sizes_between(self.min_bytes, self.max_bytes, self.step_factor, self.step_bytes, MAX_SIZES + 1)

    def kinds(self) -> list[Shape]:
        """Return a shape for every type, operation and root, in the order of the rows."""
        dtypes = list(DTYPES) if self.dtype == ALL else [self.dtype]
        redops = list(REDOPS) if self.redop == ALL else [self.redop]
        roots = list(range(self.ranks)) if self.root == ALL else [int(self.root)]
        if self.collective.redop == "none":
            redops = redops[:1]
        if self.collective.root < 0:
            roots = [0]
        return [
            Shape(
                self.ranks,
                1,
                dtype,
                False,
                self.slice_bytes,
                self.payload,
                self.sites,
                redop,
                root,
                self.channels,
                self.local_ranks,
            )
            for dtype in dtypes
            for redop in redops
            for root in roots
        ]

    def shapes(self) -> list[Shape]:
        """Return the shape of every row, out of place.

        Sizes are rounded down to whole elements. Where the collective divides them into parts, each has as many, and unless
        the size is 0, at least one. Raises ValueError for what the collective cannot take.
        """
        return [self.collective.sized(kind, size) for kind in self.kinds() for size in self.sizes()]

    def schedule(self, call: Shape) -> Schedule:
        """Return what the ranks do in one iteration of a row."""
        schedule = self.collective.schedule(call)
        return schedule if self.aggregate == 1 else repeated(schedule, self.aggregate)

    def redop_of(self, call: Shape) -> str:
        """Return the operation of a row as the table names it."""
        return "none" if self.collective.redop == "none" else call.redop

    def root_of(self, call: Shape) -> int:
        """Return the root of a row as the table names it, -1 where there is none."""
        return -1 if self.collective.root < 0 else call.root
