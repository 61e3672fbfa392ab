"""A process that checks one input after the other, and one that watches it: whatever happens to the first, the input is known.

Input `number` of a target and a seed is the same wherever it is drawn.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from tools.fuzz.target import Defect, Target

KEPT = 3
"""So many inputs of one kind of failure are kept."""
_BEGIN_S = 120.0
_LOOKS = 5
_LOOK_S = 0.01
_ADDRESSES_BYTES = 6 * 2**30
"""That a process may have, so that no input takes the machine with it."""


@dataclass(frozen=True)
class Bounds:
    """What an input may take: processor time, time on the wall after which it hangs, memory beyond what was taken before.

    On a busy machine an input is short of processor time rather than stuck: one that still gets some, and has not had
    `patience_s` of it, is waited for `PATIENCES` times as long; and one that gets none though it is ready to run, until it does.
    """

    limit_s: float = 3.0
    patience_s: float = 30.0
    most_bytes: int = 2**30


BOUNDS = Bounds()
PATIENCES = 10
LEAST_SHARE = 0.02
"""Of a processor: with less an input does not get on, but waits for something."""


@dataclass(frozen=True)
class Finding:
    """An input that was not answered as it should be, and the file that holds it."""

    target: str
    number: int
    kind: str
    details: str
    file: Path

    def __str__(self) -> str:
        return f"{self.target} {self.number}: {self.kind}\n{self.details.rstrip()}\n  input: {self.file}"


@dataclass
class Done:
    """How many inputs were checked in what time, and what was found."""

    inputs: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        failures = sum(self.kinds.values())
        kinds = f" of {len(self.kinds)} kinds" if failures else ""
        return f"{self.inputs} inputs in {self.seconds:.0f} s, {failures} failures{kinds}"


def input_of(target: Target, seed: int, number: int) -> bytes:
    """Draw an input."""
    return target.draw(Random(f"{target.name} {seed} {number}"))


def fuzz(
    target: Target,
    seed: int,
    seconds: float | None,
    inputs: int | None,
    out: Path,
    say: Callable[[Finding], None],
    bounds: Bounds = BOUNDS,
) -> Done:
    """Check inputs for so long, or so many; `say` hears of each failure that is kept in `out`."""
    begun, done, number = time.monotonic(), Done(), 0
    ends = float("inf") if seconds is None else begun + seconds
    # A copy of this process: one that was lost is followed by another at once.
    forked = multiprocessing.get_context("fork")
    while time.monotonic() < ends and number != inputs:
        ours, theirs = forked.Pipe()
        worker = forked.Process(target=_check_all, args=(theirs, target, seed, number, inputs, bounds), daemon=True)
        worker.start()
        theirs.close()
        # It says so when it is ready: what a process takes to begin is no input's fault.
        goes_on = ours.poll(_BEGIN_S) and ours.recv() is None
        while goes_on and time.monotonic() < ends and number != inputs:
            kind, details = _hear(ours, worker.pid or 0, bounds.patience_s)
            if kind:
                _note(done, target, seed, number, (kind, details), out, say)
            # One that was lost is not to blame for the next input.
            goes_on = kind not in _LOST
            number += 1
        ours.close()
        worker.kill()
        worker.join()
    done.inputs, done.seconds = number, time.monotonic() - begun
    return done


_HANGS, _DIED = "hangs", "died"
_LOST = (_HANGS, _DIED)


def _hear(worker: Connection, pid: int, patience_s: float) -> tuple[str, str]:
    """Return what came of the next input: kind and details of a failure."""
    begun_s, taken_s, waited = _processor_s(pid), 0.0, 0
    while not worker.poll(patience_s):
        before_s, taken_s = taken_s, _processor_s(pid) - begun_s
        gets_on = taken_s - before_s >= LEAST_SHARE * patience_s
        if not gets_on and _is_ready(pid):
            continue
        waited += 1
        if waited == PATIENCES or taken_s >= patience_s or not gets_on:
            return _HANGS, f"no answer within {waited * patience_s:g} s, of which {taken_s:.1f} s of processor time"
    try:
        kind, details = worker.recv()
        return str(kind), str(details)
    except (EOFError, ConnectionResetError):
        return _DIED, "the process that checked it died"


def _note(
    done: Done,
    target: Target,
    seed: int,
    number: int,
    failure: tuple[str, str],
    out: Path,
    say: Callable[[Finding], None],
) -> None:
    kind, details = failure
    done.kinds[kind] += 1
    if done.kinds[kind] > KEPT:
        return
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{target.name}-{seed}-{number}{target.suffix}"
    file.write_bytes(input_of(target, seed, number))
    done.findings.append(Finding(target.name, number, kind, details, file))
    say(done.findings[-1])


def _check_all(overseer: Connection, target: Target, seed: int, first: int, inputs: int | None, bounds: Bounds) -> None:
    """Check inputs from the first on, and say what came of each, until nobody listens any more."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES_BYTES, _ADDRESSES_BYTES))
    input_of(target, seed, first)
    overseer.send(None)
    number = first
    while inputs is None or number < inputs:
        data = input_of(target, seed, number)
        before_bytes, before_s = _peak_bytes(), time.process_time()
        kind, details = _outcome(target.check, data)
        taken_s, taken_bytes = time.process_time() - before_s, _peak_bytes() - before_bytes
        if not kind and taken_bytes > bounds.most_bytes:
            kind, details = "memory", f"{taken_bytes >> 20} MB of memory"
        if not kind and taken_s > bounds.limit_s:
            kind, details = "slow", f"{taken_s:.1f} s of processor time"
        try:
            overseer.send((kind, details))
        except (BrokenPipeError, ConnectionResetError):
            return
        number += 1


def _processor_s(pid: int) -> float:
    """Return what a process has had so far; see proc_pid_stat(5), fields 14 and 15."""
    return sum(map(int, _facts(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


def _is_ready(pid: int) -> bool:
    """Tell whether a process runs or would if it were let, rather than waits for something; field 3 of proc_pid_stat(5)."""
    for _ in range(_LOOKS):
        if _facts(pid)[:1] == ["R"]:
            return True
        # It may have been at a file just now.
        time.sleep(_LOOK_S)
    return False


def _facts(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on; none of a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _outcome(check: Callable[[bytes], None], data: bytes) -> tuple[str, str]:
    """Return kind and details of a failure, both empty if there is none. Where it was raised tells kinds apart."""
    try:
        check(data)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a panic of the data plane is no Exception
        # Where `require` was called tells more than where it stands.
        place = traceback.extract_tb(error.__traceback__)[-2 if isinstance(error, Defect) else -1]
        kind = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
        return kind, traceback.format_exc(limit=-3)[-3000:]
    return "", ""
