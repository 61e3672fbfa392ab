"""Tables for people, each with a line on what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_GAP, _NARROW_GAP = 2, 1
_UNBOUNDED = 10_000


@dataclass(frozen=True, slots=True)
class NotedTable:
    """A table, if it has rows, and a line on what it leaves out."""

    table: Table | None
    note: str


class FittedTable(Table):
    """A table that a narrow console shows with small gaps and headings of several lines, and never with a broken figure.

    Columns that share out what width is left (`ratio`) break between words. A table that is wider all the same is the
    terminal's to wrap.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table, in its narrow form where the usual one does not fit."""
        widths = self._fix_widths(console, options)
        if sum(widths) + _GAP * (len(widths) - 1) > options.max_width:
            self.padding = (0, _NARROW_GAP, 0, 0)
            for column in self.columns:
                if isinstance(column.header, str) and column.ratio is None:
                    column.header = column.header.replace(" ", "\n")
            self._fix_widths(console, options)
        yield from super().__rich_console__(console, options)

    def _fix_widths(self, console: Console, options: ConsoleOptions) -> list[int]:
        """Give columns of names and figures the width of their widest cell, others that of their longest word."""
        unbounded = options.update(max_width=_UNBOUNDED)
        widths = []
        for column in self.columns:
            cells = [Measurement.get(console, unbounded, cell) for cell in (column.header, *column.cells)]
            column.no_wrap = column.ratio is None
            column.min_width = max(cell.maximum if column.no_wrap else cell.minimum for cell in cells)
            widths.append(column.min_width)
        return widths


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
    table = FittedTable(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, _GAP, 0, 0)
    )
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", overflow="fold")
    return table
