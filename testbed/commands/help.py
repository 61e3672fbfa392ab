"""Help for people: verbs in groups, each with its whole sentence whatever the width, and examples that can be copied."""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from testbed.commands.beginning import INTERRUPTED, nothing_begun
from testbed.commands.table import VERBS, Verb

_REST = "Commands"
_VERBS = {verb.name: (panel, verb) for panel, verbs in VERBS.items() for verb in verbs}


_HelpFormatter: Any = typer.Context.formatter_class


class _Formatter(_HelpFormatter):  # type: ignore[misc]
    """Breaks lines at blanks alone: names and values with hyphens, as `two-dc:hosts=4`, stay whole."""

    _UNBROKEN = "\u2011"

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(text.replace("-", self._UNBROKEN))

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms and what they mean."""
        super().write_dl([(term, text.replace("-", self._UNBROKEN)) for term, text in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        """Return what was written, with the hyphens that it had."""
        return str(super().getvalue()).replace(self._UNBROKEN, "-")


class _Context(typer.Context):
    formatter_class = _Formatter


class Grouped(TyperGroup):
    """A command with verbs below it, listed by the panel that each was given. It says so when it is interrupted."""

    context_class = _Context

    def invoke(self, ctx: Any) -> Any:
        """Run a verb; one that does not say itself what became of it when it is interrupted ends with a word and 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield panel, name and sentence of each verb that is shown, in their order."""
        for name, command in self.commands.items():
            if not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                yield panel if isinstance(panel, str) else _REST, name, summary(command.help)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each panel, in the order of the verbs. No sentence is cut short: it is wrapped."""
        panels: dict[str, list[tuple[str, str]]] = {}
        rows = list(self.rows())
        width = max((len(name) for _, name, _ in rows), default=0)
        for panel, name, sentence in rows:
            panels.setdefault(panel, []).append((name.ljust(width), sentence))
        for title, lines in panels.items():
            with formatter.section(title):
                formatter.write_dl(lines)


class Commands(MutableMapping[str, Any]):
    """The verbs of the table as commands, by name. One is imported when it is asked for, and none by the list of names."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _command(*_VERBS[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in _VERBS

    def __iter__(self) -> Iterator[str]:
        return iter(_VERBS)

    def __len__(self) -> int:
        return len(_VERBS)


class Verbs(Grouped):
    """The command `testbed`: it lists its verbs without importing them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": None})
        self.commands = Commands()

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield panel, name and sentence of each verb as the table has them."""
        return ((panel, name, verb.sentence) for name, (panel, verb) in _VERBS.items())

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Offer verbs with their sentences."""
        commands = self.commands
        self.commands = {name: TyperCommand(name, help=verb.sentence) for name, (_, verb) in _VERBS.items()}
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self.commands = commands


def _command(panel: str, verb: Verb) -> Any:
    """Import a verb and return it as a command."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    with nothing_begun():
        function = verb.load()
    end = example(verb.example)
    if isinstance(function, typer.Typer):
        app.add_typer(function, name=verb.name, cls=Grouped, rich_help_panel=panel, epilog=end)
    else:
        settings = {"ignore_unknown_options": verb.takes_any}
        app.command(verb.name, context_settings=settings, rich_help_panel=panel, epilog=end)(function)
    command = typer.main.get_group(app).commands[verb.name]
    for each in [command, *getattr(command, "commands", {}).values()]:
        each.context_class = _Context
    return command


def summary(text: str | None) -> str:
    """Return the first paragraph of a help text in one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def example(text: str) -> str:
    """Return the end of a help text that shows commands as they are typed, a line each."""
    # The mark keeps click from joining the lines.
    lines = "\n".join(f"  {line}" for line in text.splitlines())
    return f"Example:\n\n\b\n{lines}"
