"""What a report holds: results of runs with the pictures of their labs, or a sweep, as one JSON document. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from testbed.errors import UsageError
from testbed.report.page.fabric import fabric
from testbed.report.pauses import telling_roots
from testbed.report.verdict import verdict_text
from testbed.run.result import RunResult
from testbed.study.sweep import SweepResult

Json = dict[str, Any]


class Run(NamedTuple):
    """A run as a report shows it: what it is called, its result, and what was recorded over time, if anything was."""

    name: str
    result: RunResult
    series: Json | None = None


class Study(NamedTuple):
    """A sweep as a report shows it: what it is called, and its rows."""

    name: str
    result: SweepResult


def document(shown: Sequence[Run | Study]) -> Json:
    """Return the document of a report: its title, runs and sweeps in their order.

    Raises UsageError for a result whose links no picture can be drawn of.
    """
    runs = [_run(each) for each in shown if isinstance(each, Run)]
    sweeps = [
        {"name": each.name, "sweep": each.result.model_dump(mode="json")} for each in shown if isinstance(each, Study)
    ]
    return {"title": title(shown), "runs": runs, "sweeps": sweeps}


def title(shown: Sequence[Run | Study]) -> str:
    """Return what a report is called: its labs, and what was run there."""
    return " · ".join(dict.fromkeys(_subject(each) for each in shown))


def _subject(shown: Run | Study) -> str:
    if isinstance(shown, Study):
        return f"sweep on {shown.result.lab}"
    return f"{shown.result.collective.name} on {shown.result.lab}"


def _run(run: Run) -> Json:
    try:
        drawn = fabric(run.result)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{run.name}: links, ranks and switches do not make a lab: {error}") from error
    return {
        "name": run.name,
        "verdict": verdict_text(run.result).plain,
        "pauses": [root.sentence for root in telling_roots(run.result)],
        "run": run.result.model_dump(mode="json"),
        "fabric": drawn,
        "series": run.series,
    }
