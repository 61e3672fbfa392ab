"""Ranks as files write them: `h1`, `h1/3` for its fourth accelerator, or a pattern like `s[1-8]/[0-7]`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, WithJsonSchema

from testbed.errors import nearest
from testbed.lab.hosts import Host

_TEXT = r"[a-z0-9-]|\[[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*\]"
_PATTERN = re.compile(rf"((?:{_TEXT})+)(?:/((?:[0-9]+|\[[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*\])))?")
_PART = re.compile(r"\[([^\]]*)\]")
MAX_RANKS = 65_536


class Rank(NamedTuple):
    """An accelerator of a host; written without its number where the host has no other."""

    host: str
    accelerator: int
    alone: bool = True

    def __str__(self) -> str:
        return self.host if self.alone else f"{self.host}/{self.accelerator}"


def check_pattern(value: object) -> str:
    """Return a rank or a pattern of ranks as written; raise ValueError if it is neither."""
    if not isinstance(value, str) or _PATTERN.fullmatch(value) is None:
        raise ValueError(f'"{value}" is not a rank; write h1, h1/3 or a pattern like s[1-8]/[0-7]')
    for body in _PART.findall(value):
        for part in body.split(","):
            low, dash, high = part.partition("-")
            if dash and int(high) < int(low):
                raise ValueError(f'"{value}": the range {part} is empty')
    if _count(value) > MAX_RANKS:
        raise ValueError(f'"{value}" stands for more than {MAX_RANKS} ranks')
    return value


RankPattern = Annotated[
    str,
    BeforeValidator(check_pattern),
    WithJsonSchema({"type": "string", "pattern": f"^{_PATTERN.pattern}$", "examples": ["h1", "h1/3", "s[1-8]/[0-7]"]}),
]


def _values(body: str) -> Iterator[str]:
    """Yield the numbers of the inside of a bracket; those of a range have as many digits at least as its first."""
    for part in body.split(","):
        low, dash, high = part.partition("-")
        if not dash:
            yield low
            continue
        yield from (str(number).zfill(len(low)) for number in range(int(low), int(high) + 1))


def _count(pattern: str) -> int:
    count = 1
    for body in _PART.findall(pattern):
        ends = (part.partition("-") for part in body.split(","))
        count *= sum(int(high or low) - int(low) + 1 for low, _, high in ends)
    return count


def expand(pattern: str) -> list[str]:
    """Return what a pattern stands for, the last bracket counting fastest."""
    pieces = _PART.split(pattern)
    choices = [list(_values(piece)) if index % 2 else [piece] for index, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def ranks_on(host: Host) -> list[Rank]:
    """Return the ranks that a host can have, one an accelerator."""
    return [Rank(host.name, number, host.accelerators == 1) for number in range(host.accelerators)]


def local_ranks(ranks: Sequence[Rank]) -> int:
    """Return how many ranks each host has one after the other, where that is the same for all; 1 where it is not."""
    groups = [(host, len(list(group))) for host, group in itertools.groupby(ranks, key=lambda rank: rank.host)]
    alike = len({host for host, _ in groups}) == len(groups) and len({count for _, count in groups}) == 1
    return groups[0][1] if alike else 1


def select(patterns: Sequence[str], hosts: Mapping[str, Host]) -> tuple[list[Rank], list[str]]:
    """Return the ranks that patterns name, in their order, and what is wrong with those that are not there.

    A host without a number stands for all of its accelerators.
    """
    chosen: list[Rank] = []
    faults = []
    for text in itertools.chain.from_iterable(map(expand, patterns)):
        name, slash, number = text.partition("/")
        host = hosts.get(name)
        if host is None:
            faults.append(f'no host "{name}"{nearest(name, list(hosts))}')
            continue
        ranks = ranks_on(host)
        if not slash:
            chosen += ranks
        elif int(number) < len(ranks):
            chosen.append(ranks[int(number)])
        else:
            has = f"{name} has {len(ranks)} accelerator{'' if len(ranks) == 1 else 's'}"
            faults.append(f"no rank {text}: {has}, and they count from 0")
    return chosen, faults
