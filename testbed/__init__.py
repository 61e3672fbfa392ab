"""A network emulation testbed controller for lossless fabrics.

What stands here is the public face: labs under either clock, the result of a run, and the errors. Everything below it is
internal, and may change from one version to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.api import AsyncLab as AsyncLab
    from testbed.api import Lab as Lab
    from testbed.api import ProgramFailed as ProgramFailed
    from testbed.errors import DriverError as DriverError
    from testbed.errors import ExperimentError as ExperimentError
    from testbed.errors import HostError as HostError
    from testbed.errors import InvariantViolation as InvariantViolation
    from testbed.errors import TestbedError as TestbedError
    from testbed.errors import TopologyError as TopologyError
    from testbed.errors import UsageError as UsageError
    from testbed.run.result import RunResult as RunResult
    from testbed.virtual_lab import VirtualLab as VirtualLab

_HOMES = {
    **dict.fromkeys(("AsyncLab", "Lab", "ProgramFailed"), "testbed.api"),
    "VirtualLab": "testbed.virtual_lab",
    "RunResult": "testbed.run.result",
}
_ERRORS = "testbed.errors"

__all__ = [
    "AsyncLab",
    "DriverError",
    "ExperimentError",
    "HostError",
    "InvariantViolation",
    "Lab",
    "ProgramFailed",
    "RunResult",
    "TestbedError",
    "TopologyError",
    "UsageError",
    "VirtualLab",
]


def __getattr__(name: str) -> Any:
    """Import what is offered here when it is asked for: the controller is much more than most modules need."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(_HOMES.get(name, _ERRORS)), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
