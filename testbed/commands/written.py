"""What a run leaves behind: its result, and beside it a capture, rows, metrics, a timeline and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.commands import nccl_options
from testbed.commands.common import Format
from testbed.commands.pages import FILE_NAME as REPORT_NAME
from testbed.commands.pages import write_report
from testbed.exports.metrics import openmetrics
from testbed.exports.timeline import timeline
from testbed.report import rows
from testbed.run import result
from testbed.run.result import RunResult


@dataclass(frozen=True)
class Written:
    """Where a result goes, and in which forms. The capture is written by the run itself."""

    directory: Path
    capture: Path | None
    format_: Format
    records: nccl_options.RecordFormat | None
    record_file: Path | None
    metrics: Path | None
    has_report: bool
    columns: Sequence[str] = ()
    """The only ones that printed tables have; none: all."""
    trace: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """The files that will be there."""
        report = self.directory / REPORT_NAME if self.has_report else None
        others = (self.capture, self.record_file, self.metrics, self.trace, report)
        return [self.directory / result.FILE_NAME, *(path for path in others if path is not None)]

    def write(self, judged: RunResult, places: list[str]) -> None:
        """Write a result in every form, and add what is written where to `places`: the result first, the report last.

        Raises what `errors.cannot_write` makes of a failure; `places` then has what was written before it.
        """
        places.insert(0, f"result: {result.write(judged, self.directory)}")
        if self.record_file is not None:
            result.write_text(self.rows(judged), self.record_file.parent, self.record_file.name)
            places.append(f"rows: {self.record_file}")
        if self.metrics is not None:
            result.write_text(openmetrics(judged), self.metrics.parent, self.metrics.name)
            places.append(f"metrics: {self.metrics}")
        if self.trace is not None:
            # Series need numpy.
            from testbed.report.page.series import recorded_beside

            result.write_bytes(
                timeline(judged, recorded_beside(judged, self.directory)), self.trace.parent, self.trace.name
            )
            places.append(f"timeline: {self.trace}")
        if self.has_report:
            places.append(f"report: {write_report(judged, self.directory)}")

    def rows(self, judged: RunResult) -> str:
        """Return the rows as rccl-tests write them."""
        if self.records is nccl_options.RecordFormat.csv:
            return rows.records_csv(judged)
        return rows.records_json(judged)
