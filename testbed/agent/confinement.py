"""What containers of a plan may have of an agent's machine where the plan came over a broker that others may use.

Whoever commands such an agent names no file of its machine, and takes no power over it, but what the agent's own environment
allows (`lab/trust.py`). A local agent obeys its own user alone, whose command has looked at the lab file.
"""

from __future__ import annotations

from testbed.contract.plan import Plan
from testbed.errors import UsageError
from testbed.lab.trust import BINDS, CAPABILITIES, allowed_capabilities, is_below, named_directories


def require_allowed(plan: Plan, agent: str) -> None:
    """Raise UsageError for what a container of the plan may not have at this agent."""
    directories, capabilities = named_directories(), allowed_capabilities()
    for node in plan["nodes"]:
        setup = node["container"].get("setup") if "container" in node and not node.get("elsewhere") else None
        if setup is None:
            continue
        config = setup["startup_config"]
        for path in [*(bind["source"] for bind in setup["binds"]), *([] if config is None else [config])]:
            if not is_below(path, directories):
                raise UsageError(f"node {node['name']}: {path} is not below what {BINDS} names at agent {agent}")
        for name in setup["cap_add"]:
            if name not in capabilities:
                raise UsageError(
                    f"node {node['name']}: {name} is not among what {CAPABILITIES} allows at agent {agent}"
                )
