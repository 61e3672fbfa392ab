"""Which agent a verb is for. It is said before anything of agents is imported: most runs need none of it."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.bus.address import LOCAL_AGENT, BrokerAddress
from testbed.plan.placement import How


@dataclass(frozen=True)
class Target:
    """Say which agent is meant: the local one, or one by name on a broker, or with `others` several for one lab.

    Nodes that name no agent are placed as `placement` says.
    """

    address: BrokerAddress | None = None
    agent: str = LOCAL_AGENT
    others: tuple[str, ...] = ()
    placement: How = "spread"

    @property
    def is_local(self) -> bool:
        """Return whether the labs are on this machine, so that the driver reaches them too."""
        return self.address is None
