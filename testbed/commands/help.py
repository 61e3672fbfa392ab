"""Help for people: verbs in groups, each with its whole sentence whatever the width, and examples that can be copied."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from testbed.commands.beginning import INTERRUPTED

_REST = "Commands"


class Grouped(TyperGroup):
    """A command with verbs below it, listed by the panel that each was given. It says so when it is interrupted."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb; one that does not say itself what became of it when it is interrupted ends with a word and 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each panel, in the order of the verbs. No sentence is cut short: it is wrapped."""
        panels: dict[str, list[tuple[str, str]]] = {}
        names = [name for name in self.list_commands(ctx) if not self.commands[name].hidden]
        width = max(map(len, names), default=0)
        for name in names:
            command = self.commands[name]
            panel = getattr(command, "rich_help_panel", None)
            title = panel if isinstance(panel, str) else _REST
            panels.setdefault(title, []).append((name.ljust(width), summary(command.help)))
        for title, rows in panels.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def summary(text: str | None) -> str:
    """Return the first paragraph of a help text in one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def example(text: str) -> str:
    """Return the end of a help text that shows commands as they are typed, a line each."""
    # The mark keeps click from joining the lines.
    lines = "\n".join(f"  {line}" for line in text.splitlines())
    return f"Example:\n\n\b\n{lines}"
