"""flow.txt of the ns-3 family that began with HPCC: `src dst pg dport size start`, sizes in bytes, starts in seconds.

The form without dport, five numbers, is ConWeave's. Time begins with the first flow.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

from testbed.importers.draft import counted
from testbed.importers.text import shown
from testbed.replay.form import MAX_AMOUNT, MAX_RANKS, Op, Trace
from testbed.replay.lines import Lines, Reading

PS_PER_S = 10**12
_LONGEST_S = 10**6
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{0,15})?", re.ASCII)


def read_flows(path: Path) -> Reading:
    """Read flow.txt. Raises ExperimentError, with the line, for a count that disagrees and flows that are out of order."""
    lines = Lines(path)
    stated: int | None = None
    flows: list[tuple[int, int, int, int, int]] = []
    groups: dict[int, int] = {}
    stated_line = line = 0
    for line, text in lines.lines():
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        if stated is None:
            stated, stated_line = _whole(lines, line, "the number of flows", words[0], MAX_AMOUNT), line
            if len(words) > 1:
                lines.fail(line, f'"{shown(text)}": the first line has the number of flows alone')
            continue
        if len(words) not in (5, 6):
            lines.fail(line, f"{len(words)} words, not src dst pg dport size start, nor those without dport")
        lines.count(line)
        src, dst = (_whole(lines, line, "the host", word, MAX_RANKS - 1) for word in words[:2])
        pg, size = _whole(lines, line, "pg", words[2], 7), _whole(lines, line, "the size", words[-2], MAX_AMOUNT)
        if src == dst or not size:
            lines.fail(line, f"a flow of {size} bytes from {src} to {dst}")
        if len(words) == 6:
            _whole(lines, line, "dport", words[3], 65_535)
        start_ps = _start_ps(lines, line, words[-1])
        if flows and start_ps < flows[-1][3]:
            lines.fail(line, "it starts before the flow above it; flows are sorted by start")
        groups.setdefault(pg, line)
        flows.append((src, dst, size, start_ps, line))
    if stated is None:
        lines.fail(line, "no flows: the first line has their number")
    if stated != len(flows):
        lines.fail(stated_line, f"{stated} flows, and there are {len(flows)}")
    if not flows:
        lines.fail(stated_line, "no flows")
    for group, first in sorted(groups.items())[1:]:
        lines.leave(f"pg {group}: all flows travel on one priority", first)
    notes = [f"time begins with the first flow, at {Decimal(flows[0][3]) / PS_PER_S:f} s"] if flows[0][3] else []
    took = (counted(len(flows), "flow"), f"pg {min(groups)} as the lossless priority")
    return Reading(_trace(str(path), flows), took, lines.remainder.all(), tuple(notes))


def _trace(file: str, flows: list[tuple[int, int, int, int, int]]) -> Trace:
    count = 1 + max(max(src, dst) for src, dst, *_ in flows)
    ops: list[list[Op]] = [[] for _ in range(count)]
    for number, (src, dst, size, start_ps, line) in enumerate(flows):
        after: tuple[int, ...] = ()
        begin_ps = start_ps - flows[0][3]
        if begin_ps:
            ops[src].append(Op("calc", begin_ps, line=line))
            after = (len(ops[src]) - 1,)
        ops[src].append(Op("send", size, dst, number, number, after, (), line))
        ops[dst].append(Op("recv", size, src, number, line=line))
    return Trace((file,), tuple(map(tuple, ops))).check()


def _whole(lines: Lines, line: int, what: str, word: str, most: int) -> int:
    if not word.isascii() or not word.isdecimal() or len(word) > 19 or int(word) > most:
        lines.fail(line, f'{what} "{shown(word)}" is not a whole number from 0 to {most}')
    return int(word)


def _start_ps(lines: Lines, line: int, word: str) -> int:
    if _NUMBER.fullmatch(word) is None or Decimal(word) > _LONGEST_S:
        lines.fail(line, f'the start "{shown(word)}" is not a number of seconds up to {_LONGEST_S}')
    return round(Decimal(word) * PS_PER_S)
