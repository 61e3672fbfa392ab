"""Run an experiment on one clock or on both, through the command."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.live.machine import Machine, private_machine

TOLERANCE = 0.05
"""By which a run on the real clock may differ in time; its frames may not differ at all."""

Json = dict[str, Any]


def run_on(machine: Machine, clock: str, *arguments: str, codes: Collection[int] = (0,), verb: str = "run") -> Json:
    """Run the command on one clock and return run.json; insist on one of these exit codes."""
    done = machine.run_carried(verb, *arguments, "--clock", clock, "--format", "json")
    assert done.returncode in codes, done.stderr + done.stdout[-2000:]
    document: Json = json.loads(done.stdout)
    return document


def run_on_both(root: Path, folder: Path, experiment: str, codes: Collection[int] = (0,)) -> tuple[Json, Json]:
    """Run the text of an experiment on both clocks; return run.json of the virtual and of the real one, both trusted."""
    path = folder / "experiment.yaml"
    path.write_text(experiment)
    with private_machine(root, folder) as machine:
        computed, real = (run_on(machine, clock, str(path), codes=codes) for clock in ("virtual", "real"))
    assert computed["verdict"]["trusted"] and real["verdict"]["trusted"], real["verdict"]
    return computed, real
