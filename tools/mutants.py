#!/usr/bin/env python3
"""Break the code in small ways, one at a time, and see whether the tests that concern it notice.

    tools/mutants.py [--sample N] [--seed N] [MODULE …]

Without modules, all of `SUBJECTS`. cosmic-ray makes the mutants of Python, cargo-mutants those of Rust; either is installed
when it is first needed. With `--sample` at most so many mutants of a module are tried, drawn by the seed. Everything happens in
one copy of the checkout below dataplane/target, so that a mutant of Rust is an incremental build, and at the lowest priority.
Survivors are printed as differences; docs/mutants.md says which may live. Exit code 1 if fewer than 90 % are killed in a module.
"""

from __future__ import annotations

import argparse
import ast
import fcntl
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "dataplane" / "target" / "mutants"
TOOLS = ROOT / "dataplane" / "target" / "tools"
COSMIC_RAY = "cosmic-ray==8.7.0"
CARGO_MUTANTS = "cargo-mutants@27.1.0"
LEAST_SHARE = 0.9
# A mutant that loops for ever is killed by the clock: so many times what the tests take otherwise, and no less than this.
PATIENCE, LEAST_S = 5, 20.0

KILLED, SURVIVED, UNVIABLE = "killed", "survived", "unviable"


@dataclass(frozen=True)
class Subject:
    """A module and the tests that must notice what becomes of it: files of pytest, or targets of `cargo test`."""

    module: str
    tests: tuple[str, ...]


# Its live tests make namespaces, which takes root.
_REAL_CLOCK = (
    "--features=live",
    *(f"--test={name}" for name in ("real_clock", "live_real_clock", "live_replace", "live_several_agents")),
)
SUBJECTS = (
    Subject("testbed/lab/endpoints.py", ("tests/unit/lab/test_endpoints.py",)),
    Subject("testbed/optics/fec.py", ("tests/unit/optics/test_fec.py",)),
    Subject("testbed/health.py", ("tests/unit/test_health.py",)),
    Subject("testbed/optics/lanes.py", ("tests/unit/optics/test_lanes.py",)),
    Subject("testbed/optics/loss.py", ("tests/unit/optics/test_loss.py",)),
    Subject("testbed/lab/circuits.py", ("tests/unit/lab/test_ocs.py",)),
    Subject("testbed/units.py", ("tests/unit/test_units.py",)),
    Subject("traffic/building.py", ("tests/unit/traffic/test_algorithms.py",)),
    Subject("dataplane/src/nic/rc/pending_naks.rs", ("--lib", "--test=selective_repeat")),
    Subject("dataplane/src/nic/rc/resend.rs", ("--lib", "--test=selective_repeat")),
    Subject("dataplane/src/credit.rs", ("--lib", "--test=credits")),
    Subject("dataplane/src/link/loss.rs", ("--lib", "--test=impairments")),
    Subject("dataplane/src/pause.rs", ("--lib", "--test=pfc", "--test=storm")),
    Subject("dataplane/src/timers/tournament.rs", ("--lib",)),
    Subject("dataplane/src/clock/lateness.rs", ("--lib",)),
    Subject("dataplane/src/clock/real/arrivals.rs", ("--lib",)),
    Subject("dataplane/src/clock/real/inlet.rs", ("--lib",)),
    Subject("dataplane/src/clock/real/pace.rs", ("--lib",)),
    Subject("dataplane/src/clock/real/transit.rs", ("--lib",)),
    Subject("dataplane/src/clock/real/lockstep.rs", ("--lib",)),
    *(
        Subject(f"dataplane/src/clock/real/{name}.rs", _REAL_CLOCK)
        for name in ("edge", "fidelity", "heartbeats", "incoming", "mod", "outgoing", "quiesce", "replace", "wiring")
    ),
)


