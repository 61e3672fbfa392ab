"""The page: what was compared, tables of figures measured beside expected, and the worst of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from validation.case import Quantity, Row, Topic

INTRODUCTION = """\
# Validation

What the testbed measures, beside what closed forms, published experiments and standards say it should. Everything here is
made by `make validation`, which runs labs and experiments under the virtual clock, writes this page, and fails if a row is
off by more than it may be; a second run makes the same bytes. `make test` runs a part of the rows.

An error is measured over expected, less one, unless it has a unit. Where chance decides (losses, marks), the standard
error that the number of draws leaves is given with it, as ±. What is in *italics* is shown beside published figures whose
circumstances are not all known or not ours, and is not held to anything. The seed is 1 where no other is named.
"""

LONG = 24
"""Tables of more rows are folded away behind their plot."""


def render(
    rows: Mapping[str, Sequence[Row]], plots: Mapping[str, str], old: str = "", left: Sequence[Topic] = ()
) -> str:
    """Return the page as Markdown; `plots` has the path of each topic's plot, relative to the page.

    Of topics that were `left` out, for want of files that are not part of this project, the page keeps what the `old` one said.
    """
    topics = [topic_rows[0].topic for topic_rows in rows.values()]
    kept = [line for topic in left for line in old.splitlines(keepends=True) if line.startswith(f"| [{topic.title}](")]
    parts = [INTRODUCTION, _summary(topics, rows) + "".join(kept)]
    for topic in topics:
        table = _table(topic, rows[topic.name])
        if len(rows[topic.name]) > LONG:
            table = f"<details>\n<summary>All {len(rows[topic.name])} rows</summary>\n\n{table}\n</details>\n"
        plot = [f"![{topic.title}]({plots[topic.name]})\n"] if topic.name in plots else []
        parts += [f"## {topic.title}\n", topic.text + "\n", *plot, table]
    parts += [_section(old, topic) for topic in left if f"## {topic.title}\n" in old]
    return "\n".join(parts)


def _section(page: str, topic: Topic) -> str:
    """Return the section of a topic from a page."""
    body = page.partition(f"## {topic.title}\n")[2].partition("\n## ")[0].rstrip()
    return f"## {topic.title}\n{body}\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _head(titles: Sequence[str], left: int) -> str:
    return _line(titles) + _line(["---"] * left + ["---:"] * (len(titles) - left - 1) + ["---"])


def _summary(topics: Sequence[Topic], rows: Mapping[str, Sequence[Row]]) -> str:
    text = _line(["what", "quantity", "rows", "worst error", "allowed", "source"]) + _line(["---"] * 6)
    for topic in topics:
        for quantity in topic.quantities:
            held = [row for row in rows[topic.name] if row.case.held and quantity.key in row.expected]
            if not held or quantity.tolerance is None:
                continue
            worst = max((row.error(quantity) for row in held), key=abs)
            allowed = "± " + show_error(quantity, quantity.tolerance).lstrip("+")
            anchor = f"[{topic.title}](#{_anchor(topic.title)})"
            cells = [anchor, quantity.title, str(len(held)), show_error(quantity, worst), allowed, topic.source]
            text += _line(cells)
    return text


def _anchor(title: str) -> str:
    return "".join(sign for sign in title.lower().replace(" ", "-") if sign.isalnum() or sign in "-_")


def _table(topic: Topic, rows: Sequence[Row]) -> str:
    titles = list(topic.axes)
    for quantity in topic.quantities:
        titles += [f"{quantity.title}: expected", "measured", "error"]
    text = _head([*titles, "source"], len(topic.axes))
    for row in rows:
        cells = list(row.case.labels)
        for quantity in topic.quantities:
            cells += _cells(row, quantity)
        cells.append(row.case.source or topic.source)
        text += _line(cells if row.case.held else [_italic(cell) for cell in cells])
    return text


def _cells(row: Row, quantity: Quantity) -> list[str]:
    if quantity.key not in row.expected:
        return ["", "", ""]
    error = show_error(quantity, row.error(quantity))
    if quantity.key in row.measured.chance:
        error += " ± " + show_error(quantity, row.measured.chance[quantity.key]).lstrip("+")
    cells = [show(quantity, row.expected[quantity.key]), show(quantity, row.measured.figures[quantity.key]), error]
    return cells if quantity.tolerance is not None else [_italic(cell) for cell in cells]


def _italic(text: str) -> str:
    return text if not text or text.startswith("*") else f"*{text}*"


def show(quantity: Quantity, figure: float) -> str:
    """Return a figure as the page shows it."""
    return f"{figure * quantity.scale:.{quantity.digits}f}"


def show_error(quantity: Quantity, error: float) -> str:
    """Return an error with its sign, in per cent unless it has a unit; what rounds to nothing has none."""
    text = f"{error * quantity.scale:+.{quantity.digits}f}" if quantity.absolute else f"{error:+.2%}".replace("%", " %")
    return text[1:] if not any(digit in text for digit in "123456789") else text
