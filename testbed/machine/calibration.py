"""What this machine can carry, measured once and kept in the user's cache."""

from __future__ import annotations

import json
import math
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from testbed._dataplane import RealFabric
from testbed.contract.plan import Plan
from testbed.drivers.netns import NetnsDriver
from testbed.errors import UsageError
from testbed.experiment.file import new_experiment
from testbed.files import write_whole
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.dilation import MAX_DILATION, SAFETY, Calibration, choose_dilation, offered_frame_hops_per_s
from testbed.plan.workload import compile_workload
from testbed.system.locks import locked
from testbed.traffic import COLLECTIVES
from testbed.traffic.collective import Shape

SECONDS = 2.0
TURNS = 4
# More than any machine moves in the longest measurement.
ENDLESS_BYTES = 2 << 30
# A measurement takes a few seconds, and its lab waits for up to a minute until others are built.
MEASURING_LIMIT_S = 90.0


class CalibrationFile(BaseModel):
    """The document calibration.json; wall time."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    class Lateness(BaseModel):
        """How late frames left after their due time."""

        p50: float = Field(ge=0)
        p99: float = Field(ge=0)
        max: float = Field(ge=0)

    frame_hops_per_s: float = Field(gt=0)
    lateness_ns: Lateness

    def calibration(self) -> Calibration:
        """Return the figures that the choice of a dilation rests on."""
        return Calibration(int(self.frame_hops_per_s), int(self.lateness_ns.p99))


def default_path() -> Path:
    """Name the file: below XDG_CACHE_HOME, else ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "testbed" / "calibration.json"


def measure(seconds: float = SECONDS) -> CalibrationFile:
    """Measure this machine for so many seconds: half of them at full load, half at a load that it can carry.

    Both are measured in turns and the best of each counts: what disturbs one turn says nothing of the machine, and what
    disturbs a run is measured in that run. Builds a lab of its own, two hosts on a switch, and removes it. Raises
    DriverError where the machine cannot run the real clock.
    """
    lab = load_lab(f"pair:name=calibrate-{os.getpid()}")
    experiment = new_experiment("pair", "permutation")
    plan = compile_fabric(lab, experiment)
    # Lengths only, for longer than the measurement lasts.
    schedule = COLLECTIVES["permutation"].schedule(Shape(2, ENDLESS_BYTES // 4, payload=False))
    workload = json.dumps(compile_workload(lab, experiment, schedule))
    driver = NetnsDriver()
    attachments = json.dumps(driver.deploy(plan))
    turn_s = seconds / (2 * TURNS)
    try:
        full = [_run(json.dumps(plan), workload, 1, attachments, turn_s) for _ in range(TURNS)]
        hops_per_s = max(report["frame_hops"] for report in full) / turn_s
        dilation = math.ceil(SAFETY * offered_frame_hops_per_s(plan) / Fraction(hops_per_s))
        carried = [_run(json.dumps(plan), workload, dilation, attachments, turn_s) for _ in range(TURNS)]
    finally:
        driver.destroy(lab.name)
    nominal: dict[str, int] = min((run["fidelity"]["lateness_ns"] for run in carried), key=lambda late: late["p99"])
    lateness = CalibrationFile.Lateness.model_validate({key: ns * dilation for key, ns in nominal.items()})
    return CalibrationFile(frame_hops_per_s=hops_per_s, lateness_ns=lateness)


def _run(plan: str, workload: str, dilation: int, attachments: str, seconds: float) -> dict[str, Any]:
    fabric = RealFabric(plan, dilation, attachments)
    try:
        fabric.load(workload)
        fabric.advance(round(seconds * 1000))
        report: dict[str, Any] = json.loads(fabric.report())
    finally:
        fabric.close()
    return report


def load(path: Path) -> CalibrationFile | None:
    """Read an earlier measurement; None when there is none that can be read."""
    try:
        return CalibrationFile.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def store(measured: CalibrationFile, path: Path) -> None:
    """Keep a measurement; see `files.write_whole`."""
    text = json.dumps(measured.model_dump(), indent=2) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def load_or_measure() -> CalibrationFile:
    """Return the kept measurement, made first if there is none: by one process, while others that ask for it wait.

    Two that measured at once would each find half a machine.
    """
    path = default_path()
    if calibration := load(path):
        return calibration
    with locked(path.with_suffix(".lock"), MEASURING_LIMIT_S):
        if calibration := load(path):
            return calibration
        measured = measure()
        store(measured, path)
        return measured


def resolve_dilation(dilation: int | str, plan: Plan) -> int:
    """Return a dilation as asked for, or for `auto` the smallest one that this machine can honour.

    Raises UsageError for anything else.
    """
    if dilation == "auto":
        return choose_dilation(plan, load_or_measure().calibration())
    return read_dilation(dilation)


def read_dilation(dilation: int | str) -> int:
    """Return a dilation that is asked for as a number. Raises UsageError for anything else."""
    if not str(dilation).isdecimal() or not 1 <= int(dilation) <= MAX_DILATION:
        raise UsageError(f"--dilation {dilation}: a whole number from 1 to {MAX_DILATION}, or auto")
    return int(dilation)