@dataclass
class Tally:
    """How many mutants there are of a module, and what came of those that were tried."""

    module: str
    there_are: int
    killed: int = 0
    tried: int = 0
    survivors: list[str] = field(default_factory=list)

    def note(self, outcome: str, difference: str) -> None:
        """Count a mutant; one that does not build is none."""
        if outcome == UNVIABLE:
            return
        self.tried += 1
        self.killed += outcome == KILLED
        if outcome == SURVIVED:
            self.survivors.append(difference)
            print(difference.rstrip(), flush=True)

    @property
    def share(self) -> float:
        """The share that was killed; all of none."""
        return self.killed / self.tried if self.tried else 1.0

    def __str__(self) -> str:
        sampled = f", of {self.there_are} there are" if self.tried < self.there_are else ""
        return f"{self.module}: {self.killed} of {self.tried} killed, {self.share:.0%}{sampled}"


def run(
    command: Sequence[str | Path], cwd: Path, limit_s: float | None = None, environment: Mapping[str, str] | None = None
) -> int | None:
    """Run a command and all that it starts; return its status, None if it had to be ended at `limit_s`."""
    with open(TARGET / "log", "ab") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def listed(command: Sequence[str | Path], cwd: Path) -> str:
    """Return what a command prints."""
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def copy_checkout() -> Path:
    """Bring the copy of the checkout up to date; what did not change keeps its time, and need not be built again."""
    tree = TARGET / "tree"
    tree.mkdir(parents=True, exist_ok=True)
    names = listed(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).split("\0")
    extra = [path.relative_to(ROOT).as_posix() for path in (ROOT / "testbed").glob("_dataplane*.so")]
    for name in filter(None, [*names, *extra]):
        source, copy = ROOT / name, tree / name
        if not source.exists() and not source.is_symlink():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            copy.unlink(missing_ok=True)
            copy.symlink_to(source.readlink())
        elif not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copy(source, copy)
    return tree


def drawn(count: int, sample: int | None, seed: int) -> list[int]:
    """Return the numbers of the mutants to try, in order."""
    numbers = list(range(count))
    return numbers if sample is None or sample >= count else sorted(random.Random(seed).sample(numbers, sample))


# Python


def evaluated_never(source: str) -> list[tuple[int, int, int, int]]:
    """Return where annotations stand, from line and column to line and column: they are text that nothing evaluates."""
    if "from __future__ import annotations" not in source:
        return []
    notes: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg | ast.AnnAssign):
            notes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            notes.append(node.returns)
    return [(n.lineno, n.col_offset, n.end_lineno or 0, n.end_col_offset or 0) for n in notes if n is not None]


def mutate_python(subject: Subject, tree: Path, sample: int | None, seed: int) -> Tally:
    """Try the mutants that cosmic-ray makes of a module."""
    tool = TOOLS / "bin" / "cosmic-ray"
    if not tool.exists():
        run([sys.executable, "-m", "venv", TOOLS], ROOT)
        run([TOOLS / "bin" / "pip", "install", "--quiet", COSMIC_RAY], ROOT)
    tests = f"env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest -x -q -p pytest_timeout {' '.join(subject.tests)}"
    begun = time.monotonic()
    if run(tests.split(), tree, 600) != 0:
        raise SystemExit(f"{subject.module}: its tests fail without a mutant; see {TARGET / 'log'}")
    limit_s = max(LEAST_S, PATIENCE * (time.monotonic() - begun))
    settings, session = tree / "mutants.toml", tree / "mutants.sqlite"
    settings.write_text(
        f'[cosmic-ray]\nmodule-path = "{subject.module}"\ntimeout = {limit_s}\nexcluded-modules = []\n'
        f'test-command = "{tests}"\n[cosmic-ray.distributor]\nname = "local"\n'
    )
    session.unlink(missing_ok=True)
    if run([tool, "init", settings.name, session.name], tree) != 0:
        raise SystemExit(f"{subject.module}: no mutants; see {TARGET / 'log'}")
    notes = evaluated_never((tree / subject.module).read_text())
    with sqlite3.connect(session) as base:
        order = (
            "SELECT job_id, start_pos_row, start_pos_col FROM mutation_specs ORDER BY 2, 3, operator_name, occurrence"
        )
        jobs = [job for job, line, column in base.execute(order) if not any(inside(n, line, column) for n in notes)]
        kept = [jobs[number] for number in drawn(len(jobs), sample, seed)]
        for table in ("mutation_specs", "work_items"):
            base.execute(f"DELETE FROM {table} WHERE job_id NOT IN ({','.join('?' * len(kept))})", kept)
    if run([tool, "exec", settings.name, session.name], tree) != 0:
        raise SystemExit(f"{subject.module}: cosmic-ray failed; see {TARGET / 'log'}")
    tally = Tally(subject.module, len(jobs))
    with sqlite3.connect(session) as base:
        for outcome, difference in base.execute("SELECT test_outcome, diff FROM work_results"):
            tally.note(str(outcome).rpartition(".")[2].lower().replace("incompetent", UNVIABLE), difference or "")
    return tally


