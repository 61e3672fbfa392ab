"""A report on a run of many hosts: how long it takes to write, how large it is, and how soon a browser shows it."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import BenchError
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.report.page.document import Run
from testbed.report.page.file import page
from testbed.run.judgement import conclude
from testbed.run.perform import run_virtual
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from tools import chromium

ROUNDS = 5
LAB = "clos:spines=8,leaves=32,hosts=32"
GOAL_OPEN_S = 3.0
GOAL_BYTES = 8_000_000


def measure(rounds: int = ROUNDS, topology: str = LAB, is_opened: bool = True) -> dict[str, Any]:
    """Run one small permutation on a lab, write the report on it `rounds` times and open it as often; medians, in seconds.

    `open_s` is null where it is not opened, or there is no Chromium. Raises BenchError for a page that has a fault.
    """
    result = _run(topology)
    written = []
    text = ""
    for _ in range(rounds):
        began = time.perf_counter()
        text = page([Run("many", result)])
        written.append(time.perf_counter() - began)
    return {
        "hosts": len(result.ranks),
        "rounds": rounds,
        "bytes": len(text.encode()),
        "write_s": statistics.median(written),
        "open_s": _open(text, rounds) if is_opened and chromium.executable() else None,
    }


def _run(topology: str) -> RunResult:
    settings = ("workload.size=4KiB", "workload.payload=false")
    trial = Trial(new_experiment(topology, "permutation").with_overrides(settings), load_lab(topology))
    return conclude(trial, run_virtual(trial, None, lambda _: None, 0), "virtual", 1, "make bench")


def _open(text: str, rounds: int) -> float:
    """Return how long a browser takes from an address to the whole page."""
    taken = []
    with tempfile.TemporaryDirectory() as folder, chromium.browser() as tab:
        path = Path(folder) / "report.html"
        path.write_text(text, encoding="utf-8")
        for _ in range(rounds + 1):
            began = time.perf_counter()
            tab.open(path)
            taken.append(time.perf_counter() - began)
            if tab.faults:
                raise BenchError(f"the page has a fault: {tab.faults[0]}")
    # The first time the browser itself is still starting.
    return statistics.median(taken[1:])
