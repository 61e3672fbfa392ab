"""Help of the command line: verbs in groups, whole sentences at every width, defaults, and an example of each verb."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from testbed.cli import app
from testbed.commands.help import Commands, summary
from testbed.commands.table import VERBS, Verb

EVERY = tuple(itertools.chain.from_iterable(VERBS.values()))
GROUP = typer.main.get_command(app)
assert isinstance(GROUP, TyperGroup)
BELOW = [(verb.name, name) for verb in EVERY for name in getattr(GROUP.commands[verb.name], "commands", ())]
PAGES = [(), *((verb.name,) for verb in EVERY), *BELOW]


LOADED = """
import sys
from testbed.cli import app
try:
    app(sys.argv[1:])
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def modules_loaded(repo_root: Path, *arguments: str) -> set[str]:
    """Return what a command has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        cwd=repo_root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stderr.split())


def help_text(*names: str, width: int = 80) -> str:
    """Return the help of the verb that names lead to, in lines of a width."""
    command: Any = GROUP
    context: Any = command.make_context("testbed", [], resilient_parsing=True)
    context.terminal_width = context.max_content_width = width
    for name in names:
        command = command.commands[name]
        context = type(context)(command, info_name=name, parent=context)
    return str(command.get_help(context))


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_verbs_stand_in_their_groups_with_whole_sentences(width: int) -> None:
    text = help_text(width=width)
    sections = {title: text.index(f"\n{title}:\n") for title in VERBS}
    assert list(sections) == sorted(sections, key=lambda title: sections[title]) == ["Run", "Lab", "Check", "Share"]
    assert "..." not in text.partition("[ARGS]...")[2] and max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    for verb in EVERY:
        assert f" {verb.name} {summary(GROUP.commands[verb.name].help)}" in flat


def test_the_verbs_below_a_verb_have_whole_sentences_too() -> None:
    flat = " ".join(help_text("images", width=50).split())
    assert "build Build the images, on a Debian base from a registry, or from debootstrap where no registry" in flat
    assert "..." not in flat.partition("[ARGS]...")[2]


@pytest.mark.parametrize("verb", EVERY, ids=lambda verb: verb.name)
def test_the_help_of_a_verb_ends_with_an_example_to_copy(verb: Verb) -> None:
    text = help_text(verb.name, width=120)
    shown = [line.strip() for line in text.partition("Example:\n")[2].splitlines() if line.strip()]
    assert shown == verb.example.splitlines()
    # Global options come before the verb, and what makes its input before its own line.
    assert all(line.startswith("testbed ") for line in shown)
    assert re.match(rf"testbed (--\S+ [^-]\S* )*{verb.name}( |$)", shown[-1])


@pytest.mark.parametrize("names", BELOW, ids="-".join)
def test_the_help_of_a_verb_below_a_verb_ends_with_an_example_that_is_accepted(names: tuple[str, str]) -> None:
    text = help_text(*names, width=120)
    (shown,) = [line.strip() for line in text.partition("Example:\n")[2].splitlines() if line.strip()]
    (
        program,
        *path,
    ) = shown.split()[:3]
    assert (program, *path) == ("testbed", *names)
    command: Any = GROUP
    for name in names:
        command = command.commands[name]
    command.make_context(names[-1], shlex.split(shown)[3:])


@pytest.mark.parametrize("names", PAGES, ids="-".join)
def test_names_with_hyphens_stay_whole(names: tuple[str, ...]) -> None:
    text = help_text(*names, width=80)
    assert "\u2011" not in text
    assert not [line for line in text.splitlines() if re.search(r"\w-$", line)]


@pytest.mark.parametrize("names", PAGES, ids="-".join)
def test_usage_names_arguments_in_capitals_and_brackets_them_once(names: tuple[str, ...]) -> None:
    usage = help_text(*names, width=400).partition("\n")[0]
    assert not re.search(r"\[\[|…\]|\[[a-z]+\]|\{[a-z]", usage), usage


@pytest.mark.parametrize(
    ("verb", "default"),
    [
        ("run", "[default: (the experiment's, else 1MiB)]"),
        ("run", "[default: (the experiment's, else virtual)]"),
        ("sweep", "[default: (all processors); x>=1]"),
        ("campaign", "[default: 300;"),
        ("headroom", "[default: 32MB]"),
    ],
)
def test_defaults_are_shown(verb: str, default: str) -> None:
    assert default in help_text(verb, width=200)


@pytest.mark.parametrize(
    ("arguments", "loaded"), [(["--help"], set()), (["schema", "--help"], {"testbed.commands.schema"})]
)
def test_help_imports_the_verb_that_it_is_about_and_no_other(
    repo_root: Path, arguments: list[str], loaded: set[str]
) -> None:
    modules = modules_loaded(repo_root, *arguments)
    verbs = {f"testbed.commands.{verb.function.partition(':')[0]}" for verb in EVERY}
    assert modules & verbs == loaded
    assert not modules & {"numpy", "testbed._dataplane"}
    assert bool(modules & {"pydantic", "ruamel.yaml", "asyncio"}) == bool(loaded)


def test_a_verb_is_imported_by_its_name_and_known_without() -> None:
    commands = Commands()
    assert len(commands) == len(EVERY) and list(commands) == [verb.name for verb in EVERY]
    assert "headroom" in commands and "head" not in commands
    assert commands["headroom"] is commands["headroom"] and commands.get("head") is None
