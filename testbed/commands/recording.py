"""What `run` and `sweep` have to do with series: the option, and the file beside run.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed import timeseries
from testbed.run.result import RunResult

SeriesOption = Annotated[
    str | None,
    typer.Option(
        "--series",
        help="record queues, buffers, pauses, marks, rates and steps every 10us, say, or auto: some 2,000 times a run",
        show_default="the experiment's, else nothing is recorded",
    ),
]


def series_settings(period: str | None) -> list[str]:
    """Return the setting that the option is."""
    return [] if period is None else [f"series={period}"]


def series_files(directory: Path, period: object) -> list[Path]:
    """Return the files that series of a run may be written into, if they are recorded."""
    return [] if period is None else [directory / f"series.{kind}" for kind in timeseries.FORMATS]


def write_series(judged: RunResult, recorded: bytes, directory: Path) -> Path | None:
    """Write the series of a run beside its run.json and return their path; None if there are none.

    Raises what `errors.cannot_write` makes of a failure.
    """
    series = timeseries.decode(recorded)
    if series is None or judged.time_series is None:
        return None
    return timeseries.write(series, directory / judged.time_series.file)
