"""Count the megabytes a second that a trace of GOAL is read at, onto disk as a replay has it, and the ops that are matched.

The trace is of a ring whose ranks compute, send to the next and receive from the one before, step by step, with long labels.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import BenchError
from testbed.replay.streamed import MOST_OPS

ROUNDS = 3
MEGABYTES = 64
RANKS = 16
GOAL_MB_PER_S = 100
_PIECE_BYTES = 2**23


def compose(path: Path, megabytes: int, ranks: int = RANKS) -> int:
    """Write a trace of about so many megabytes, and return how many ops it has."""
    steps = megabytes * 10**6 // (ranks * len(_step(0, 1, ranks)))
    with path.open("w", encoding="ascii") as file:
        file.write(f"num_ranks {ranks}\n")
        for rank in range(ranks):
            file.write(f"rank {rank} {{\n")
            file.writelines(_step(rank, number, ranks) for number in range(steps))
            file.write("}\n")
    return 3 * steps * ranks


def _step(rank: int, number: int, ranks: int) -> str:
    """Return the statements of a step of a rank, which comes after the step before."""
    own, before = f"rank{rank}_step{number:07}_layer", f"rank{rank}_step{number - 1:07}_layer"
    text = (
        f"{own}_forward_compute: calc 2000 cpu 0\n"
        f"{own}_ring_send: send 4096b to {(rank + 1) % ranks} tag {number % 64} cpu 0 nic 0\n"
        f"{own}_ring_receive: recv 4096b from {(rank - 1) % ranks} tag {number % 64} cpu 0 nic 0\n"
        f"{own}_ring_send requires {own}_forward_compute\n"
        f"{own}_ring_receive requires {own}_forward_compute\n"
    )
    if number:
        text += f"{own}_forward_compute requires {before}_ring_send\n"
        text += f"{own}_forward_compute requires {before}_ring_receive\n"
    return text


def measure(rounds: int = ROUNDS, megabytes: int = MEGABYTES) -> dict[str, Any]:
    """Read and match a trace `rounds` times; return the median rates. Raises BenchError if it is not read whole."""
    from testbed._dataplane import GoalTrace

    reading, matching = [], []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ring.goal"
        ops = compose(path, megabytes)
        length = path.stat().st_size
        for _ in range(rounds):
            begun = time.perf_counter()
            trace = GoalTrace(str(path), False, MOST_OPS)
            while not trace.read(_PIECE_BYTES):
                pass
            read = time.perf_counter()
            while not trace.match_messages(2**16):
                pass
            reading.append(read - begun)
            matching.append(time.perf_counter() - read)
            if trace.ops() != ops:
                raise BenchError(f"{trace.ops()} ops were read of {ops}")
    return {
        "megabytes": length / 10**6,
        "ops": ops,
        "read_mb_per_s": length / 10**6 / statistics.median(reading),
        "matched_ops_per_s": ops / statistics.median(matching),
        "rounds": rounds,
    }
