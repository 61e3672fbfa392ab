"""Tables for people, each with a line on what it leaves out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

_GAP, _NARROW_GAP = 2, 1
_UNBOUNDED = 10_000
_NOTHING = ("", "-")


@dataclass(frozen=True, slots=True)
class NotedTable:
    """A table, if it has rows, and a line on what it leaves out."""

    table: Table | None
    note: str


class FittedTable(Table):
    """A table that a narrow console shows whole: nothing is cropped, and no figure is broken.

    What does not fit goes step by step: columns without content, wide gaps and headings of one line; then the columns
    stand in several tables below each other, each with the names of the rows. Columns that share out what width is left
    (`ratio`) break between words. The first columns that are set left are the names.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table in the widest form that fits."""
        widths = self._fix_widths(console, options)
        if _room(widths, _GAP) <= options.max_width:
            self._share_out(widths, console, options)
            yield from super().__rich_console__(console, options)
            return
        table = self.of_columns([column for column in self.columns if _has_content(column)])
        if _room(table._fix_widths(console, options), _GAP) > options.max_width:
            table.padding = (0, _NARROW_GAP, 0, 0)
            for column in table.columns:
                if isinstance(column.header, str) and column.ratio is None:
                    column.header = column.header.replace(" ", "\n")
        for part in table._parts(table._fix_widths(console, options), options.max_width):
            part._share_out(part._fix_widths(console, options), console, options)
            yield from Table.__rich_console__(part, console, options)

    def names(self) -> int:
        """Return how many of the first columns name the rows."""
        count = 0
        for column in self.columns:
            if column.justify != "left" or column.ratio is not None:
                break
            count += 1
        return max(1, min(count, len(self.columns) - 1))

    def of_columns(self, columns: Sequence[Column]) -> FittedTable:
        """Return this table with some of its columns."""
        table = empty_table(str(self.title) if self.title else "", show_header=self.show_header)
        table.padding = self.padding
        for column in columns:
            settings = {"justify": column.justify, "overflow": column.overflow, "no_wrap": column.no_wrap}
            table.add_column(column.header, ratio=column.ratio, **settings)  # type: ignore[arg-type]
        for cells in zip(*(column.cells for column in columns), strict=True):
            table.add_row(*cells)
        return table

    def _parts(self, widths: list[int], room: int) -> Iterator[FittedTable]:
        """Yield the tables that together have all columns, none wider than the room where that is possible."""
        (_, gap, _, _) = self.padding
        first = self.names()
        names, rest = list(range(first)), list(range(first, len(self.columns)))
        if not rest or _room(widths, gap) <= room:
            yield self
            return
        title = str(self.title) if self.title else ""
        while rest:
            count = 1
            while count < len(rest) and _room([widths[n] for n in [*names, *rest[: count + 1]]], gap) <= room:
                count += 1
            part = self.of_columns([self.columns[number] for number in [*names, *rest[:count]]])
            part.title = title or None
            rest = rest[count:]
            title = f"{self.title}, continued" if self.title else ""
            yield part

    def _share_out(self, widths: Sequence[int], console: Console, options: ConsoleOptions) -> None:
        """Share out the width that is left among columns that wrap, by how much each would take beyond its longest word."""
        (_, gap, _, _) = self.padding
        left = options.max_width - _room(widths, gap)
        unbounded = options.update(max_width=_UNBOUNDED)
        wanted = {}
        for column, width in zip(self.columns, widths, strict=True):
            if not column.no_wrap:
                cells = (Measurement.get(console, unbounded, cell) for cell in (column.header, *column.cells))
                wanted[id(column)] = max(cell.maximum for cell in cells) - width
                column.width = width
        total = sum(wanted.values())
        for column in self.columns:
            if left > 0 and column.width is not None and id(column) in wanted:
                column.width += wanted[id(column)] * min(left, total) // max(total, 1)

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


def _room(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _has_content(column: Column) -> bool:
    return any(str(cell) not in _NOTHING for cell in column.cells)


def with_columns(report: RenderableType, columns: Collection[str]) -> tuple[RenderableType, set[str]]:
    """Return a report whose tables have, beside the names of rows, these columns alone, and the headings that there were.

    Tables with none of them go.
    """
    if not isinstance(report, Group):
        return report, set()
    parts: list[RenderableType] = []
    headings: set[str] = set()
    for part in report.renderables:
        if not isinstance(part, FittedTable):
            parts.append(part)
            continue
        first = part.names()
        names, others = part.columns[:first], part.columns[first:]
        headings |= {str(column.header) for column in others}
        chosen = [column for column in others if str(column.header) in columns]
        if chosen:
            parts.append(part.of_columns([*names, *chosen]))
    return Group(*parts), headings


def with_note(noted: NotedTable) -> list[RenderableType]:
    """Return a table and its note with an empty line before them; nothing of what is not there."""
    parts: list[RenderableType] = []
    if noted.table is not None:
        parts += [Text(), noted.table]
    if noted.note:
        parts += [Text(noted.note, style="dim")] if parts else [Text(), Text(noted.note, style="dim")]
    return parts


def empty_table(title: str = "", *, show_header: bool = True) -> FittedTable:
    """Return a table without columns, in the style of the report."""
    return FittedTable(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        show_header=show_header,
    )


def table_of(title: str, left: tuple[str, ...], right: tuple[str, ...], text: str | None = None) -> FittedTable:
    """Return an empty table with columns set left, columns of figures, and where there is `text`, one that is wrapped."""
    table = empty_table(title)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", overflow="fold")
    if text is not None:
        table.add_column(text, overflow="fold", ratio=1)
    return table
