"""How a node of a lab is, in three words: healthy, starting, unhealthy; and what is asked of a whole lab."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Health:
    """How a node is, and why if it is not healthy."""

    state: Literal["healthy", "starting", "unhealthy"] = "healthy"
    reason: str = ""

    def data(self) -> dict[str, str]:
        """Return it as JSON data, for `lacking`."""
        return asdict(self)


HEALTHY = Health()


class Wanted(enum.StrEnum):
    """What can be waited for: every node healthy, one of them unhealthy, or none there any more."""

    healthy = "healthy"
    unhealthy = "unhealthy"
    gone = "gone"


def lacking(wanted: Wanted, healths: Mapping[str, Mapping[str, Any]], nodes: Collection[str]) -> str | None:
    """Return what of a lab is not yet as wanted; None if all is. `healths` are by node; `nodes`: those meant, all if empty."""
    there = {name: health for name, health in healths.items() if not nodes or name in nodes}
    missing = sorted(set(nodes) - healths.keys())
    match wanted:
        case Wanted.gone:
            return f"still there: {', '.join(sorted(there))}" if there else None
        case _ if not healths or missing:
            return f"no node {', '.join(missing)}" if healths else "no such lab is deployed"
        case Wanted.unhealthy:
            ill = "unhealthy" in (health["state"] for health in there.values())
            return None if ill else "every node is healthy or starting"
    sick = [f"{name}: {health['reason']}" for name, health in sorted(there.items()) if health["state"] != "healthy"]
    return "; ".join(sick) or None
