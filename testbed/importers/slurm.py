"""Slurm's topology.conf: a tree of switches with the nodes below them, or blocks of nodes (topology.conf(5)).

    SwitchName=leaf0 Nodes=n[0-3]
    SwitchName=top Switches=leaf[0-1]

Names are host lists: `n[0-3,7]`, `r[1-2]n[01-16]`. The file says neither rates nor lengths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import PurePath

from testbed.importers.draft import Draft, Imported, LinkRule
from testbed.importers.text import MAX_NODES, Line, Text, shown

FABRIC = "fabric"
"""The switch that joins blocks, which a file of blocks does not name."""
_PART = re.compile(r"[^,\[\]]+|\[[^\[\]]*\]|,|[\[\]]")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_LISTS = ("nodes", "switches")
_NAMES = ("switchname", "blockname")


@dataclass
class _Entry:
    """A switch or a block, the line that it is on, and what is below it."""

    line: int
    is_block: bool
    nodes: list[str] = field(default_factory=list)
    switches: list[str] = field(default_factory=list)


def read_slurm(text: Text, rules: Sequence[LinkRule] = ()) -> Imported:
    """Return the lab of a topology.conf. Nodes below several switches are an error of the lab that follows."""
    draft = Draft(text.file, PurePath(text.file).stem, rules)
    entries = _entries(text, draft)
    if not entries:
        text.fail(0, "no SwitchName and no BlockName")
    first: dict[str, int] = {}
    for entry in entries.values():
        for node in entry.nodes:
            first.setdefault(node, entry.line)
    called = {node: draft.node(node, "host", line) for node, line in first.items()}
    switches = {name: draft.node(name, "switch", entry.line) for name, entry in entries.items()}
    notes = []
    for name, entry in entries.items():
        for node in entry.nodes:
            draft.link(called[node], switches[name], entry.line)
    blocks = [name for name, entry in entries.items() if entry.is_block]
    if len(blocks) > 1:
        line = entries[blocks[0]].line
        fabric = draft.node(FABRIC, "switch", line)
        for block in blocks:
            draft.link(switches[block], fabric, line)
        notes.append(f"blocks are joined by a switch {FABRIC}, of which the file does not speak")
    for name, entry in entries.items():
        for below in entry.switches:
            if below not in switches:
                text.fail(entry.line, f'no switch is called "{shown(below)}"')
            draft.link(switches[below], switches[name], entry.line)
    if not all("rate" in link for link in draft.links):
        notes.append("links without a rate or a length have those of labs: --rate and --length give others")
    return draft.imported(notes=notes)


def _entries(text: Text, draft: Draft) -> dict[str, _Entry]:
    """Return the switches and blocks of a file by name, in its order."""
    entries: dict[str, _Entry] = {}
    count = 0
    for line in joined(text):
        said: dict[str, str] = {}
        for word in line.words:
            key, equals, value = word.partition("=")
            if not equals or not value:
                text.fail(line.number, f'"{shown(word)}" is not Key=value')
            if key.lower() in said:
                text.fail(line.number, f"{shown(key)} is given twice")
            said[key.lower()] = value
        names = [said.pop(key) for key in _NAMES if key in said]
        is_block = line.words[0].lower().startswith("blockname")
        for key in said:
            if key not in _LISTS:
                draft.leave(shown(next(word for word in line.words if word.lower().startswith(f"{key}="))), line.number)
        if not names:
            continue
        below = {key: list(expand(text, line.number, said[key])) if key in said else [] for key in _LISTS}
        for name in expand(text, line.number, names[0]):
            if len(names) > 1 or name in entries:
                text.fail(line.number, f'"{shown(name)}" is named twice')
            entries[name] = _Entry(line.number, is_block, *below.values())
            count += 1 + sum(map(len, below.values()))
            if count > MAX_NODES:
                text.fail(line.number, f"more than {MAX_NODES} names")
    return entries


def joined(text: Text) -> Iterator[Line]:
    """Yield lines, those that end with a backslash joined to the next."""
    number, words = 0, list[str]()
    for line in text.lines():
        number = number or line.number
        *most, last = line.words
        if last.endswith("\\"):
            words += [*most, *([last[:-1]] if last != "\\" else [])]
            continue
        yield Line(number, (*words, *line.words))
        number, words = 0, []
    if words:
        yield Line(number, tuple(words))


def expand(text: Text, line: int, names: str) -> Iterator[str]:
    """Yield the names that a host list stands for, in its order; raise TopologyError for what is none, or too many."""
    parts: list[list[str]] = []
    count = 0
    for part in [*_PART.findall(names), ","]:
        if part == ",":
            if not parts:
                text.fail(line, f'"{shown(names)}" is not a host list')
            for each in product(*parts):
                count += 1
                if count > MAX_NODES:
                    text.fail(line, f'"{shown(names)}" stands for more than {MAX_NODES} names')
                yield "".join(each)
            parts = []
        elif part.startswith("[") and len(part) > 1:
            parts.append(list(_numbers(text, line, part[1:-1])))
        elif part in "[]":
            text.fail(line, f'"{shown(names)}" has a bracket without its other half')
        else:
            parts.append([part])


def _numbers(text: Text, line: int, ranges: str) -> Iterator[str]:
    """Yield the numbers of ranges like 1-4,07; those of a range are as wide as its first."""
    count = 0
    for word in ranges.split(","):
        match = _RANGE.fullmatch(word)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            text.fail(line, f'"{shown(word)}" is not a number or a range like 0-3')
        for number in range(int(match[1]), int(match[2] or match[1]) + 1):
            count += 1
            if count > MAX_NODES:
                text.fail(line, f'"{shown(ranges)}" stands for more than {MAX_NODES} numbers')
            yield f"{number:0{len(match[1])}d}"
