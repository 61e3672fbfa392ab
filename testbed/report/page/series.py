"""What was recorded of a run over time, as a report holds it: no more of it than a page is to carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from testbed.run.result import RunResult
from testbed.timeseries import TimeSeries, read

Json = dict[str, Any]

MOST_POINTS = 2_048
MOST_CHANGES = 250_000
_FEWEST_POINTS = 16


def recorded(result: RunResult, directory: Path) -> Json | None:
    """Return the series that lie beside a result, thinned, as `recorded_beside` finds them."""
    series = recorded_beside(result, directory)
    return None if series is None else thinned(series)


def recorded_beside(result: RunResult, directory: Path) -> TimeSeries | None:
    """Return the series that lie beside a result; None where none were recorded, or where they did not come along.

    Raises UsageError for a file of series that cannot be read.
    """
    if result.time_series is None or not (directory / Path(result.time_series.file).name).is_file():
        return None
    return read(directory)


def thinned(series: TimeSeries) -> Json:
    """Return series as steps: `at` which points each took which `value`; at twice the period until a page can carry them."""
    while series.points > _FEWEST_POINTS and (series.points > MOST_POINTS or series.rows > MOST_CHANGES):
        series = series.halved()
    return {
        "period_ns": series.period_ns,
        "points": series.points,
        "columns": [
            {**key._asdict(), "at": points.tolist(), "value": values.tolist()}
            for key, points, values in series.tracks()
        ],
    }
