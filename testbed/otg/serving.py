"""A generator that is served: the lab's plan, fabrics under either clock, and the thread of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

from testbed.conformance import engines
from testbed.contract.plan import Plan
from testbed.errors import UsageError
from testbed.experiment.file import Experiment
from testbed.lab import topology
from testbed.otg.api import Api
from testbed.otg.passing import Clock, Generator, OpenGenerator
from testbed.otg.server import Server, parse_listen, tls_context
from testbed.plan.compile import compile_fabric
from testbed.run.versions import versions
from testbed.units import parse_time


def plan_of(experiment: Experiment, name: str, clock: Clock) -> Plan:
    """Return the plan of an experiment's lab for a generator, under a name of its own. Raises what compiling does."""
    source = topology.renamed(topology.lab_source(experiment.topology), name)
    settings = experiment.model_copy(update={"clock": clock, "emulation": "native"})
    return compile_fabric(topology.lab_from(source), settings)


def opener(clock: Clock, dilation: str | None) -> OpenGenerator:
    """Return what opens fabrics. Raises UsageError for a dilation that cannot be, DriverError where the machine cannot."""
    if clock == "virtual":
        if dilation is not None:
            raise UsageError("--dilation has no effect under the virtual clock")
        return lambda plan: cast(AbstractContextManager[Generator], engines.virtual(plan))
    real = engines.real_opener(dilation)
    return lambda plan: cast(AbstractContextManager[Generator], real(plan, 0))


@contextmanager
def serving(
    experiment: Experiment,
    name: str,
    clock: Clock,
    listen: str,
    plain: bool,
    step: str | None = None,
    dilation: str | None = None,
) -> Iterator[Server]:
    """Serve a generator on the lab of an experiment while the block runs. Raises UsageError, HostError and DriverError."""
    address = parse_listen(listen)
    step_ps = None if step is None else parse_time(step)
    if step_ps is not None and (clock == "real" or step_ps <= 0):
        raise UsageError(f"--step {step}: a time above 0, under the virtual clock alone")
    api = Api(plan_of(experiment, name, clock), clock, opener(clock, dilation), step_ps, versions()["testbed"])
    server = Server(address, api, None if plain else tls_context(address[0]))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="otg", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        api.close()
