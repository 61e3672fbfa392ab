"""Which frames a capture keeps: a small language over what the fabric's frames say. Pure.

    filter  = all { "or" all }
    all     = not { "and" not }
    not     = "not" not | "(" filter ")" | test
    test    = "data" | "ack" | "cnp" | "parity" | "pause" | "credit"
            | "priority" numbers | "dscp" numbers | "qp" numbers
            | ( "src" | "dst" | "host" ) address
    numbers = number { "," number }

An address is a host of the lab, an IPv4 address, or a MAC address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from testbed.errors import UsageError, nearest

Test = Callable[["Seen"], bool]
MOST_CHARACTERS = 1000
MOST_DEPTH = 50

_TOKEN = re.compile(r"\s*(?:([()])|([^\s()]+))")
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
_ROCE_PORT = 4791
_ACK, _CNP, _PARITY = 0x11, 0x81, 0xC0
# With a payload and no answer: IBTA volume 1, 9.2.1, the opcodes of RC that NICs of the testbed send.
_DATA = frozenset((0x00, 0x01, 0x02, 0x04, 0x06, 0x07, 0x08, 0x0A))
_MAC_CONTROL, _EXPERIMENTAL, _IPV4 = b"\x88\x08", b"\x88\xb5", b"\x08\x00"
_PFC, _CREDIT = b"\x01\x01", b"FC\x01"
_KINDS = ("data", "ack", "cnp", "parity", "pause", "credit")
_NUMBERS = {"priority": 7, "dscp": 63, "qp": 0xFFFFFF}
_ADDRESSES = ("src", "dst", "host")
WORDS = (*_KINDS, *_NUMBERS, *_ADDRESSES, "not", "and", "or")


class Seen(NamedTuple):
    """What a frame says, as far as it says it: addresses as bytes, MAC and IPv4."""

    kind: str
    priorities: frozenset[int]
    dscp: int
    qp: int
    src: tuple[bytes, ...]
    dst: tuple[bytes, ...]


def seen(frame: bytes) -> Seen:
    """Return what a frame says; one that is cut short, or of no kind of the fabric, says little."""
    src: tuple[bytes, ...] = (frame[6:12],)
    dst: tuple[bytes, ...] = (frame[:6],)
    kind = frame[12:14]
    if kind == _MAC_CONTROL and frame[14:16] == _PFC:
        enabled = int.from_bytes(frame[16:18], "big")
        return Seen("pause", frozenset(each for each in range(8) if enabled >> each & 1), -1, -1, src, dst)
    if kind == _EXPERIMENTAL and frame[14:17] == _CREDIT:
        return Seen("credit", frozenset(frame[18:19]), -1, -1, src, dst)
    if kind != _IPV4 or len(frame) < 34:
        return Seen("", frozenset(), -1, -1, src, dst)
    dscp, header = frame[15] >> 2, 14 + 4 * (frame[14] & 15)
    src, dst = (*src, frame[26:30]), (*dst, frame[30:34])
    # An opcode of RC, or the one of a CNP, and the QP that it is for: IBTA volume 1, 9.2, behind UDP.
    transport = frame[header + 8 : header + 20]
    is_roce = frame[23] == 17 and int.from_bytes(frame[header + 2 : header + 4], "big") == _ROCE_PORT
    if not is_roce or len(transport) < 12:
        return Seen("", frozenset((dscp >> 3,)), dscp, -1, src, dst)
    opcode = transport[0]
    named = {_ACK: "ack", _CNP: "cnp", _PARITY: "parity"}
    kind_of = named.get(opcode, "data" if opcode in _DATA else "")
    return Seen(kind_of, frozenset((dscp >> 3,)), dscp, int.from_bytes(transport[5:8], "big"), src, dst)


class _Word(NamedTuple):
    text: str
    at: int


def parse(text: str, hosts: Mapping[str, Sequence[bytes]] | None) -> Callable[[bytes], bool]:
    """Return whether a frame is kept, as a function of its bytes. `hosts` has the addresses of each, MAC and IPv4; None if
    they are not known yet, and any name will do.

    Raises UsageError with the place of what cannot be read.
    """
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"--filter: {len(text)} characters; {MOST_CHARACTERS} is the most")
    reader = _Reader(text, hosts)
    keeps = reader.either(0)
    if (word := reader.next()) is not None:
        reader.fail(word, f'"{word.text}" where "and" or "or" should be')
    return lambda frame: keeps(seen(frame))


class _Reader:
    """Reads a filter from left to right."""

    def __init__(self, text: str, hosts: Mapping[str, Sequence[bytes]] | None) -> None:
        self.text = text
        self._hosts = hosts
        self._words = [
            _Word(match[1] or match[2], match.start(1) if match[1] else match.start(2))
            for match in _TOKEN.finditer(text)
        ]
        self._place = 0

    def fail(self, word: _Word | None, message: str) -> NoReturn:
        at = len(self.text) if word is None else word.at
        raise UsageError(f"--filter, character {at + 1}: {message}")

    def next(self, *wanted: str) -> _Word | None:
        """Take the next word, if there is one and, where some are wanted, it is one of them."""
        word = self._words[self._place] if self._place < len(self._words) else None
        if word is None or (wanted and word.text not in wanted):
            return None
        self._place += 1
        return word

    def either(self, depth: int) -> Test:
        tests = [self._all(depth)]
        while self.next("or"):
            tests.append(self._all(depth))
        return tests[0] if len(tests) == 1 else lambda frame: any(test(frame) for test in tests)

    def _all(self, depth: int) -> Test:
        tests = [self._not(depth)]
        while self.next("and"):
            tests.append(self._not(depth))
        return tests[0] if len(tests) == 1 else lambda frame: all(test(frame) for test in tests)

    def _not(self, depth: int) -> Test:
        word = self.next()
        if word is None:
            self.fail(None, f"it ends where a test should be: {', '.join(WORDS[:-3])}")
        if depth == MOST_DEPTH:
            self.fail(word, f"nested deeper than {MOST_DEPTH} levels")
        if word.text == "not":
            inner = self._not(depth + 1)
            return lambda frame: not inner(frame)
        if word.text == "(":
            inside = self.either(depth + 1)
            if not self.next(")"):
                self.fail(self.next(), f"the parenthesis of character {word.at + 1} is not closed")
            return inside
        return self._test(word)

    def _test(self, word: _Word) -> Test:
        name = word.text
        if name in _KINDS:
            return lambda frame: frame.kind == name
        if name in _NUMBERS:
            chosen = self._numbers(name, _NUMBERS[name])
            if name == "priority":
                return lambda frame: not chosen.isdisjoint(frame.priorities)
            return lambda frame: (frame.dscp if name == "dscp" else frame.qp) in chosen
        if name in _ADDRESSES:
            addresses = self._addresses(name)
            sides = {"src": (True, False), "dst": (False, True), "host": (True, True)}[name]
            return lambda frame: any(
                asked and not addresses.isdisjoint(side)
                for asked, side in zip(sides, (frame.src, frame.dst), strict=True)
            )
        self.fail(word, f'no test is called "{name[:40]}"{nearest(name[:40], WORDS)}')

    def _numbers(self, name: str, highest: int) -> frozenset[int]:
        word = self.next()
        if word is None:
            self.fail(None, f"it ends where the number of a {name} should be")
        numbers = set()
        for part in word.text.split(","):
            try:
                number = int(part, 0) if len(part) <= 10 else -1
            except ValueError:
                number = -1
            if not 0 <= number <= highest:
                self.fail(word, f'{name} "{part[:40]}" is not a whole number from 0 to {highest}')
            numbers.add(number)
        return frozenset(numbers)

    def _addresses(self, name: str) -> frozenset[bytes]:
        word = self.next()
        if word is None:
            self.fail(None, f"it ends where the host of {name} should be")
        if self._hosts is None:
            return frozenset()
        if word.text in self._hosts:
            return frozenset(self._hosts[word.text])
        if _MAC.fullmatch(word.text):
            return frozenset({bytes.fromhex(word.text.replace(":", ""))})
        try:
            return frozenset({ipaddress.IPv4Address(word.text).packed})
        except ValueError:
            pass
        self.fail(word, f'no host is called "{word.text[:40]}"{nearest(word.text[:40], list(self._hosts))}')
