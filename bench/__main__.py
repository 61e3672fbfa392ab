"""Run every benchmark and print one table or one JSON document.

    python -m bench [--format table|json] [--record]

Each figure of the table is held against that of the last release (history.jsonl); `--record` appends this run's.

The exit code says whether everything was measured, not whether the goals were met: 1 if something misbehaved, 3 if the
machine lacks what a benchmark needs (network namespaces take root).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import (
    BenchError,
    chain,
    containers,
    cores,
    deploy,
    fast,
    history,
    real,
    report,
    start_up,
    telemetry,
    traces,
    virtual,
)
from bench.table import figures, render
from testbed.errors import TestbedError

SCHEMA = 1
BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "virtual": virtual.measure,
    "virtual_128": virtual.measure_large,
    **cores.BENCHMARKS,
    **cores.MODELS,
    "causes": virtual.measure_causes,
    "report": report.measure,
    "traces": traces.measure,
    "series": virtual.measure_series,
    "fast": fast.measure,
    "real": real.measure,
    "telemetry": telemetry.measure,
    "deploy": deploy.measure,
    "deploy_1000": deploy.measure_large,
    "containers": containers.measure,
    "chain": chain.measure,
    "start_up": start_up.measure,
    "fabric_1024": start_up.measure_fabric,
    "fabric_8192": start_up.measure_large,
    "fabric_65536": start_up.measure_largest,
}


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, kernel, versions, and how busy the machine is already."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }


def main() -> int:
    """Parse the command line, measure, print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure how fast the testbed is.")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument(
        "--record", action="store_true", help="append the figures to history.jsonl, as those of a release"
    )
    options = parser.parse_args()
    try:
        releases = history.read()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    document: dict[str, Any] = {"schema": SCHEMA, "machine": machine()}
    errors = Console(stderr=True)
    exit_code = 0
    for name, measure in BENCHMARKS.items():
        try:
            with errors.status(f"measuring: {name}"):
                document[name] = measure()
        except TestbedError as error:
            document[name] = {"error": str(error)}
            exit_code = exit_code or error.exit_code
    if options.format == "json":
        print(json.dumps(document, indent=2))
    else:
        Console().print(render(document, releases[-1] if releases else None))
    if options.record:
        release = history.append(document["machine"], figures(document))
        print(f"recorded: {release.place()}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
