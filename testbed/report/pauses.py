"""Who paused whom, for people: a sentence for each root of pauses, where they matter."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from testbed.run.pauses import PauseRoot
from testbed.run.result import RunResult

ROOTS_SHOWN = 4
# A lossless network holds up senders whenever several of them meet, and over long links: that alone is no news.
_ORDINARY = frozenset({"incast", "slow link", "other priorities", "credits"})


def telling_roots(result: RunResult) -> list[PauseRoot]:
    """Return the roots worth a sentence: those with victims, those out of the ordinary, and all of a run that failed."""
    if result.pauses is None:
        return []
    failed = not result.verdict.passed
    return [root for root in result.pauses.roots if failed or root.victims.flows or root.reason not in _ORDINARY]


def roots_table(result: RunResult) -> Table | None:
    """Return the sentences of the roots worth one, those that paused longest first; None where there are none."""
    roots = telling_roots(result)
    if not roots:
        return None
    table = Table.grid(padding=(0, 1, 0, 0))
    for root in roots[:ROOTS_SHOWN]:
        table.add_row("  -", Text(f"pauses: {root.sentence}"))
    omitted = len(roots) - ROOTS_SHOWN
    if omitted > 0:
        table.add_row("  -", Text(f"pauses: {omitted} more roots in run.json"))
    return table
