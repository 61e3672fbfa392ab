"""Fabrics for benches: computed in this process, or real ones in namespaces of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from testbed._dataplane import RealFabric, VirtualFabric
from testbed.conformance.bench import OpenEngine
from testbed.contract.plan import Plan
from testbed.drivers.netns import NetnsDriver
from testbed.errors import UsageError
from testbed.machine import calibration
from testbed.plan.dilation import MAX_DILATION, Calibration, choose_dilation, larger_dilation
from testbed.run.engine import Engine
from testbed.system import namespaces


@contextmanager
def virtual(plan: Plan, repeats: int = 0) -> Iterator[Engine]:
    """Open a fabric under the virtual clock, which is as faithful every time."""
    yield VirtualFabric(json.dumps(plan))


def real_opener(dilation: str | None) -> OpenEngine:
    """Return what opens benches under the real clock: at a dilation, or at the one that this machine needs for each.

    A repetition of a run that was not faithful has a larger dilation, unless one is given. Raises UsageError for what is no
    dilation, DriverError where the machine cannot run the real clock.
    """
    namespaces.require_privileges("conformance")
    if dilation not in (None, "auto"):
        if not str(dilation).isdecimal() or not 1 <= int(str(dilation)) <= MAX_DILATION:
            raise UsageError(f"--dilation {dilation}: a whole number from 1 to {MAX_DILATION}, or auto")
        return lambda plan, repeats: real(plan, int(str(dilation)))
    measured = calibration.load_or_measure().calibration()
    return lambda plan, repeats: real(plan, dilation_of(plan, measured, repeats))


def dilation_of(plan: Plan, measured: Calibration, repeats: int) -> int:
    """Return the dilation for a bench on a machine: a larger one after each run that was not faithful."""
    dilation = choose_dilation(plan, measured)
    for _ in range(repeats):
        dilation = larger_dilation(dilation, 1)
    return dilation


@contextmanager
def real(plan: Plan, dilation: int) -> Iterator[Engine]:
    """Build a bench in the system and open a fabric under the real clock; take both away again."""
    driver = NetnsDriver()
    try:
        attachments = driver.deploy(plan, dilation)
        fabric = RealFabric(json.dumps(plan), dilation, json.dumps(attachments))
        try:
            yield fabric
        finally:
            fabric.close()
    finally:
        driver.destroy(plan["lab"])
