"""Draw hostile inputs by a seed and look at what becomes of each.

    python -m tools.fuzz [--seconds N | --inputs N] [--seed N] [--out DIR] [TARGET …]
    python -m tools.fuzz --again FILE TARGET

An input fails that ends in anything but an answer or a refusal in words: a panic, a traceback, an "internal error", a process
that dies, more time or memory than `overseer.Bounds`. Each is kept in a file. Exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path

from tools.fuzz.overseer import Finding, fuzz
from tools.fuzz.targets import TARGETS


def main() -> int:
    """Run the targets that are asked for, or one input again."""
    parser = argparse.ArgumentParser(prog="fuzz", description="hostile inputs for what takes input")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(TARGETS)}; all without")
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--seconds", type=float, default=10.0, help="how long, for each target; 10 unless given")
    bound.add_argument("--inputs", type=int, help="how many inputs instead")
    parser.add_argument("--seed", type=int, help="by which inputs are drawn; another each time unless given")
    parser.add_argument("--out", type=Path, default=Path("results/fuzz"), help="where failing inputs are kept")
    parser.add_argument("--again", type=Path, metavar="FILE", help="check the input in a file")
    options = parser.parse_args()
    names = [name for word in options.targets for name in word.split(",") if name] or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"{unknown[0]} is not among {', '.join(TARGETS)}")
    if options.again is not None:
        TARGETS[names[0]].check(options.again.read_bytes())
        print(f"{options.again}: answered as it should be")
        return 0
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    failed = 0
    for name in names:
        done = fuzz(
            TARGETS[name], seed, None if options.inputs else options.seconds, options.inputs, options.out, _print
        )
        failed += len(done.findings)
        print(f"{name}: seed {seed}, {done}", flush=True)
    return int(failed > 0)


def _print(finding: Finding) -> None:
    print(
        f"{finding}\n  again: {os.path.basename(sys.executable)} -m tools.fuzz --again {finding.file} {finding.target}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
