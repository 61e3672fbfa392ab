"""`make fuzz` in small: hostile inputs are answered or refused in words, and one that is not is kept in a file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tools.fuzz import mutation, overseer, replay, targets
from tools.fuzz.importers import FORMATS
from tools.fuzz.target import Target, require

SEED = 11
INPUTS = {
    "yaml": 12,
    "plans": 40,
    "bus": 150,
    "frames": 30,
    "captures": 150,
    **dict.fromkeys((*FORMATS, *replay.FORMATS), 100),
}


@pytest.mark.parametrize("name", targets.TARGETS)
def test_hostile_inputs_are_answered_or_refused_in_words(name: str) -> None:
    for number in range(INPUTS[name]):
        targets.TARGETS[name].check(overseer.input_of(targets.TARGETS[name], SEED, number))


@pytest.mark.parametrize("name", replay.FORMATS)
def test_traces_to_begin_with_are_traces(name: str) -> None:
    for sound in replay.FORMATS[name][0]:
        assert replay.attempt(name, sound if isinstance(sound, bytes) else sound.encode())


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_seed_draws_the_same_inputs_wherever_it_is_asked(name: str) -> None:
    first = [overseer.input_of(targets.TARGETS[name], SEED, number) for number in (3, 4)]
    assert [overseer.input_of(targets.TARGETS[name], SEED, number) for number in (4, 3)] == first[::-1]
    assert len({*first, overseer.input_of(targets.TARGETS[name], SEED + 1, 3)}) == 3


def test_any_document_can_be_changed() -> None:
    document = {"a": [1, {3: "a number as a key"}], 7: {}, "b": None}
    for seed in range(300):
        mutation.document(Random(seed), document)
        mutation.document(Random(seed), [])


WAYS = {
    "defect": "Defect at test_fuzz.py",
    "death": "died",
    "sleep": "hangs",
    "work": "slow",
    "memory": "memory",
}
LIMIT_S = 0.1
# Draws each of them once in seven inputs.
MISBEHAVING = 26


def draw_misbehaviour(random: Random) -> bytes:
    """Draw one of the ways in which nothing should be answered, or a sound one."""
    return random.choice([*WAYS, "sound", "sound"]).encode()


def misbehave(data: bytes) -> None:
    """Answer in the way that is asked for."""
    require(data != b"defect", "a defect that was put in")
    if data == b"death":
        os.kill(os.getpid(), signal.SIGKILL)
    elif data == b"sleep":
        time.sleep(60)
    elif data == b"work":
        ends = time.process_time() + 2 * LIMIT_S
        while time.process_time() < ends:
            pass
    elif data == b"memory":
        assert len(bytearray(b"x") * 200 * 2**20) > 0


def test_each_way_to_fail_is_found_and_kept(tmp_path: Path) -> None:
    broken = Target("broken", ".txt", draw_misbehaviour, misbehave)
    said: list[overseer.Finding] = []
    bounds = overseer.Bounds(limit_s=LIMIT_S, patience_s=6, most_bytes=100 * 2**20)
    done = overseer.fuzz(broken, MISBEHAVING, None, 7, tmp_path, said.append, bounds)
    assert done.inputs == 7 and done.findings == said
    kinds = {failure.file.read_text(): failure.kind.partition(":")[0] for failure in said}
    assert kinds == WAYS


def starve(data: bytes) -> None:
    """Work for a fifth of the time, as on a busy machine, or for none of it."""
    while data == b"work" and time.process_time() < 60:
        ends = time.process_time() + 0.02
        while time.process_time() < ends:
            pass
        time.sleep(0.08)
    if data == b"sleep":
        time.sleep(60)


@pytest.mark.parametrize(("data", "least_s", "most_s"), [(b"work", 0.05, 30), (b"sleep", 0, 0.05)])
def test_an_input_hangs_that_has_had_processor_time_or_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, least_s: float, most_s: float
) -> None:
    monkeypatch.setattr(overseer, "PATIENCES", 3)
    starved = Target("starved", ".txt", lambda random: data, starve)
    bounds = overseer.Bounds(limit_s=90, patience_s=0.4)
    done = overseer.fuzz(starved, 1, None, 1, tmp_path, lambda found: None, bounds)
    (found,) = done.findings
    waited_s, worked_s = (float(word) for word in re.findall(r"([\d.]+) s", found.details))
    assert found.kind == "hangs" and least_s <= worked_s <= most_s, found
    # What gets some is waited for three times as long.
    assert waited_s == (0.4 if data == b"sleep" else 1.2)


def test_an_input_that_is_ready_to_run_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of the lowest class on a busy machine gets nothing for minutes; this one sleeps and is taken for it."""
    monkeypatch.setattr(overseer, "_is_ready", lambda pid: True)
    starved = Target("starved", ".txt", lambda random: b"", lambda data: time.sleep(0.6))
    done = overseer.fuzz(starved, 1, None, 1, tmp_path, lambda found: None, overseer.Bounds(patience_s=0.1))
    assert (done.inputs, done.findings) == (1, [])


@pytest.mark.parametrize(("program", "ready"), [("while True: pass", True), ("input()", False)])
def test_a_process_is_ready_that_works_and_not_one_that_waits(program: str, ready: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", f"print(flush=True)\n{program}"], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None and process.stdout.readline()
        while not ready and overseer._facts(process.pid)[0] == "R":
            pass
        assert overseer._is_ready(process.pid) == ready
        process.kill()
