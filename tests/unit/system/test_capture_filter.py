"""Which frames a filter keeps, and where a filter that cannot be read is wrong."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import UsageError
from testbed.system import capture_filter
from testbed.system.capture_filter import WORDS, parse
from tests.golden_files import GOLDEN

A1, B1 = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
IP_A1, IP_B1 = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
HOSTS = {"a1": [A1, IP_A1], "b1": [B1, IP_B1]}


def roce(opcode: int, priority: int = 3, qp: int = 17, src: str = "a1", dst: str = "b1") -> bytes:
    ends = HOSTS[dst][0] + HOSTS[src][0] + b"\x08\x00"
    ip = bytes([0x45, priority << 5 | 2]) + bytes(7) + b"\x11" + bytes(2) + HOSTS[src][1] + HOSTS[dst][1]
    return (
        ends
        + ip
        + (50_000).to_bytes(2, "big")
        + (4791).to_bytes(2, "big")
        + bytes(4)
        + bytes([opcode, 0, 0xFF, 0xFF, 0])
        + qp.to_bytes(3, "big")
        + bytes(40)
    )


FRAMES = {
    "data": roce(0x07),
    "only": roce(0x0A, priority=5, qp=18, src="b1", dst="a1"),
    "ack": roce(0x11, src="b1", dst="a1"),
    "cnp": roce(0x81, priority=6),
    "parity": roce(0xC0),
    "pause": bytes.fromhex("0180c2000001") + A1 + bytes.fromhex("88080101000c") + bytes(42),
    "credit": bytes.fromhex("0180c2000001") + B1 + b"\x88\xb5FC\x01\x00\x04" + bytes(41),
    "arp": b"\xff" * 6 + A1 + b"\x08\x06" + bytes(46),
}


def kept(text: str) -> set[str]:
    keeps = parse(text, HOSTS)
    return {name for name, frame in FRAMES.items() if keeps(frame)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("data", {"data", "only"}),
        ("ack or cnp", {"ack", "cnp"}),
        ("parity", {"parity"}),
        ("pause or credit", {"pause", "credit"}),
        ("priority 3", {"data", "ack", "parity", "pause"}),
        ("priority 3 and not pause", {"data", "ack", "parity"}),
        ("priority 2,4", {"pause", "credit"}),
        ("qp 18,0x13", {"only"}),
        ("dscp 24", {"data", "ack", "parity"}),
        ("src b1", {"only", "ack", "credit"}),
        ("dst a1 and not data", {"ack"}),
        ("host a1", {"data", "only", "ack", "cnp", "parity", "pause", "arp"}),
        ("src 10.0.0.2 or dst 02:00:00:00:00:02", {"only", "ack", "data", "cnp", "parity"}),
        # `and` binds more tightly than `or`; parentheses and `not` more tightly than both.
        ("cnp or data and priority 5", {"cnp", "only"}),
        ("(cnp or data) and priority 5", {"only"}),
        ("not(not data)and(qp 17)", {"data"}),
    ],
)
def test_frames_that_are_kept(text: str, names: set[str]) -> None:
    assert kept(text) == names


def test_the_golden_frames_are_what_their_names_say() -> None:
    for path in sorted((GOLDEN / "frames").glob("*.hex")):
        lines = path.read_text().splitlines()
        frame = bytes.fromhex("".join(line.partition("#")[0] for line in lines))
        kind = capture_filter.seen(frame).kind
        said = [word for word in ("ack", "cnp", "parity", "pfc", "credit", "write", "send", "nak") if word in path.stem]
        wanted = {"pfc": "pause", "write": "data", "send": "data", "nak": "ack"}
        assert not said or kind == wanted.get(said[0], said[0]), path.name


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", 1, "it ends where a test should be: data, ack"),
        ("data and", 9, "it ends where a test should be"),
        ("data ack", 6, '"ack" where "and" or "or" should be'),
        ("data and prioriti 3", 10, 'no test is called "prioriti"; did you mean "priority"?'),
        ("pause or priority 8", 19, 'priority "8" is not a whole number from 0 to 7'),
        ("qp 1,,2", 4, 'qp "" is not a whole number from 0 to 16777215'),
        ("dscp", 5, "it ends where the number of a dscp should be"),
        ("src", 4, "it ends where the host of src should be"),
        ("  dst a2", 7, 'no host is called "a2"; known: a1, b1'),
        ("(pause or data", 15, "the parenthesis of character 1 is not closed"),
        ("pause)", 6, '")" where "and" or "or" should be'),
        ("(" * 60 + "data" + ")" * 60, 51, "nested deeper than 50 levels"),
        ("not " * 60 + "data", 201, "nested deeper than 50 levels"),
    ],
)
def test_a_filter_that_cannot_be_read_names_the_place(text: str, place: int, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text, HOSTS)
    assert str(refused.value).startswith(f"--filter, character {place}: {message}")


def test_a_long_filter_is_refused() -> None:
    with pytest.raises(UsageError, match="1001 characters; 1000 is the most"):
        parse("d" * 1001, HOSTS)


@given(st.lists(st.sampled_from([*WORDS, "(", ")", "3", "a1", "x", "1,2"]), max_size=20).map(" ".join), st.binary())
def test_any_words_are_a_filter_or_an_error_in_words_and_any_bytes_a_frame(text: str, frame: bytes) -> None:
    try:
        keeps = parse(text, HOSTS)
    except UsageError as error:
        assert "--filter, character" in str(error)
        return
    assert keeps(frame) in (True, False)
    shuffled = random.Random(1).choice(list(FRAMES.values()))
    assert keeps(shuffled[: len(frame)]) in (True, False)
