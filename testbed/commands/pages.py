"""The report that `run`, `replay` and `sweep` write beside a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.run import result

if TYPE_CHECKING:
    from testbed.run.result import RunResult
    from testbed.study.sweep import SweepResult

FILE_NAME = "report.html"
NoReportOption = Annotated[bool, typer.Option("--no-report", help=f"write no {FILE_NAME} beside the result")]


def write_report(judged: RunResult | SweepResult, directory: Path) -> Path:
    """Write the report on a result into its directory; see `result.write_text`."""
    # Whoever asks for JSON, or for no report, does not wait for what draws it.
    from testbed.report.page.document import Run, Study
    from testbed.report.page.file import page
    from testbed.report.page.series import recorded

    shown: Run | Study
    if isinstance(judged, result.RunResult):
        shown = Run(directory.name, judged, recorded(judged, directory))
    else:
        shown = Study(directory.name, judged)
    return result.write_text(page([shown]), directory, FILE_NAME)
