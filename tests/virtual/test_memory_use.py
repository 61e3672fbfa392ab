"""What memory a run takes, that it is reckoned beforehand, and that a run which takes more than there is never begins."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.agent import process
from testbed.errors import ExperimentError
from testbed.run import footprint
from testbed.run.perform import perform
from testbed.traffic import COLLECTIVES
from tests.virtual.harness import make_trial

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

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


def test_lengths_alone_take_no_more_for_longer_vectors() -> None:
    """64 ranks: eight times the size is as many messages, and of packets there are never more than windows hold."""
    settings = ("incast:senders=63,rate=400G", "all_reduce", "workload.payload=false", "workload.in-place=false")
    small, large = (grown_bytes(*settings, f"workload.size={size}") for size in ("1M", "8M"))
    assert abs(large - small) < 8 << 20 and large < FIXED_BYTES


@pytest.mark.parametrize("name", COLLECTIVES)
def test_eight_gibibytes_of_lengths_are_reckoned_below_one_on_64_ranks(name: str) -> None:
    """Longest messages are cut at 2 GiB; nothing else of an op knows its size."""
    trial = make_trial("incast:senders=63", name, "workload.size=8GiB", "workload.payload=false")
    assert footprint.footprint(trial.series, trial.plan).total_bytes < 1 << 30


CASES = [
    ("incast", "incast", "8M"),
    ("clos", "reduce", "8M"),
    ("two-dc:length=1km", "all_to_all", "16M"),
]


@pytest.mark.parametrize(("lab", "collective", "size"), CASES)
def test_what_is_reckoned_is_what_is_taken(lab: str, collective: str, size: str) -> None:
    settings = (lab, collective, f"workload.size={size}")
    trial = make_trial(*settings)
    needed = footprint.footprint(trial.series, trial.plan).total_bytes
    assert needed * 0.7 < grown_bytes(*settings) < needed


def refused(testbed: Cli, monkeypatch: pytest.MonkeyPatch, available: int, *arguments: str) -> str:
    """Run a command with so much memory to be had, and return what it says when it ends at once with exit code 2."""
    monkeypatch.setattr(footprint, "available_bytes", lambda: available)
    begun_s = time.monotonic()
    done = testbed(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert time.monotonic() - begun_s < 5
    return done.stderr


def test_a_run_that_takes_more_than_there_is_ends_before_it_begins(
    call_testbed: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = ("-t", "two-dc:hosts=8,length=120km,rate=400G", "--clock", "virtual")
    said = refused(call_testbed, monkeypatch, 8 * 10**9, "run", "all_reduce", *lab, "-b", "256M")
    # Three vectors of 256 MiB on 16 ranks, and the sum.
    assert "workload.minbytes: 268,435,456 bytes on 16 ranks take 13," in said
    assert "8,000,000,000 are available; choose lengths alone (payload: false, or run -c 0), a smaller size" in said
    lengths = call_testbed("run", "all_reduce", *lab, "-b", "64K", "-e", "256K", "-c", "0")
    assert lengths.returncode == 0


def test_more_ops_than_memory_holds_are_refused_and_validate_says_so_too(
    call_testbed: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "fine.yaml").write_text(
        "topology: clos\nworkload:\n  collective: all_reduce\n  payload: false\n  size: 1TiB\n  slice: 64KiB\n"
    )
    for command in (("run", "fine.yaml", "--clock", "virtual"), ("validate", "fine.yaml")):
        said = refused(call_testbed, monkeypatch, 8 * 10**9, *command)
        assert "fine.yaml:5: workload.size: 1,099,511,627,776 bytes on 8 ranks take" in said
        assert "choose larger slices, a smaller size or fewer ranks" in said


def test_a_sweep_shares_the_memory_among_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = make_trial("clos", "all_reduce", "workload.size=16M")
    needed = footprint.footprint(trial.series, trial.plan).total_bytes
    monkeypatch.setattr(footprint, "available_bytes", lambda: needed)
    assert trial.memory_faults() == []
    (fault,) = trial.memory_faults(processes=2)
    assert fault.key == "workload.size"


def test_the_limit_of_the_process_counts() -> None:
    """A cap on the address space, as ulimit -v sets it, is memory that is not there."""
    code = (
        "import resource, sys; from testbed.start import main;"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)); sys.argv[0] = 'testbed'; sys.exit(main())"
    )
    arguments = ("run", "all_reduce", "-t", "clos", "--clock", "virtual", "-b", "100M")
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and "workload.minbytes: 104,857,600 bytes on 8 ranks take 2," in done.stderr


def test_an_agent_needs_what_its_own_ranks_take() -> None:
    trial = make_trial("clos", "all_reduce", "workload.size=16M")
    series = trial.series
    whole = footprint.footprint(series, trial.plan).payload_bytes
    half = footprint.footprint(series, trial.plan, {0, 1, 2, 3}).payload_bytes
    assert whole - half == 4 * 3 * SIZE


def test_memory_that_is_gone_when_the_run_begins_is_a_fault_of_the_size() -> None:
    class Full:
        def begin_span(self, statistics: str) -> None: ...
        def load(self, workload: str) -> None:
            raise MemoryError("no room for 1 bytes of memory of rank 0")

    with pytest.raises(ExperimentError, match=r"ran out of memory: no room for 1 bytes.*payload: false"):
        perform(make_trial("pair", "all_reduce"), Full(), "virtual", lambda progress: None)  # type: ignore[arg-type]


def test_the_agent_that_runs_a_trial_reckons_with_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked may have had more."""
    trial = make_trial("pair", "all_reduce", "workload.size=16M").under("real")
    monkeypatch.setattr(footprint, "available_bytes", lambda: 10**6)
    with pytest.raises(ExperimentError, match="16,777,216 bytes on 2 ranks"):
        process._execute("lab1", None, trial.plan, trial.spec(), lambda step: None)  # type: ignore[arg-type]
