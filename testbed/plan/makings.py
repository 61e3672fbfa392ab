"""What nodes are made of under the real clock: containers with all that they are given, or namespaces. Pure."""

from __future__ import annotations

from testbed.contract import container as contract
from testbed.contract.plan import Plan
from testbed.lab.containers import Container, Setup
from testbed.lab.setup import Healthcheck
from testbed.lab.topology import Lab


def add_makings(plan: Plan, lab: Lab, contained: bool) -> None:
    """Say in a plan of each node what it is made of."""
    for planned, node in zip(plan["nodes"], lab.nodes, strict=True):
        if contained:
            planned["container"] = _container(node.container)
        elif node.container.private_pids:
            planned["private_pids"] = True


def _container(made_of: Container) -> contract.Container:
    said: contract.Container = {
        "image": made_of.image,
        "cpu_millis": made_of.cpu_millis,
        "memory_bytes": made_of.memory_bytes,
    }
    return said if made_of.setup is None else {**said, "setup": _setup(made_of.setup)}


def _setup(setup: Setup) -> contract.Setup:
    return {
        "binds": [{"source": bind.source, "target": bind.target, "read_only": bind.read_only} for bind in setup.binds],
        "env": setup.env,
        "exec": [list(command) for command in setup.exec],
        "cmd": None if setup.cmd is None else list(setup.cmd),
        "entrypoint": None if setup.entrypoint is None else list(setup.entrypoint),
        "ports": [{"address": each.address, "port": each.port, "target": each.target} for each in setup.publish],
        "sysctls": setup.sysctls,
        "cap_add": list(setup.cap_add),
        "startup_config": setup.startup_config,
        "healthcheck": None if setup.healthcheck is None else _healthcheck(setup.healthcheck),
    }


def _healthcheck(check: Healthcheck) -> contract.Healthcheck:
    return {
        "test": list(check.test),
        "interval_s": check.interval,
        "timeout_s": check.timeout,
        "start_period_s": check.start_period,
        "retries": check.retries,
    }
