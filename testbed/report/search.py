"""A search as a table for people: its probes, the best one, and what is to be said of it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from testbed.experiment.axes import short_names
from testbed.report.tables import table_of
from testbed.study.search import Probe, SearchResult

_NOTHING = "-"


def render(result: SearchResult) -> RenderableType:
    """Return the probes in their order, notes, and the best one in a sentence."""
    keys = list(dict.fromkeys(key for probe in result.probes for key in probe.settings))
    names = short_names(keys)
    told = [] if result.objective in keys else [result.objective]
    title = f"{len(result.probes)} probes, lab {result.lab}, seed {result.seed}, by {result.method}"
    table = table_of(title, ("#", *(names[key] for key in keys)), (*told, "holds"), "why not")
    for number, probe in enumerate(result.probes):
        objective = [_NOTHING if probe.objective is None else f"{probe.objective:.6g}"] if told else []
        why = "" if probe.holds else _why(probe)
        settings = (Text(probe.settings[key]) for key in keys)
        table.add_row(str(number), *settings, *objective, "yes" if probe.holds else "no", Text(why))
    lines = [*(f"note: {note}" for note in result.notes), sentence(result)]
    return Group(table, Text(), *(Text(line) for line in lines))


def sentence(result: SearchResult) -> str:
    """Return what was found in a sentence."""
    wanted = " and ".join(result.subject_to) or "the run passes"
    if result.best is None:
        return f"nowhere in the range: {wanted}"
    best = result.probes[result.best]
    settings = ", ".join(f"{key} {value}" for key, value in best.settings.items())
    least = "least" if result.direction == "minimise" else "greatest"
    if result.objective in best.settings:
        steps = result.between[result.objective]["tolerance"]
        return f"{settings}: the {least} at which {wanted}, to {steps}"
    return f"{settings}: {result.objective} is {least}, {best.objective:.6g}, where {wanted}"


def _why(probe: Probe) -> str:
    return probe.reasons[0] if probe.reasons else probe.verdict
