"""The labs that one agent has: which have a data plane, and what keeps two verbs on one of them apart."""

from __future__ import annotations

import threading

from testbed.agent.claims import Claims, NoClaims
from testbed.agent.lab import LabDriver, OwnedLab
from testbed.errors import HostError, UsageError


class Register:
    """The labs with a data plane, by name. The driver finds all that are in the system, and `claims` says whose they are."""

    def __init__(self, driver: LabDriver, claims: Claims | None) -> None:
        self.driver = driver
        self.claims = claims or NoClaims()
        self.labs: dict[str, OwnedLab] = {}
        self._building: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def running(self, lab: str) -> OwnedLab:
        """Return a lab with a data plane. Raises HostError for one that has none here, UsageError for one that is nowhere."""
        if present := self.labs.get(lab):
            return present
        if lab in self.driver.list_labs():
            if owner := self.claims.owner(lab):
                raise HostError(f"lab {lab} is driven by {owner}; send the request to that one")
            raise HostError(f"lab {lab} is broken: it has no data plane; destroy it, or deploy it again")
        raise UsageError(f"no lab {lab} is deployed on this machine")

    def building(self, lab: str) -> threading.Lock:
        """Return the lock under which a lab is built, changed and removed."""
        with self._guard:
            return self._building.setdefault(lab, threading.Lock())

    def is_empty(self) -> bool:
        """Return whether no lab is up or being built."""
        return not self.labs and not any(lock.locked() for lock in list(self._building.values()))

    def interrupt_all(self) -> None:
        """Make every run end at its next step."""
        for present in list(self.labs.values()):
            present.interrupt()

    def close(self) -> None:
        """Stop all data planes; leave the namespaces. They are `broken` from now on, and anybody's."""
        self.interrupt_all()
        for lab, present in list(self.labs.items()):
            with present.lock:
                self.labs.pop(lab, None)
                present.close()
            self.claims.release(lab)
