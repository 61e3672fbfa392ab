"""Nodes of jobs as Slurm writes them: host lists, and the blocks of a topology.conf (topology.conf(5)), one for each job.

    BlockName=train Nodes=s[1-8]
    BlockName=serve Nodes=s[9-10] # ranks s[9-10]/[0-3]

Nodes are in the order of the job's ranks. Slurm knows no accelerators: where a job does not have hosts whole, its ranks stand in
a comment. Lines of `scontrol show job` (`JobName=train NodeList=s[1-8]`) and of switches are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from testbed.importers.slurm import expand, joined
from testbed.importers.text import Text

_RANKS = re.compile(r"#\s*ranks\s+(\S+)\s*$")
_NAMES = ("blockname", "switchname", "jobname")
_NODES = ("nodes", "nodelist")
_NUMBERED = re.compile(r"(.*?)([0-9]+)")


def read_jobs(text: Text) -> dict[str, tuple[str, ...]]:
    """Return for each job of a file its ranks, or its hosts where the file says no more, in their order.

    Raises TopologyError, with file and line, for what is not a host list, and for a job that is there twice.
    """
    raw = text.text.split("\n")
    jobs: dict[str, tuple[str, ...]] = {}
    for line in joined(text):
        said = {key.lower(): value for key, _, value in (word.partition("=") for word in line.words)}
        name = next((said[key] for key in _NAMES if key in said), None)
        nodes = next((said[key] for key in _NODES if key in said), None)
        if name is None or nodes is None:
            continue
        if name in jobs:
            text.fail(line.number, f'"{name}" is named twice')
        stated = _RANKS.search(raw[line.number - 1])
        jobs[name] = tuple(expand(text, line.number, stated[1] if stated else nodes))
    if not jobs:
        text.fail(0, "no line with the name of a job and its nodes, as BlockName=train Nodes=s[1-8]")
    return jobs


def write_jobs(jobs: Mapping[str, Sequence[str]]) -> str:
    """Return a block for each job, by the texts of its ranks, as `h1` or `s1/3`."""
    return "".join(f"{line}\n" for line in _blocks(jobs))


def _blocks(jobs: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, ranks in jobs.items():
        hosts = list(dict.fromkeys(rank.partition("/")[0] for rank in ranks))
        stated = f" # ranks {rank_list(ranks)}" if list(ranks) != hosts else ""
        yield f"BlockName={name} Nodes={host_list(hosts)}{stated}"


def host_list(names: Iterable[str]) -> str:
    """Return names in their order as a host list: `s1`, `s2`, `s3`, `x` are `s[1-3],x`."""
    parts: list[tuple[str, list[str]]] = []
    for name in names:
        match = _NUMBERED.fullmatch(name)
        stem, number = (match[1], match[2]) if match else (name, "")
        if not number or not parts or parts[-1][0] != stem or not parts[-1][1]:
            parts.append((stem, []))
        if number:
            parts[-1][1].append(number)
    return ",".join(stem + _bracket(numbers) for stem, numbers in parts)


def _bracket(numbers: Sequence[str]) -> str:
    if len(numbers) < 2:
        return "".join(numbers)
    runs: list[list[str]] = []
    for number in numbers:
        # A range counts up by one, in numbers as wide as its first.
        if runs and number == f"{int(runs[-1][-1]) + 1:0{len(runs[-1][0])}d}":
            runs[-1].append(number)
        else:
            runs.append([number])
    return f"[{','.join(run[0] if len(run) == 1 else f'{run[0]}-{run[-1]}' for run in runs)}]"


def rank_list(ranks: Iterable[str]) -> str:
    """Return ranks in their order as a list of patterns: those of one host together, or one of each host."""
    pairs = [(host, number) for host, _, number in (rank.partition("/") for rank in ranks)]
    if not all(number for _, number in pairs):
        return host_list("/".join(filter(None, pair)) for pair in pairs)
    by_host = [
        (host, _bracket([number for _, number in group])) for host, group in groupby(pairs, lambda pair: pair[0])
    ]
    return ",".join(
        ",".join(f"{hosts}/{numbers}" for hosts in _apart(host_list(host for host, _ in group)))
        for numbers, group in groupby(by_host, lambda pair: pair[1])
    )


def _apart(hosts: str) -> list[str]:
    """Return the parts of a host list, which commas outside brackets part."""
    return re.findall(r"(?:\[[^\]]*\]|[^,\[])+", hosts)
