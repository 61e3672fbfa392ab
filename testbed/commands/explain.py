"""testbed explain: what a key of a lab or experiment file means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from testbed.commands import completion
from testbed.commands.common import Format, FormatOption, console, print_json
from testbed.errors import UsageError, nearest
from testbed.experiment.file import Experiment
from testbed.lab.file import LabFile
from testbed.report.tables import empty_table
from testbed.schema.keys import CHOSEN, EACH, Key, keys_of, matching

MUST_BE_GIVEN = "must be given"
_IN_FULL = 3
"""So many meanings are told in full; more of them are a table."""


@dataclass(frozen=True)
class Meaning:
    """Keys of one kind of file that mean the same, as `buffer` does of a node, of a kind and of the defaults."""

    file: str
    paths: tuple[str, ...]
    key: Key

    def as_json(self) -> dict[str, Any]:
        """Return the meaning with one entry a field."""
        key = self.key
        return {
            "file": self.file,
            "keys": list(self.paths),
            "holds": key.holds,
            "example": key.example,
            "default": key.default,
            "sentence": key.sentence,
        }


def explain(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="the key, whole or its last words: lossless.xoff, ber", autocompletion=completion.key
        ),
    ],
    format_: FormatOption = Format.table,
) -> None:
    """Explain a key of a lab file or an experiment: what it means, what it holds, and its default."""
    matches = meanings(key)
    if format_ is Format.json:
        print_json({"keys": [meaning.as_json() for meaning in matches]})
    else:
        console().print(render(matches))


def meanings(wanted: str) -> list[Meaning]:
    """Return what a key means wherever it stands, experiments first; raise UsageError that suggests the nearest key."""
    files = {"experiment": list(keys_of(Experiment)), "lab": list(keys_of(LabFile))}
    meanings = [
        meaning
        for file, keys in files.items()
        for meaning in _together(file, matching(keys, wanted.strip().strip(".")))
    ]
    if meanings:
        return meanings
    known = [path.replace(EACH, "") for keys in files.values() for path in (key.path for key in keys)]
    near = nearest(wanted, {*known, *(path.rpartition(".")[2] for path in known)})
    if "did you mean" not in near:
        near = "; `testbed list settings` shows those of an experiment, `testbed explain topology` those of a lab"
    raise UsageError(f'no key is called "{wanted}"{near}')


def _together(file: str, keys: Iterable[Key]) -> list[Meaning]:
    """Put keys that say the same into one meaning each, in the order of the first of them."""
    same: dict[tuple[str, str, str | None, str], list[Key]] = {}
    for key in keys:
        last = key.path.rpartition(".")[2]
        same.setdefault((last, key.holds, key.default, key.sentence), []).append(key)
    return [Meaning(file, tuple(key.path for key in group), group[0]) for group in same.values()]


def render(meanings: Sequence[Meaning]) -> RenderableType:
    """Return meanings for people: in full where they are few, else the first in full and a table of the others."""
    if len(meanings) <= _IN_FULL:
        return _spaced([_in_full(meaning) for meaning in meanings])
    return _spaced([_in_full(meanings[0]), key_table([meaning.key for meaning in meanings[1:]])])


def _spaced(parts: Sequence[RenderableType]) -> RenderableType:
    return Group(*(part if place == 0 else Padding(part, (1, 0, 0, 0)) for place, part in enumerate(parts)))


def _in_full(meaning: Meaning) -> RenderableType:
    key = meaning.key
    facts = empty_table(show_header=False)
    facts.add_column()
    facts.add_column(ratio=1)
    facts.add_row("holds", Text(key.holds + (f", as {key.example}" if key.example else "")))
    facts.add_row("default", Text(MUST_BE_GIVEN if key.default is None else key.default))
    facts.add_row(
        "stands in",
        Text(
            f"{meaning.file} file, where {CHOSEN} is a name of yours" if _is_named(meaning) else f"{meaning.file} file"
        ),
    )
    if meaning.file == "experiment" and EACH not in key.path and CHOSEN not in key.path:
        facts.add_row("command", Text(f"--set {key.path}=…"))
    heads = Text("\n".join(meaning.paths), style="bold")
    return Group(heads, Padding(Group(Text(key.sentence), facts), (0, 0, 0, 2)))


def _is_named(meaning: Meaning) -> bool:
    return any(CHOSEN in path.split(".") for path in meaning.paths)


def key_table(keys: Iterable[Key]) -> Table:
    """Return a table with a row for each key."""
    table = empty_table()
    table.add_column("key")
    for title in ("default", "meaning"):
        table.add_column(title, overflow="fold", ratio=1)
    for key in keys:
        sentence = f"{key.sentence} Holds: {key.holds}." if not key.section else key.sentence
        table.add_row(Text(key.path), Text(MUST_BE_GIVEN if key.default is None else key.default), Text(sentence))
    return table
