"""Tables for people, each with a line on what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class NotedTable:
    """A table, if it has rows, and a line on what it leaves out."""

    table: Table | None
    note: str


def with_note(noted: NotedTable) -> list[RenderableType]:
    """Return a table and its note with an empty line before them; nothing of what is not there."""
    parts: list[RenderableType] = []
    if noted.table is not None:
        parts += [Text(), noted.table]
    if noted.note:
        parts += [Text(noted.note, style="dim")] if parts else [Text(), Text(noted.note, style="dim")]
    return parts


def table_of(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    """Return an empty table in the style of the report, with columns set left and right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", overflow="fold")
    return table
