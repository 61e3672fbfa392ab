"""Every datatype and operation in the data plane: the same bits as numpy, for collectives and for numbers of any kind."""

import numpy as np
import pytest

from testbed.traffic import ALGORITHMS, RankSchedule, Reduce, Schedule
from testbed.traffic.elements import DTYPES, OPERATIONS, REDOPS, Elements, combine, divide, widened
from tests.virtual.harness import finish, loaded_fabric, make_trial, run_trial

SUMS = [
    (name, algorithm) for name, known in ALGORITHMS.items() for algorithm, one in known.items() if one.redop == "sum"
]


@pytest.mark.parametrize(("name", "algorithm"), SUMS)
def test_a_reduction_is_right_in_every_type_by_every_operation(name: str, algorithm: str) -> None:
    settings = ("workload.datatype=all", "workload.redop=all", "workload.size=1000", "workload.root=1")
    outcome = run_trial(make_trial("two-dc:length=1km", name, f"workload.algorithm={algorithm}", *settings))
    assert [(row["type"], row["redop"]) for row in outcome.rows] == [(t, op) for t in DTYPES for op in REDOPS]
    assert [(row["wrong"], row["in_place"]["wrong"]) for row in outcome.rows] == [(0, 0)] * len(outcome.rows)


def numbers(dtype: str) -> Elements:
    """Return numbers of any kind: all bits there are of a short type, and some of a long one, those at its ends among them."""
    kind = np.dtype(DTYPES[dtype])
    if kind.itemsize <= 2:
        return np.arange(2 ** (8 * kind.itemsize), dtype=f"<u{kind.itemsize}").view(kind)
    bits = np.random.default_rng(7).integers(0, 2 ** (8 * kind.itemsize), 20_000, f"<u{kind.itemsize}", endpoint=False)
    ends = np.array([0, 1, 2 ** (8 * kind.itemsize - 1), 2 ** (8 * kind.itemsize) - 1], bits.dtype)
    return np.concatenate([bits, ends]).view(kind)


def is_number(dtype: str, elements: Elements) -> Elements:
    floats = widened(elements) if dtype == "bfloat16" else elements
    return ~np.isnan(floats) if floats.dtype.kind == "f" else np.ones(len(elements), bool)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_any_kind_are_combined_as_numpy_does(dtype: str) -> None:
    """Bit for bit, with infinities, subnormal numbers and overflows; only the bits of what is no number are not defined."""
    lhs = numbers(dtype)
    rhs = np.random.default_rng(8).permutation(lhs)
    cases = [(redop, 1) for redop in OPERATIONS] + [("sum", 3), ("sum", 300)]
    size = lhs.nbytes
    ops = [
        Reduce(dtype, redop, (2 + number) * size, 0, size, len(lhs), divisor=divisor)
        for number, (redop, divisor) in enumerate(cases)
    ]
    schedule = Schedule((RankSchedule((2 + len(cases)) * size, tuple(ops)), RankSchedule(0, ())))
    fabric = loaded_fabric(make_trial("pair", "all_reduce"), schedule)
    fabric.write_memory(0, 0, lhs.tobytes() + rhs.tobytes())
    assert finish(fabric)["complete"]
    for number, (redop, divisor) in enumerate(cases):
        wanted = combine(dtype, redop, lhs, rhs)
        wanted = divide(dtype, wanted, divisor) if divisor > 1 else wanted
        result = np.frombuffer(fabric.read_memory(0, (2 + number) * size, size), wanted.dtype)
        defined = is_number(dtype, wanted)
        if redop in ("max", "min") and wanted.dtype.kind == "f":
            # Of 0 and -0 either is the greater.
            defined &= wanted != 0
        bits = f"<u{wanted.itemsize}"
        assert np.array_equal(result.view(bits)[defined], wanted.view(bits)[defined]), (redop, divisor)
        assert np.array_equal(is_number(dtype, result), is_number(dtype, wanted)), (redop, divisor)
