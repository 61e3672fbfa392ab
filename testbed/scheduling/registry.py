"""Policies by name: those of the testbed, and those that installed packages bring in the entry point group `testbed.schedulers`.

Several names with + between them are one policy: each goes on from what the one before it has decided.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import metadata

from testbed.errors import UsageError, nearest
from testbed.experiment.placements import JOINER
from testbed.scheduling import placing, shifting
from testbed.scheduling.interface import Policy
from testbed.scheduling.stated import NAME, stated

GROUP = "testbed.schedulers"
DEFAULT = "packed"

BUILT_IN: Mapping[str, Policy] = {
    DEFAULT: placing.packed,
    "spread": placing.spread,
    "round-robin": placing.round_robin,
    "random": placing.shuffled,
    "by-domain": placing.by_domain,
    "by-rail": placing.by_rail,
    "nearest-site": placing.nearest_site,
    "interleaved": shifting.interleaved,
    "priorities": shifting.prioritised,
}


def _from_packages() -> dict[str, metadata.EntryPoint]:
    """Return the entry points of installed packages; names of the testbed's own policies stay the testbed's."""
    entries = metadata.entry_points(group=GROUP)
    return {entry.name: entry for entry in sorted(entries) if entry.name not in BUILT_IN}


def names() -> list[str]:
    """Return the names of all policies, those of the testbed first."""
    return [*BUILT_IN, *_from_packages()]


def about(name: str) -> str:
    """Return the first line of a policy's docstring, or why it cannot be loaded."""
    try:
        return (inspect.getdoc(_policy(name)) or "").partition("\n")[0]
    except UsageError as error:
        return str(error)


def policies(text: str) -> list[tuple[str, Policy]]:
    """Return the policies that a text names, in their order, each with its name.

    Raises UsageError for a name that does not exist, and for a policy that cannot be loaded.
    """
    parts = map(str.strip, text.split(JOINER))
    # The text of a placement file has equals signs, names have none.
    return [(NAME, stated(part)) if "=" in part else (part, _policy(part)) for part in parts]


def _policy(name: str) -> Policy:
    if name in BUILT_IN:
        return BUILT_IN[name]
    entries = _from_packages()
    if name not in entries:
        raise UsageError(f'no policy is called "{name}"{nearest(name, names())}')
    try:
        policy = entries[name].load()
    except Exception as error:
        raise UsageError(f'policy "{name}" cannot be loaded: {type(error).__name__}: {error}') from error
    if not callable(policy):
        raise UsageError(f'policy "{name}" cannot be loaded: {entries[name].value} is not a function')
    checked: Policy = policy
    return checked
