"""testbed list: what there is to choose from, with parameters and defaults."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from testbed import topologies, traffic
from testbed.commands import completion, explain, profiles
from testbed.commands.common import Format, FormatOption, console, print_json
from testbed.errors import UsageError, nearest
from testbed.experiment.file import Experiment
from testbed.lab.switches import named_switches
from testbed.lab.thresholds import alpha_text
from testbed.optics.catalogue import load_catalogue
from testbed.report.tables import empty_table
from testbed.scheduling import registry
from testbed.schema.keys import keys_of
from testbed.units import format_size

Rows = list[dict[str, Any]]


class Kind(enum.StrEnum):
    """A kind of thing that can be chosen."""

    topologies = "topologies"
    collectives = "collectives"
    profiles = "profiles"
    media = "media"
    switches = "switches"
    policies = "policies"
    settings = "settings"


@dataclass(frozen=True)
class _Shelf:
    """How one kind is listed: a row for each thing, and the rows of one of them with the words above these."""

    all: Callable[[], Rows]
    one: Callable[[str], tuple[str, Rows]]


def list_(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="what to list")],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="show this one in full; all of them if none is named", autocompletion=completion.listed
        ),
    ] = None,
    format_: FormatOption = Format.table,
) -> None:
    """List topologies, collectives, link profiles, media, switches, policies or settings, or show one in full."""
    if kind is Kind.profiles:
        return profiles.profiles(name, format_)
    if kind is Kind.settings and name is not None:
        return explain.explain(name, format_)
    shelf = _SHELVES[kind]
    if name is None:
        about, rows = "", shelf.all()
    else:
        known = [row["name"] for row in shelf.all()]
        if name not in known:
            raise UsageError(f'none of the {kind} is called "{name}"{nearest(name, known)}')
        about, rows = shelf.one(name)
    if format_ is Format.json:
        print_json({kind.value: rows} if name is None else {"name": name, "about": about, "rows": rows})
        return
    if about:
        console().print(Text(f"{name}: {about}"))
    if rows:
        console().print(_table(rows))


def _table(rows: Rows) -> RenderableType:
    """Return rows as a table whose columns are the keys of the first; lists and the last of them are wrapped."""
    titles = list(rows[0]) if rows else []
    wrapped = [title for title in titles if title == titles[-1] or any(isinstance(row[title], list) for row in rows)]
    table = empty_table()
    for title in titles:
        table.add_column(title, ratio=1 if title in wrapped else None)
    for row in rows:
        table.add_row(*(Text(_words(row[title])) for title in titles))
    return table


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "-" if value in (None, "") else str(value)


def _about_file(path: Path) -> str:
    """Return the words at the head of a YAML file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.removeprefix("#").strip() for line in head)


def _topologies() -> Rows:
    made: Rows = [
        {"name": name, "parameters": list(generator.parameters), "about": generator.summary}
        for name, generator in topologies.generators().items()
    ]
    return made + [
        {"name": name, "parameters": [], "about": _about_file(path).partition(". ")[0].removesuffix(".")}
        for name, path in topologies.files().items()
    ]


def _topology(name: str) -> tuple[str, Rows]:
    if name in topologies.files():
        return _about_file(topologies.files()[name]), []
    generator = topologies.generators()[name]
    rows: Rows = [
        {
            "parameter": key,
            "default": parameter.default,
            "bounds": None if isinstance(parameter.default, str) else f"{parameter.low} to {parameter.high}",
            "about": parameter.help,
        }
        for key, parameter in generator.parameters.items()
    ]
    named = {
        "parameter": "name",
        "default": name,
        "bounds": None,
        "about": "name of the lab, which every generator takes",
    }
    return generator.summary, [*rows, named]


def _collectives() -> Rows:
    return [
        {"name": name, "algorithms": list(traffic.ALGORITHMS[name]), "about": usual.about.partition(", in a ring")[0]}
        for name, usual in sorted(traffic.COLLECTIVES.items())
    ]


def _collective(name: str) -> tuple[str, Rows]:
    known = traffic.ALGORITHMS[name]
    usual = next(iter(known))
    return f"by {usual} unless workload.algorithm says otherwise", [
        {"algorithm": algorithm, "about": collective.about} for algorithm, collective in known.items()
    ]


def _media() -> Rows:
    catalogue = load_catalogue()
    return [
        {
            "name": name,
            "ps per metre": cable.ps_per_metre,
            "stands in for": cable.replaces,
            "about": cable.about,
        }
        for name, cable in catalogue.cables.items()
    ]


def _medium(name: str) -> tuple[str, Rows]:
    catalogue = load_catalogue()
    cable = catalogue.cables[name]
    rows: Rows = [{"figure": "ps-per-metre", "value": cable.ps_per_metre, "source": catalogue.sources[cable.source]}]
    used = [key for key, profile in catalogue.profiles.items() if profile.cable == name]
    return f"{cable.about}, of the profiles {', '.join(used)}" if used else cable.about, rows


def _switches() -> Rows:
    return [{"name": name, "about": switch.about} for name, switch in named_switches().items()]


def _switch(name: str) -> tuple[str, Rows]:
    switch = named_switches()[name]
    return switch.about, [
        {"figure": key, "value": _figure(switch.settings, key), "source": source}
        for key, source in switch.sources.items()
    ]


def _figure(settings: Mapping[str, Any], key: str) -> Any:
    """Return a figure as a lab file would write it: an alpha is kept as its exponent of two or a word, others are bytes."""
    value: Any = settings
    for part in key.split("."):
        value = value[part.replace("-", "_")]
    if key.endswith("alpha"):
        return alpha_text(value)
    return format_size(value) if isinstance(value, int) else value


def _policies() -> Rows:
    return [{"name": name, "about": registry.about(name)} for name in registry.names()]


def _settings() -> Rows:
    return [
        {"name": key.path, "default": explain.MUST_BE_GIVEN if key.default is None else key.default, "holds": key.holds}
        for key in keys_of(Experiment)
        if not key.section
    ]


_SHELVES: Mapping[Kind, _Shelf] = {
    Kind.topologies: _Shelf(_topologies, _topology),
    Kind.collectives: _Shelf(_collectives, _collective),
    Kind.media: _Shelf(_media, _medium),
    Kind.switches: _Shelf(_switches, _switch),
    Kind.policies: _Shelf(_policies, lambda name: (registry.about(name), [])),
    Kind.settings: _Shelf(_settings, lambda name: ("", [])),
}
