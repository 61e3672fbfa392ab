"""What every user of a fabric may rely on, whichever clock it is under."""

from __future__ import annotations

from typing import Protocol


class Engine(Protocol):
    """A fabric under either clock: what `testbed._dataplane` offers (docs/internals/engine.md)."""

    def begin_span(self, statistics: str) -> None:
        """Count from here on in reports, and tell apart what `statistics` asks for: JSON, null for nothing."""

    def record_series(self, plan: str) -> None:
        """Record series from the next start of a workload on, and anew where a span begins: a SeriesPlan as JSON."""

    def series(self) -> bytes:
        """End the recording and return it, as `testbed.timeseries.decode` reads it; nothing if there is none."""

    def load(self, workload: str) -> None:
        """Forget the last workload and install this one, its memories zero."""

    def write_memory(self, rank: int, offset: int, data: bytes) -> None:
        """Set bytes of a rank's memory."""

    def read_memory(self, rank: int, offset: int, length: int) -> bytes:
        """Return bytes of a rank's memory."""

    def advance(self, budget: int) -> bool:
        """Run for at most `budget`, events or milliseconds; True when the workload is over."""

    def report(self) -> str:
        """Return all that was observed, as JSON."""

    def pauses(self) -> str:
        """Return the records of pauses from which their causes follow, as JSON."""

    def impair(self, changes: str) -> None:
        """Change links, now or so long after the next start of a workload: a JSON list."""

    def cancel_impairments(self) -> None:
        """Forget the changes that are still due."""

    def inject(self, frames: str) -> None:
        """Put raw frames on the links of hosts, in trains: a JSON list."""

    def run_until(self, until_ps: int, budget: int) -> bool:
        """Run for at most `budget`, workload or none; True when that nominal time has come."""

    def capture(self, path: str | None) -> None:
        """Write every frame into a file, until called with None."""