def inside(span: tuple[int, int, int, int], line: int, column: int) -> bool:
    """Return whether a place lies in a span of text."""
    return span[:2] <= (line, column) < span[2:]


# Rust


def mutate_rust(subject: Subject, tree: Path, sample: int | None, seed: int) -> Tally:
    """Try the mutants that cargo-mutants makes of a module."""
    tool = TOOLS / "bin" / "cargo-mutants"
    if not tool.exists():
        run(["cargo", "install", "--quiet", "--locked", "--root", TOOLS, CARGO_MUTANTS], ROOT)
    crate, file = tree / "dataplane", tree / subject.module
    inner = file.relative_to(crate).as_posix()
    options = ["mutants", "--dir", ".", "--list", "--json", "--diff", "--file", inner]
    mutants = json.loads(listed([tool, *options], crate))
    sound = file.read_text()
    begun = time.monotonic()
    if (outcome := noticed(subject, tree, None)) != SURVIVED:
        raise SystemExit(f"{subject.module}: {outcome} without a mutant; see {TARGET / 'log'}")
    begun = time.monotonic()
    noticed(subject, tree, None)
    limit_s = max(LEAST_S, PATIENCE * (time.monotonic() - begun))
    tally = Tally(subject.module, len(mutants))
    try:
        for number in drawn(len(mutants), sample, seed):
            difference = mutants[number]["diff"]
            patched = subprocess.run(
                ["patch", "--quiet", "--force", str(file)], input=difference, text=True, stdout=subprocess.DEVNULL
            )
            assert patched.returncode == 0, difference
            tally.note(noticed(subject, tree, limit_s), difference)
            file.write_text(sound)
    finally:
        file.write_text(sound)
    return tally


def noticed(subject: Subject, tree: Path, limit_s: float | None) -> str:
    """Build the tree as it is and run the tests of a subject."""
    crate = tree / "dataplane"
    # What is left of debugging information only takes time to link.
    environment = {"CARGO_TARGET_DIR": str(TARGET / "cargo"), "CARGO_INCREMENTAL": "1", "CARGO_PROFILE_DEV_DEBUG": "0"}
    cargo = ["cargo", "test", "--quiet", "--locked", "--jobs=1", *subject.tests]
    if run([*cargo, "--no-run"], crate, None, environment) != 0:
        return UNVIABLE
    return KILLED if run(cargo, crate, limit_s, environment) != 0 else SURVIVED


def main() -> int:
    """Try the modules that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(description="break the code in small ways: do the tests notice?")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="modules of the list, all of them without")
    parser.add_argument("--sample", type=int, metavar="N", help="try at most so many mutants of a module")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="by which they are drawn, 1 unless given")
    options = parser.parse_args()
    known = {subject.module: subject for subject in SUBJECTS}
    if unknown := [module for module in options.modules if module not in known]:
        parser.error(f"{unknown[0]} is not among {', '.join(known)}")
    os.nice(15)
    TARGET.mkdir(parents=True, exist_ok=True)
    with open(TARGET / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            parser.error(f"another run is at work in {TARGET}")
        return try_all([known[module] for module in options.modules or known], options.sample, options.seed)


def try_all(subjects: Sequence[Subject], sample: int | None, seed: int) -> int:
    """Try the mutants of some modules; return 1 if of one of them too few are killed."""
    tree = copy_checkout()
    tallies = []
    for subject in subjects:
        mutate = mutate_python if subject.module.endswith(".py") else mutate_rust
        tallies.append(mutate(subject, tree, sample, seed))
        print(tallies[-1], flush=True)
    return int(any(tally.share < LEAST_SHARE for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
