"""What memory a checked run takes: that of its ranks once, and no second copy of inputs and results beside it."""

import subprocess
import sys

import pytest

# In a process of its own, whose peak is that of this run alone.
MEASURE = """
import sys
from tests.virtual.harness import make_trial, run_trial

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

trial = make_trial(*sys.argv[1:])
trial.plan, trial.cycles
before = peak()
outcome = run_trial(trial)
assert outcome.complete and not outcome.rows[0]["wrong"]
print(peak() - before)
"""
SIZE = 16 << 20
RANKS = 8
FIXED_BYTES = 64 << 20  # interpreter, fabric, and the pieces by which vectors are written and compared


def grown_bytes(*arguments: str) -> int:
    done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout)


# An all-reduce: input, result and scratch of each rank, and one expected sum. An all-to-all: input and result.
@pytest.mark.parametrize(("collective", "vectors"), [("all_reduce", 3 * RANKS + 1), ("all_to_all", 2 * RANKS)])
def test_a_checked_run_takes_what_its_ranks_hold(collective: str, vectors: int) -> None:
    grown = grown_bytes("clos", collective, f"workload.size={SIZE}")
    assert vectors * SIZE * 0.9 < grown < vectors * SIZE + FIXED_BYTES


def test_lengths_alone_take_none() -> None:
    assert grown_bytes("clos", "all_reduce", f"workload.size={SIZE}", "workload.payload=false") < FIXED_BYTES
