"""Completion in the shell: what an argument can be, and what bash needs beside it.

`testbed --install-completion` teaches bash, zsh or fish to ask; a shell then starts `testbed` with `_TESTBED_COMPLETE` in
its environment at every press of the key. So a function here reads files at most: it opens no data plane and asks no agent.
"""

from __future__ import annotations

import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from testbed.errors import TestbedError

VARIABLE = "_TESTBED_COMPLETE"
Choice = tuple[str, str]
"""What may stand there, and what it is."""

# Bash takes a word apart at these.
_BREAKS = (":", "=")
_MORE = "…"
_DESCRIPTION_CHARS = 64
# What needs no quoting in any of the shells.
_PLAIN = re.compile(r"[\w./@+,-]+")


def _quiet(find: Callable[[typer.Context, str], Iterable[Choice]]) -> Callable[[typer.Context, str], list[Choice]]:
    """Offer what begins as the word does; nothing where files cannot be read or are wrong."""

    @wraps(find)
    def offer(ctx: typer.Context, incomplete: str) -> list[Choice]:
        try:
            return [(word, _short(about)) for word, about in find(ctx, incomplete) if word.startswith(incomplete)]
        except (TestbedError, OSError, KeyError, TypeError, ValueError):
            return []

    return offer


def _short(about: str) -> str:
    """Return a description in one line; typer would break a longer one, and a shell take its end for a word."""
    return textwrap.shorten(about, _DESCRIPTION_CHARS, placeholder=_MORE)


