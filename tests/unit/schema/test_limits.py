"""Input beyond all bounds is refused before it is understood, and nothing that has begun outlives a wish to end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import units
from testbed.bus import messages
from testbed.commands.arguments import check_arguments
from testbed.commands.events import Digest
from testbed.errors import ExperimentError, TopologyError, UnitError, UsageError
from testbed.experiment.file import new_experiment
from testbed.schema.source import MAX_BYTES, MAX_VALUES, Source, parse_yaml, read_yaml
from testbed.study import parallel


def read(text: str) -> Source:
    return parse_yaml(text, "lab.yaml", TopologyError)


@pytest.mark.filterwarnings("error")
def test_an_anchor_that_is_set_anew_means_the_later_one_below() -> None:
    """YAML 1.2, section 7.1. Its library says so to the user as a warning about a line of its own."""
    assert read("a: &x 1\nb: *x\nc: &x 2\nd: *x").data == {"a": 1, "b": 1, "c": 2, "d": 2}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        pytest.param("a:\n" + "- 1\n" * MAX_VALUES, MAX_VALUES - 1, "more than 50000 keys and values", id="block"),
        pytest.param("a: [" + "1," * (MAX_BYTES // 2 - 8) + "]", 1, "more than 50000 keys and values", id="flow"),
        pytest.param("a: &x [" + "1," * 300 + "]\nb: [" + "*x," * 300 + "]", 1, "more than 50000", id="aliases"),
        pytest.param("[" * (MAX_BYTES - 1), 1, "nested deeper than 24 levels", id="depth"),
        pytest.param("? " * 5000, 1, "nested deeper than 24 levels", id="keys"),
        pytest.param("a:\n " + "!" * 2000, 2, "a tag of more than 1000 characters", id="tag"),
        pytest.param("#" * (MAX_BYTES + 1), 0, "larger than 1048576 bytes", id="bytes"),
    ],
)
def test_bounds_bite_before_the_rest_is_read(text: str, line: int, said: str) -> None:
    began = time.process_time()
    with pytest.raises(TopologyError, match=said) as caught:
        read(text)
    assert time.process_time() - began < 10
    assert caught.value.faults[0].line == line


def test_the_bound_on_bytes_holds_for_four_mebibytes_of_list(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("a: [" + "1," * (2 * MAX_BYTES) + "]")
    with pytest.raises(TopologyError, match="larger than"):
        read_yaml(path, TopologyError)


@pytest.mark.parametrize(
    "number", ["0x" + "f" * 5000, "9" * 5000, "-" + "1" * 65, "0o" + "7" * 70, "1." + "0" * 70], ids=len
)
def test_a_number_has_only_so_many_digits(number: str) -> None:
    source = read(f"a:\n  b: {number}")
    (fault,) = source.faults
    assert (fault.line, fault.key) == (2, "a.b")
    assert "64 is the most" in fault.message
    assert source.data == {"a": {"b": 0}}


@pytest.mark.parametrize("text", ['a: "\\ud800"', '"\\udfff": 1', 'a: ["x", "\\ud83d"]'])
def test_half_a_surrogate_pair_is_no_text(text: str) -> None:
    source = read(text)
    assert ["half of a surrogate pair" in fault.message for fault in source.faults] == [True]
    str(source.faults[0]).encode()
    json.dumps(source.data, ensure_ascii=False).encode()


@given(st.text(max_size=40))
def test_any_text_in_quotes_is_read_or_refused(text: str) -> None:
    try:
        source = read(json.dumps({"a": text}))
    except TopologyError:
        return
    assert source.faults or source.data == {"a": text}


LONG = {"text": "9" * 4_000_000 + "G", "integer": 10**5000, "fraction": "0." + "0" * 4000 + "1G", "just": 10**65}


@pytest.mark.parametrize("kind", LONG)
def test_a_quantity_of_too_many_digits_is_refused_at_once(kind: str) -> None:
    value = LONG[kind]
    began = time.process_time()
    with pytest.raises(UnitError, match="write"):
        units.parse_rate(value)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["headroom", "--rate", "9" * 20_000 + "G"], "argument 3, '999999999999999999999999'…: longer than 16384"),
        (["run", "--cores", "9" * 5000], "argument 3, .*more than 64 digits"),
        (["run", "--set", "seed=0x" + "f" * 5000], "argument 3, .*more than 64 digits"),
        (["validate", "a\udcff.yaml"], r"argument 2, 'a\\udcff.yaml': not text in UTF-8"),
    ],
)
def test_arguments_have_bounds(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_arguments(arguments)


@pytest.mark.parametrize("text", ['"\\ud800"', "0x" + "f" * 70, "{min: 1, min: 2}"])
def test_a_setting_has_the_bounds_of_a_file(text: str) -> None:
    with pytest.raises(ExperimentError, match="--set topology: "):
        new_experiment("pair", "all_reduce").with_overrides([f"topology={text}"])


def test_a_program_in_a_node_may_be_given_anything() -> None:
    check_arguments(["exec", "--name", "x", "a1", "--", "printf", "\udcff", "9" * 5000])
    check_arguments(["run", "--set", f"seed={2**63 - 1}", "-t", "a" * 300])


@pytest.mark.parametrize("command", [["headroom", "--length", "1km", "--rate"], ["validate", "--topology"]])
def test_the_command_reports_it_with_exit_code_2(repo_root: Path, command: list[str]) -> None:
    for argument in ("9" * 5000, b"a\xff"):
        done = subprocess.run(
            [sys.executable, "-m", "testbed.cli", *command, argument], cwd=repo_root, capture_output=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert b"internal error" not in done.stderr


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b'{"a": "\\ud800"}', b"\xff", b"1", b"null"],
    ids=range(8),
)
def test_what_is_told_is_an_object_or_nothing(payload: bytes) -> None:
    assert messages.decode_told(payload) is None


def test_nonsense_among_events_does_not_end_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    async def told() -> AsyncIterator[tuple[str, bytes]]:
        yield "testbed/x/events", b"[]"
        yield "testbed/x/events", b'{"event": "deployed"}'
        yield "testbed/x/events", b'{"event": "deployed", "at": 7}'
        yield "testbed/x/events", b'{"event": "deployed", "at": "2026-01-01T00:00:00+00:00", "lost": 3}'
        yield "testbed/x/state", b'{"drops": 1}'
        yield "testbed/x/a/b/telemetry", b'{"priorities": [1]}'
        yield "testbed/x/events", b'{"event": "destroyed", "at": "2026-01-01T00:00:00+00:00"}'

    asyncio.run(Digest(1).read(told()))
    assert "destroyed" in capsys.readouterr().out


def stare(seconds: float) -> None:
    """Look at nothing for a while, a wish to end included."""
    time.sleep(seconds)


def test_workers_that_do_not_listen_are_ended() -> None:
    # What a script starts in the background ignores interrupts, and so would these tests. A signal to the process may be
    # handled by a thread other than this one, which then goes on waiting.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    interrupt = threading.Timer(3, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    try:
        interrupt.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            parallel.run_all(stare, [120.0] * 4, 2, lambda *_: None)
        assert time.monotonic() - began < 60
    finally:
        interrupt.cancel()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
