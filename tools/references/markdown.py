"""Markdown in the shape that the pages share: prose of 100 columns, tables, fenced blocks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

COLUMNS = 100
NOTICE = "<!-- Written by `make references`. Do not edit. -->"


def page(title: str, *parts: str) -> str:
    """Return a page: its notice, its title, and its parts with an empty line between them."""
    return "\n\n".join([NOTICE, f"# {title}", *(part for part in parts if part)]) + "\n"


def prose(text: str) -> str:
    """Return text wrapped at 100 columns, paragraph by paragraph."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(
        textwrap.fill(part, COLUMNS, break_long_words=False, break_on_hyphens=False) for part in paragraphs
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; nothing if it has no rows."""
    body = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    if not body:
        return ""
    return "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *body])


def fence(text: str, language: str) -> str:
    """Return a fenced block."""
    return f"```{language}\n{text.rstrip()}\n```"


def code(text: object) -> str:
    """Return text as code; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|") or " "