@_quiet
def topology(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer generators, their parameters behind a colon, labs that ship, and YAML files."""
    from testbed import topologies

    name, colon, text = incomplete.partition(":")
    generators = topologies.generators()
    if colon and name in generators:
        before, comma, last = text.rpartition(",")
        head = f"{name}:{before}{comma}"
        given = {item.partition("=")[0] for item in before.split(",")}
        if last.partition("=")[0] in ("profile", "local-profile") and "=" in last:
            yield from ((f"{head}{last.partition('=')[0]}={known}", about) for known, about in _profiles())
        for key, parameter in generators[name].parameters.items():
            if key not in given:
                yield f"{head}{key}=", parameter.help
        return
    yield from ((known, generator.summary) for known, generator in generators.items())
    yield from ((known, "lab that ships with the testbed") for known in topologies.files())
    yield from _files(incomplete)


@_quiet
def experiment(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer collectives, experiments that ship, and YAML files."""
    from testbed import topologies, traffic

    yield from ((name, collective.about) for name, collective in traffic.COLLECTIVES.items())
    yield from ((name, "experiment that ships with the testbed") for name in topologies.experiments())
    yield from _files(incomplete)


@_quiet
def lab_or_experiment(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer what `validate` takes."""
    from testbed import topologies

    yield from topology(ctx, incomplete)
    yield from ((name, "experiment that ships with the testbed") for name in topologies.experiments())


@_quiet
def wide_area_topology(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer the topologies of the package topohub, family by family."""
    from testbed.importers import topohub

    if "/" not in incomplete:
        yield from ((f"{family}/", "family") for family in sorted({name.split("/")[0] for name in topohub.names()}))
        return
    yield from ((name, "") for name in sorted(topohub.names()))


@_quiet
def profile(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer link profiles."""
    yield from _profiles()


@_quiet
def medium(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer media, for the cable of a link."""
    from testbed.optics.catalogue import load_catalogue

    yield from ((name, cable.about) for name, cable in load_catalogue().cables.items())


@_quiet
def listed(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer the names in the list that `testbed list` is asked for."""
    from testbed import topologies, traffic
    from testbed.lab.switches import named_switches

    kind = str(ctx.params.get("kind") or "")
    known: Mapping[str, Callable[[], Iterable[Choice]]] = {
        "topologies": lambda: [*_summaries(topologies.generators()), *((name, "") for name in topologies.files())],
        "collectives": lambda: ((name, collective.about) for name, collective in traffic.COLLECTIVES.items()),
        "profiles": _profiles,
        "media": lambda: medium(ctx, incomplete),
        "switches": lambda: ((name, switch.about) for name, switch in named_switches().items()),
        "policies": _policies,
        "settings": _settings,
    }
    yield from known[kind]()


@_quiet
def policies(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer policies that schedule jobs, behind those that stand before the last comma or plus."""
    from testbed.experiment.placements import JOINER

    head = incomplete[: 1 + max(incomplete.rfind(","), incomplete.rfind(JOINER))]
    yield from ((f"{head}{name}", about) for name, about in _policies())


@_quiet
def setting(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer settings of an experiment with the equals sign behind them."""
    yield from ((f"{key}=", sentence) for key, sentence in _settings())


@_quiet
def key(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer keys of experiments and labs."""
    from testbed.lab.file import LabFile
    from testbed.schema.keys import EACH, keys_of

    yield from _settings()
    yield from ((known.path.replace(EACH, ""), known.sentence) for known in keys_of(LabFile))


@_quiet
def lab(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer the labs that the agent of this machine has."""
    yield from ((name, "lab of this machine") for name in _ledger().names())


@_quiet
def node(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer the nodes of the lab that is named."""
    yield from ((name, kind) for name, kind, _ in _nodes(ctx))


@_quiet
def switch(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer the switches of the lab that is named."""
    yield from ((name, kind) for name, kind, _ in _nodes(ctx) if kind == "switch")


@_quiet
def port(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer the ports of the lab that is named."""
    yield from ((f"{name}:{each}", f"port of a {kind}") for name, kind, ports in _nodes(ctx) for each in ports)


@_quiet
def switch_port(ctx: typer.Context, incomplete: str) -> Iterator[Choice]:
    """Offer the ports of the switches of the lab that is named."""
    switches = ((name, ports) for name, kind, ports in _nodes(ctx) if kind == "switch")
    yield from ((f"{name}:{each}", "") for name, ports in switches for each in ports)


def _summaries(generators: Mapping[str, Any]) -> Iterator[Choice]:
    return ((name, generator.summary) for name, generator in generators.items())


def _profiles() -> Iterator[Choice]:
    from testbed.optics.catalogue import load_catalogue

    return ((name, entry.about) for name, entry in load_catalogue().profiles.items())


def _policies() -> Iterator[Choice]:
    from testbed.scheduling import registry

    return ((name, registry.about(name)) for name in registry.names())


def _settings() -> Iterator[Choice]:
    from testbed.experiment.file import Experiment
    from testbed.schema.keys import EACH, keys_of

    return ((key.path, key.sentence) for key in keys_of(Experiment) if not key.section and EACH not in key.path)


def _files(incomplete: str) -> Iterator[Choice]:
    """Yield the YAML files, and the folders, of the folder that a word names."""
    folder = incomplete.rpartition("/")[0]
    shown = f"{folder}/" if "/" in incomplete else ""
    for path in sorted(Path(shown or ".").iterdir()):
        if path.name.startswith(".") or _PLAIN.fullmatch(path.name) is None:
            continue
        if path.suffix in (".yaml", ".yml"):
            yield f"{shown}{path.name}", "file"
        elif shown and path.is_dir():
            yield f"{shown}{path.name}/", "folder"


def _ledger() -> Any:
    from testbed.agent.ledger import Ledger, default_state_dir

    return Ledger(default_state_dir())


def _nodes(ctx: typer.Context) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield name, kind and ports of each node of the lab that --name or -t names."""
    name, spec = ctx.params.get("name"), ctx.params.get("topology")
    if name:
        record = _ledger().read(str(name))
        for node in record.plan["nodes"] if record else ():
            yield node["name"], node["kind"], [each["name"] for each in node["ports"]]
    elif spec:
        from testbed.lab.topology import load_lab

        known = load_lab(str(spec))
        yield from ((node.name, node.kind, known.ports[node.name]) for node in known.nodes)


@contextmanager
def words_of_bash() -> Iterator[None]:
    """Give a completion for bash whole words, and bash what stands behind the last sign at which it takes words apart.

    Does nothing unless bash asks. A word that may go on is offered twice, so that bash sets no space behind it.
    """
    if os.environ.get(VARIABLE) != "complete_bash":
        yield
        return
    words, place = whole_words(os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"]))
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(words), str(place)
    written = io.StringIO()
    try:
        with redirect_stdout(written):
            yield
    finally:
        offered = behind_breaks(words[place] if place < len(words) else "", written.getvalue().splitlines())
        if len(offered) == 1 and offered[0].endswith((*_BREAKS, "/")):
            offered.append(offered[0] + _MORE)
        sys.stdout.write("".join(f"{word}\n" for word in offered))


def whole_words(words: Sequence[str], place: int) -> tuple[list[str], int]:
    """Return words with those put together that bash took apart at a colon or an equals sign, and where `place` is now."""
    whole: list[str] = []
    now = place
    for index, word in enumerate(words):
        if whole and index > 1 and (word.startswith(_BREAKS) or (whole[-1].endswith(_BREAKS) and word)):
            whole[-1] += word
            now -= index <= place
        else:
            whole.append(word)
    return whole, now


def behind_breaks(word: str, offered: Sequence[str]) -> list[str]:
    """Return what is offered for a word, without what bash has as words of its own."""
    if word.startswith("--"):
        word = word.partition("=")[2]
    head = word[: max(word.rfind(sign) for sign in _BREAKS) + 1]
    return [each.removeprefix(head) for each in offered if each]
