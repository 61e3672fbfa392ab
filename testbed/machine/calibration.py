"""What this machine can carry, measured and kept in the user's cache.

A measurement is kept for a day, on the machine that made it. One that other work disturbed says too little, which makes every
run that rests on it too slow: it is kept for ten minutes.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
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
MAX_AGE_S = 24 * 3600.0
MAX_AGE_DISTURBED_S = 600.0
# So much of the processors' time went to others while they were measured.
DISTURBED_SHARE = 0.25


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
    measured_at_s: float = Field(0, ge=0)
    """When, in seconds since 1970; left out by older versions, whose measurements are made anew."""
    machine: str = ""
    """What was measured: kernel, architecture and number of processors."""
    others_share: float = Field(0, ge=0, le=1)
    """How much of the processors' time other processes took meanwhile."""

    def calibration(self) -> Calibration:
        """Return the figures that the choice of a dilation rests on."""
        return Calibration(int(self.frame_hops_per_s), int(self.lateness_ns.p99))

    def age_s(self) -> float:
        """Return how many seconds ago it was made; below zero where the clock went back."""
        return time.time() - self.measured_at_s

    def is_disturbed(self) -> bool:
        """Return whether others took so much of the processors that the machine is faster than was measured."""
        return self.others_share > DISTURBED_SHARE

    def is_valid(self) -> bool:
        """Return whether it may be used still, on this machine."""
        limit_s = MAX_AGE_DISTURBED_S if self.is_disturbed() else MAX_AGE_S
        return self.machine == machine() and 0 <= self.age_s() < limit_s


def machine() -> str:
    """Name what a measurement holds for: kernel, architecture, processors that this process may use."""
    return f"{platform.release()} {platform.machine()}, {len(os.sched_getaffinity(0))} processors"


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
    before = _processor_times_s()
    try:
        full = [_run(json.dumps(plan), workload, 1, attachments, turn_s) for _ in range(TURNS)]
        hops_per_s = max(report["frame_hops"] for report in full) / turn_s
        dilation = math.ceil(SAFETY * offered_frame_hops_per_s(plan) / Fraction(hops_per_s))
        carried = [_run(json.dumps(plan), workload, dilation, attachments, turn_s) for _ in range(TURNS)]
    finally:
        driver.destroy(lab.name)
    nominal: dict[str, int] = min((run["fidelity"]["lateness_ns"] for run in carried), key=lambda late: late["p99"])
    lateness = CalibrationFile.Lateness.model_validate({key: ns * dilation for key, ns in nominal.items()})
    return CalibrationFile(
        frame_hops_per_s=hops_per_s,
        lateness_ns=lateness,
        measured_at_s=time.time(),
        machine=machine(),
        others_share=_others_share(before, _processor_times_s()),
    )


def _processor_times_s() -> tuple[float, float, float]:
    """Return seconds of all processors so far: in all, taken by processes or by other machines, and by this process."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, idle, waiting, interrupts, deferred, stolen = map(int, file.readline().split()[1:9])
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    # What the kernel does for the frames of the measurement is in `deferred`, and is nobody else's.
    taken = user + nice + system + stolen
    own = os.times()
    return (taken + idle + waiting + interrupts + deferred) * tick_s, taken * tick_s, own.user + own.system


def _others_share(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """Return how much of the processors' time others took."""
    total_s, taken_s, own_s = (late - early for early, late in zip(before, after, strict=True))
    return min(max((taken_s - own_s) / total_s, 0.0), 1.0) if total_s > 0 else 0.0


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
    """Return the kept measurement, made anew if there is none that is valid: by one process, while others that ask wait.

    Two that measured at once would each find half a machine.
    """
    path = default_path()
    if (calibration := load(path)) and calibration.is_valid():
        return calibration
    with locked(path.with_suffix(".lock"), MEASURING_LIMIT_S):
        if (calibration := load(path)) and calibration.is_valid():
            return calibration
        measured = measure()
        store(measured, path)
        return measured


def describe(calibration: CalibrationFile) -> str:
    """Say how old a measurement is, and whether to trust it."""
    minutes = int(max(calibration.age_s(), 0) // 60)
    hours = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    age = f"measured {hours} ago" if minutes else "measured just now"
    if not calibration.is_disturbed():
        return age
    busy = f"others had {calibration.others_share:.0%} of the processors then"
    return f"{age}; {busy}, so that the machine may be faster: testbed calibrate measures again"


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
