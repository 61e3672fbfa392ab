"""GOAL, the group operation assembly language of LogGOPSim and ATLAHS, as text: read, and written.

Grammar: spcl/LogGOPSim, src/LogGOPSim/txt2bin.re. A line has one statement. Calcs of one cpu run one after another.
"""

from __future__ import annotations

from pathlib import Path

from testbed.replay.form import Op, Trace
from testbed.replay.goal_reading import PS_PER_NS, Heard, read_whole, unheard
from testbed.replay.lines import Reading

_MOST_CPU = 255


def read_goal(path: Path, progress: Heard = unheard) -> Reading:
    """Read GOAL text. Raises ExperimentError, with file and line, for what is not in the grammar, and ranks that are missing."""
    return read_whole(path, is_binary=False, progress=progress)


def write_goal(trace: Trace) -> str:
    """Return a trace of calcs and messages as GOAL text; times are rounded to ns. Raises ValueError for a collective."""
    lines = [f"num_ranks {len(trace.ranks)}"]
    for rank, ops in enumerate(trace.ranks):
        lines.append(f"rank {rank} {{")
        cpus = _cpus(ops)
        for position, op in enumerate(ops):
            if op.kind == "calc":
                lines.append(f"l{position}: calc {round(op.amount / PS_PER_NS)} cpu {cpus[position]}")
            elif op.kind in ("send", "recv"):
                way = "to" if op.kind == "send" else "from"
                lines.append(f"l{position}: {op.kind} {op.amount}b {way} {op.peer} tag {op.tag}")
            else:
                raise ValueError(f"GOAL has no {op.kind}")
        for position, op in enumerate(ops):
            lines += [f"l{position} requires l{other}" for other in op.after]
            lines += [f"l{position} irequires l{other}" for other in op.begun]
        lines.append("}")
    return "\n".join(lines) + "\n"


def _cpus(ops: tuple[Op, ...]) -> list[int]:
    """Return the cpu of each op: that of its lane, or for calcs that share none, one of those that are left over."""
    used = {op.lane for op in ops if op.kind == "calc" and op.lane >= 0}
    free = [cpu for cpu in range(_MOST_CPU + 1) if cpu not in used] or [0]
    cpus, count = [], 0
    for op in ops:
        cpus.append(op.lane if op.lane >= 0 else free[count % len(free)])
        count += op.kind == "calc" and op.lane < 0
    return cpus
