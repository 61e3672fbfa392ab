"""Sweeps on Dask: the table of one process, also when a worker is killed in the middle of a point."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import HostError, UsageError
from testbed.study import dask
from tests.conftest import ROOT

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SWEEP = ("sweep", "incast", "-t", "incast:senders=2", "--set", "workload.size=128KiB", "--format", "csv")
SEEDS = ("--over", "seed=1,2,3,4,5,6,7,8")
WAIT_S = 90


@contextmanager
def dask_processes(directory: Path, workers: int) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """Start a scheduler and so many workers, each a process; yield its address, and the workers."""
    file = directory / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_CONFIG": str(directory)}
    here = ("--host", "127.0.0.1", "--no-dashboard")
    commands = [("dask_scheduler", "--port", "0", "--scheduler-file", str(file), *here)]
    alone = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--local-directory", str(directory))
    commands += [("dask_worker", "--scheduler-file", str(file), *alone, *here)] * workers
    started: list[subprocess.Popen[bytes]] = []
    with (directory / "dask.log").open("wb") as log:
        try:
            for module, *options in commands:
                command = [sys.executable, "-m", f"distributed.cli.{module}", *options]
                started.append(subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log))
            yield json.loads(written(file))["address"], started[1:]
        finally:
            for process in reversed(started):
                process.kill()
                process.wait()


def written(file: Path) -> str:
    """Wait until a file is there, and return its text."""
    deadline = time.monotonic() + WAIT_S
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline, f"{file} is not there"
        time.sleep(0.02)
    return file.read_text()


def computed(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the records of each kept point, by its name."""
    return {
        path.name: json.loads(gzip.decompress(path.read_bytes()).splitlines()[0])["computed"]
        for path in directory.glob("*.json.gz")
    }


@pytest.mark.timeout(300)
def test_a_killed_worker_leaves_its_point_to_another_and_the_table_is_that_of_one_process(
    call_testbed: Cli, tmp_path: Path
) -> None:
    alone = call_testbed(*SWEEP, *SEEDS, "--jobs", "1", "--no-cache")
    assert alone.returncode == 0
    code = "import sys; from testbed.start import main; sys.exit(main())"
    with dask_processes(tmp_path, 2) as (address, workers):
        command = [sys.executable, "-c", code, *SWEEP, *SEEDS, "--scheduler", address, "--cache", "kept"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        sweep = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + WAIT_S
        while not list(tmp_path.glob("kept/*.json.gz")):
            assert time.monotonic() < deadline and sweep.poll() is None
            time.sleep(0.005)
        workers[0].send_signal(signal.SIGKILL)
        table, told = sweep.communicate(timeout=WAIT_S)
    assert sweep.returncode == 0 and table == alone.stdout, told
    records = computed(tmp_path / "kept")
    assert len(records) == 8 and {len(record) for record in records.values()} == {1}
    by_process = Counter(record[0]["process"] for record in records.values())
    assert by_process[workers[1].pid] > 0 and set(by_process) <= {worker.pid for worker in workers}


def test_workers_of_this_machine_are_started_and_ended(run_testbed: Cli, call_testbed: Cli, tmp_path: Path) -> None:
    two = (*SWEEP, "--over", "seed=1,2", "--no-cache")
    here = call_testbed(*two, "--jobs", "1")
    done = run_testbed(*two, "--scheduler", "dask", "--jobs", "2", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == here.stdout, done.stderr
    assert "distributed" not in done.stderr


def test_a_point_that_ends_every_worker_is_a_defect_and_the_others_are_told() -> None:
    class Ended:
        status = "error"

        def exception(self) -> Exception:
            return RuntimeError("KilledWorker")

    assert "its workers ended one after the other: KilledWorker" in dask._result(Ended()).summary
    with pytest.raises(HostError, match="the Dask scheduler is gone"):
        dask._result(type("Lost", (), {"status": "cancelled"})())


def test_a_scheduler_that_is_none_is_refused(call_testbed: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"write dask for workers of this machine, or .* tcp://host:8786"):
        dask.check_address("host:8786")
    monkeypatch.setitem(sys.modules, "distributed", None)
    missing = call_testbed(*SWEEP, *SEEDS, "--scheduler", "dask", "--no-cache")
    assert missing.returncode == 3 and "pip install 'lossless-testbed[sweep]'" in missing.stderr


def test_a_result_that_went_with_its_worker_is_waited_for() -> None:
    assert dask._result(type("Again", (), {"status": "lost", "result": lambda self: 7})()) == 7
    assert dask._result(type("Again", (), {"status": "pending", "result": lambda self: 8})()) == 8
