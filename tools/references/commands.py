"""A page for each verb: its help, and examples that a test runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer
import typer.core
import typer.main

from testbed.cli import app
from tools.references.markdown import COLUMNS, fence, page, prose

GROUPS = {
    "Run": ("run", "sweep", "campaign"),
    "Lab": (
        "deploy",
        "redeploy",
        "inspect",
        "exec",
        "cancel",
        "wait-for",
        "events",
        "capture",
        "impair",
        "images",
        "destroy",
        "save",
        "graph",
    ),
    "Check": (
        "validate",
        "explain",
        "schema",
        "list",
        "profiles",
        "link",
        "conformance",
        "headroom",
        "calibrate",
        "doctor",
    ),
    "Share": ("agent", "broker"),
}


@dataclass(frozen=True)
class Example:
    """Commands of one block; `mark` is what an HTML comment before it says of how it is run."""

    text: str
    mark: str = ""


ROOT = "needs root"
LIVE = "not run: it needs the lab that guides/labs.md brings up, whose test runs this command"
BROKER = "not run: it needs the broker of guides/sharing.md, whose test runs this command"
EXAMPLES = {
    "run": Example(
        "testbed run all_reduce -t two-dc -b 1M -e 4M -f 4\n"
        "testbed run incast -t incast -b 1M --set lossless.pfc=false   # exit code 1"
    ),
    "sweep": Example("testbed sweep incast -t two-dc --set workload.size=1M --over topology.length=1km,80km"),
    "campaign": Example("testbed campaign --seeds 2"),
    "deploy": Example("testbed deploy -t two-dc", LIVE),
    "redeploy": Example("testbed redeploy -t two-dc", LIVE),
    "inspect": Example("testbed inspect --name two-dc", LIVE),
    "exec": Example("testbed exec --name two-dc a1 -- ping -c 3 b1", LIVE),
    "wait-for": Example("testbed wait-for --name two-dc --timeout 60s", LIVE),
    "cancel": Example("testbed cancel --name two-dc", "not run: it ends a run that another command follows"),
    "events": Example("testbed events --name two-dc --ports", "not run: it follows a lab until Ctrl-C"),
    "capture": Example("testbed capture --name two-dc leaf-a:eth1 -w leaf.pcap --seconds 5", LIVE),
    "impair": Example("testbed impair set --name two-dc border-a:eth2 --delay 2ms --loss 1%", LIVE),
    "images": Example("testbed images build", "needs docker"),
    "destroy": Example("testbed destroy --name two-dc", LIVE),
    "save": Example("testbed save --name two-dc -o two-dc.yaml", LIVE),
    "graph": Example("testbed graph -t two-dc --html -o two-dc.html"),
    "validate": Example("testbed validate --explain two-dc:length=300km"),
    "explain": Example("testbed explain lossless.headroom"),
    "list": Example("testbed list topologies two-dc"),
    "schema": Example("testbed schema experiment"),
    "profiles": Example("testbed profiles 400g-zr"),
    "link": Example("testbed link 400g-zr --length 80km --ber 1e-3"),
    "conformance": Example("testbed conformance --list"),
    "headroom": Example("testbed headroom --rate 400G --length 80km --buffer 128MB --ports 2"),
    "calibrate": Example("testbed calibrate", ROOT),
    "doctor": Example("testbed doctor", ROOT),
    "agent": Example("testbed agent --name lab1", BROKER),
    "broker": Example("testbed broker up --agent lab1", BROKER),
}


def command_pages() -> dict[str, str]:
    """Return the overview and a page for each verb, by path."""
    group = _group()
    context: Any = group.make_context("testbed", [], resilient_parsing=True)
    context.terminal_width = context.max_content_width = COLUMNS
    made = {"cmd/index.md": page("Commands", prose(_ABOUT), fence(context.get_help(), "text"), *_overview(group))}
    for name, command in group.commands.items():
        shown = [fence(text, "text") for text in _helps(name, command, context)]
        made[f"cmd/{name}.md"] = page(f"testbed {name}", *shown, *_example(name))
    return made


def verbs() -> list[str]:
    """Return the verbs of the command line in the order of the groups, those that no group names at the end."""
    known = list(_group().commands)
    grouped = [name for names in GROUPS.values() for name in names if name in known]
    return grouped + [name for name in known if name not in grouped]


_ABOUT = """
Global options stand before the verb: `testbed --quiet deploy -t two-dc`. Those that name a broker have an environment
variable each. [Exit codes](../reference/exit-codes.md) are the same for every verb.
"""


def _group() -> typer.core.TyperGroup:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    return command


def _overview(group: typer.core.TyperGroup) -> Iterator[str]:
    named = {name for names in GROUPS.values() for name in names}
    rest = tuple(name for name in group.commands if name not in named)
    for title, names in {**GROUPS, "Other": rest}.items():
        lines = [
            f"- [{name}]({name}.md): {_first(group.commands[name].help)}" for name in names if name in group.commands
        ]
        if lines:
            yield f"## {title}"
            yield "\n".join(lines)


def _first(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def _helps(name: str, command: Any, parent: Any) -> Iterator[str]:
    """Yield the help of a command and of those below it."""
    context = type(parent)(command, info_name=name, parent=parent)
    context.terminal_width = context.max_content_width = COLUMNS
    yield command.get_help(context)
    for below, inner in getattr(command, "commands", {}).items():
        yield from _helps(below, inner, context)


def _example(name: str) -> Iterator[str]:
    example = EXAMPLES.get(name)
    if example is not None:
        yield "## Example"
        if example.mark:
            yield f"<!-- {example.mark} -->"
        yield fence(example.text, "sh")
