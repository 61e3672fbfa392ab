"""A page for each verb: its help, and examples that a test runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import typer
import typer.core
import typer.main

from testbed.cli import app
from testbed.commands.help import summary
from testbed.commands.table import VERBS, Verb
from tools.references.markdown import COLUMNS, fence, page, prose

LIVE = "needs root"
BROKER = "needs a broker"
MARKS = {
    **dict.fromkeys(
        ("deploy", "redeploy", "inspect", "exec", "hostfile", "wait-for", "capture", "impair", "destroy", "save"), LIVE
    ),
    **dict.fromkeys(("agent", "broker"), BROKER),
    **dict.fromkeys(("calibrate", "doctor"), "needs root"),
    "cancel": LIVE,
    "dut": "not run: it asks a server",
    "events": LIVE,
    "images": "needs docker",
    "import": "not run: it reads files of another tool",
    "otg": "not run: it serves until it is interrupted",
    "replay": "not run: it reads files of another tool",
}
"""What an HTML comment before the example of a verb says of how a test runs it; nothing of one that needs nothing."""


def command_pages() -> dict[str, str]:
    """Return the overview and a page for each verb, by path."""
    group = _group()
    context: Any = group.make_context("testbed", [], resilient_parsing=True)
    context.terminal_width = context.max_content_width = COLUMNS
    made = {"cmd/index.md": page("Commands", prose(_ABOUT), fence(context.get_help(), "text"), *_overview(group))}
    for verb in itertools.chain.from_iterable(VERBS.values()):
        command = group.commands[verb.name]
        command.epilog = None  # the page shows the example by itself
        shown = [fence(text, "text") for text in _helps(verb.name, command, context)]
        made[f"cmd/{verb.name}.md"] = page(f"testbed {verb.name}", *shown, *_example(verb))
    return made


_ABOUT = """
Global options stand before the verb: `testbed --quiet deploy -t two-dc`. Those that name a broker have an environment
variable each. [Exit codes](../reference/exit-codes.md) are the same for every verb.
"""


def _group() -> typer.core.TyperGroup:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    return command


def _overview(group: typer.core.TyperGroup) -> Iterator[str]:
    for title, verbs in VERBS.items():
        yield f"## {title}"
        yield "\n".join(f"- [{verb.name}]({verb.name}.md): {summary(group.commands[verb.name].help)}" for verb in verbs)


def _helps(name: str, command: Any, parent: Any) -> Iterator[str]:
    """Yield the help of a command and of those below it."""
    context = type(parent)(command, info_name=name, parent=parent)
    context.terminal_width = context.max_content_width = COLUMNS
    yield command.get_help(context)
    for below, inner in getattr(command, "commands", {}).items():
        yield from _helps(below, inner, context)


def _example(verb: Verb) -> Iterator[str]:
    yield "## Example"
    if mark := MARKS.get(verb.name):
        yield f"<!-- {mark} -->"
    yield fence(verb.example, "sh")
