"""What memory a run needs and what there is: reckoned before the first row, so that no run is killed in the middle of one."""

from __future__ import annotations

import dataclasses
import resource
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from testbed.contract.plan import Plan
from testbed.plan.ops import LONGEST_MESSAGE_BYTES
from testbed.run.execution import PIECE_ELEMENTS
from testbed.run.series import Series
from testbed.traffic import Calc, Reduce, Schedule, Shape
from testbed.traffic.elements import item_bytes
from testbed.traffic.schedule import Op
from testbed.units import PS_PER_SECOND

FIXED_BYTES = 40 << 20
"""A fabric, its report, and the modules that only a run imports: 32 MiB were measured on labs of a hundred ports."""

OP_BYTES = 1500
"""An op of a schedule, in the JSON of a workload, in the fabric, and as a flow of the report: 1370 were measured."""


_PIECE_COPIES = 5  # drawn, as bytes, read back, compared, and the numbers behind them
_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Footprint:
    """The memory that the largest row of a series takes: of vectors and frames, and of the ops that move them."""

    size_bytes: int
    ranks: int
    payload_bytes: int
    ops: int
    sliced: bool = False

    @property
    def total_bytes(self) -> int:
        """All of it together, in bytes."""
        return FIXED_BYTES + self.payload_bytes + self.ops * OP_BYTES

    def shortage(self, available: int) -> str | None:
        """Return what is lacking if only so many bytes are there, and the way out; None if they are enough."""
        if self.total_bytes <= available:
            return None
        ways_out = ["a smaller size", "fewer ranks"]
        if self.total_bytes - self.payload_bytes <= available:
            ways_out.insert(0, "lengths alone (payload: false, or run -c 0)")
        elif self.sliced:
            ways_out.insert(0, "larger slices")
        return (
            f"{self.size_bytes:,} bytes on {self.ranks} ranks take {self.total_bytes:,} bytes of memory, and "
            f"{available:,} are available; choose {', '.join(ways_out[:-1])} or {ways_out[-1]}"
        )


def footprint(series: Series, plan: Plan, here: Collection[int] | None = None) -> Footprint:
    """Reckon what a series takes at its largest row, on the ranks that are `here`; None: on all of them.

    Frames under way on the plan's links have payload too. Cost: that of making a schedule without slices.
    """
    largest = max(series.shapes(), key=lambda shape: shape.size_bytes)
    forms = (False, True) if series.collective.in_place else (False,)
    footprints = [_of_call(series, dataclasses.replace(largest, in_place=form), here) for form in forms]
    payload, ops = (max(column) for column in zip(*footprints, strict=True))
    if payload:
        payload += min(_under_way(plan), payload)
    return Footprint(largest.size_bytes, series.ranks, payload, ops, series.slice_bytes is not None)


def _under_way(plan: Plan) -> int:
    """Return the bytes that all links of a plan hold together, both ways."""
    total = 0
    for link in plan["links"]:
        for node, port in (link["a"], link["b"]):
            total += link["delay_ps"] * plan["nodes"][node]["ports"][port]["rate_bps"]
    return total // (8 * PS_PER_SECOND)


def _of_call(series: Series, shape: Shape, here: Collection[int] | None) -> tuple[int, int]:
    """Return the bytes of vectors and the number of ops of one call."""
    # Slices change nothing but the number of ops, of which there may be more than memory for them.
    schedule = series.collective.schedule(dataclasses.replace(shape, slice_bytes=None))
    longest = LONGEST_MESSAGE_BYTES
    if shape.slice_bytes:
        longest = min(longest, shape.slice_bytes // shape.element_bytes * shape.element_bytes)
    ops = sum(-(-_length(op) // longest) for ranked in schedule.ranks for op in ranked.ops)
    return (_vectors(series, shape, schedule, here) if shape.payload else 0), ops * series.aggregate


def _vectors(series: Series, shape: Shape, schedule: Schedule, here: Collection[int] | None) -> int:
    memories = [ranked.memory_bytes for rank, ranked in enumerate(schedule.ranks) if here is None or rank in here]
    # Sums are made before the run and held against the results; what is not summed is drawn again.
    expected = shape.size_bytes if series.collective.redop != "none" else 0
    pieces = _PIECE_COPIES * shape.element_bytes * min(PIECE_ELEMENTS, shape.count)
    return series.aggregate * sum(memories) + expected + pieces


def _length(op: Op) -> int:
    if isinstance(op, Calc):
        return 1
    return op.count * item_bytes(op.dtype) if isinstance(op, Reduce) else op.bytes


def available_bytes() -> int | None:
    """Return what this process may still take: of the machine, of its control group, of its own limit; None if unknown.

    The group's page cache counts as free, since the kernel gives it up first.
    """
    known = [limit() for limit in (_of_machine, _of_group, _of_process)]
    return min((limit for limit in known if limit is not None), default=None)


def _of_machine() -> int | None:
    return _field(_PROC / "meminfo", "MemAvailable:", 1 << 10)


def _of_group() -> int | None:
    """Return what the memory controller of the unified hierarchy leaves; None without one."""
    most, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if most is None or used is None:
        return None
    return max(most - used + (_field(_CGROUP / "memory.stat", "inactive_file", 1) or 0), 0)


def _of_process() -> int | None:
    limit, _hard = resource.getrlimit(resource.RLIMIT_AS)
    used = _field(_PROC / "self/status", "VmSize:", 1 << 10)
    return None if limit == resource.RLIM_INFINITY or used is None else max(limit - used, 0)


def _field(path: Path, key: str, unit: int) -> int | None:
    """Return the number behind a key of a file of the kernel, in bytes."""
    lines = _read(path).splitlines()
    return next((int(line.split()[1]) * unit for line in lines if line.split()[:1] == [key]), None)


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
