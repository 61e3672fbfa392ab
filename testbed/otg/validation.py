"""Requests of the Open Traffic Generator API, held against its schema: what is wrong by field, and defaults put in. Pure."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from typing import Any

from testbed.errors import UsageError
from testbed.otg import schema
from testbed.otg.schema import MOST_ENTRIES, Field, Flag, Integer, Many, Number, Object, Part, Pattern, Text

_MOST_FAULTS = 100
_SHOWN = 80
_LONGEST_TEXT = 4096
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_HEX = re.compile(r"(0x)?[0-9a-fA-F]*")


class Refused(UsageError):
    """A request that cannot be meant or is not supported: what is wrong, one line a field."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


def checked(name: str, value: Any, objects: Mapping[str, Object], at: str = "") -> dict[str, Any]:
    """Return an object with its defaults put in and numbers as numbers. Raises Refused."""
    check = _Check(objects)
    whole = check.part(name, value, at)
    if check.faults:
        raise Refused(check.faults)
    result: dict[str, Any] = whole
    return result


class _Check:
    def __init__(self, objects: Mapping[str, Object]) -> None:
        self._objects = objects
        self.faults: list[str] = []

    def fault(self, at: str, message: str) -> None:
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(f"{at}: {message}" if at else message)

    def part(self, name: str, value: Any, at: str) -> Any:
        known = self._objects[name]
        if not isinstance(value, dict):
            self.fault(at, f"must be an object, not {_shown(value)}")
            return None
        for key in value:
            if key not in known.fields:
                supported = "not supported by this server" if key in known.beyond else "not a field of this object"
                self.fault(_below(at, str(key)[:_SHOWN]), supported)
        for key in known.required:
            if value.get(key) is None:
                self.fault(_below(at, key), "required")
        result = {}
        chosen = self._chosen(known, value)
        for key, field in known.fields.items():
            given = chosen if key == "choice" else value.get(key)
            if given is not None:
                result[key] = self._value(field, given, _below(at, key))
            else:
                result[key] = _default(field)
        return self._with_member(known, result, at)

    def _chosen(self, known: Object, value: Mapping[str, Any]) -> Any:
        """Return which alternative is meant: a sender may leave it out where one is there, or it has a default."""
        choice = known.fields.get("choice")
        if not isinstance(choice, Text) or value.get("choice") is not None:
            return value.get("choice")
        there = [each for each in (*choice.among, *choice.beyond) if value.get(each) is not None]
        return there[0] if len(there) == 1 else choice.default

    def _with_member(self, known: Object, result: dict[str, Any], at: str) -> dict[str, Any]:
        """Put in the chosen alternative, of its defaults, where it is an object that was left out."""
        if "choice" not in known.fields:
            return result
        chosen = result.get("choice")
        if chosen is None:
            self.fault(_below(at, "choice"), "required")
            return result
        field = known.fields.get(chosen) if isinstance(chosen, str) else None
        if isinstance(field, Part) and result[chosen] is None:
            result[chosen] = self.part(field.of, {}, _below(at, chosen))
        return result

    def _value(self, field: Field, value: Any, at: str) -> Any:
        match field:
            case Integer():
                return self._integer(value, field.least, field.most, at)
            case Number():
                return self._number(field, value, at)
            case Text():
                return self._text(field, value, at)
            case Flag():
                if not isinstance(value, bool):
                    self.fault(at, f"must be true or false, not {_shown(value)}")
                return value
            case Part():
                return self.part(field.of, value, at)
            case Pattern():
                return self._pattern(field, value, at)
            case Many():
                return self._list(field.of, value, at)

    def _list(self, of: Integer | Text | Part, value: Any, at: str) -> list[Any]:
        if not isinstance(value, list):
            self.fault(at, f"must be a list, not {_shown(value)}")
            return []
        if len(value) > MOST_ENTRIES:
            self.fault(at, f"has {len(value)} entries; {MOST_ENTRIES} are the most")
            return []
        return [self._value(of, each, f"{at}[{index}]") for index, each in enumerate(value)]

    def _integer(self, value: Any, least: int, most: int, at: str) -> int:
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 20:
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.fault(at, f"must be a whole number, not {_shown(value)}")
            return least
        if not least <= value <= most:
            self.fault(at, f"must be from {least} to {most}, not {_shown(value)}")
            return least
        return value

    def _number(self, field: Number, value: Any, at: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fault(at, f"must be a number, not {_shown(value)}")
            return field.least
        if not (-1e30 < value < 1e30 and math.isfinite(value) and field.least <= value <= field.most):
            self.fault(at, f"must be from {field.least:g} to {field.most:g}, not {_shown(value)}")
            return field.least
        return float(value)

    def _text(self, field: Text, value: Any, at: str) -> str:
        if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
            self.fault(at, f"must be a text of {_LONGEST_TEXT} characters at most, not {_shown(value)}")
            return ""
        if field.among and value not in field.among:
            if value in field.beyond:
                self.fault(_parent(at, value), "not supported by this server")
            else:
                self.fault(at, f"must be {' or '.join(field.among)}, not {_shown(value)}")
        if field.form and not _has_form(field.form, value):
            self.fault(at, f"must be {_FORMS[field.form]}, not {_shown(value)}")
        return value

    def _pattern(self, field: Pattern, value: Any, at: str) -> list[int] | None:
        """Return the values of a pattern, None for `auto`."""
        if not isinstance(value, dict):
            self.fault(at, f"must be an object, not {_shown(value)}")
            return [0]
        alternatives = ["value", "values", "increment", "decrement"]
        alternatives += ["auto"] * field.auto + ["random"] * field.random
        for key in value:
            if key not in (*alternatives, "choice"):
                known = key in ("metric_tags", "auto", "random")
                self.fault(
                    _below(at, str(key)[:_SHOWN]),
                    "not supported by this server" if known else "not a field of this object",
                )
        there = [each for each in alternatives if value.get(each) is not None]
        chosen = value.get("choice") or (there[0] if len(there) == 1 else "auto" if field.auto else "value")
        if chosen not in alternatives:
            known = chosen in ("auto", "random")
            message = f"must be {' or '.join(alternatives)}, not {_shown(chosen)}"
            self.fault(_below(at, "choice"), f"{chosen} is not supported by this server" if known else message)
            return [0]
        given, below = value.get(chosen), _below(at, chosen)
        if chosen == "auto":
            return None
        if chosen == "value":
            return [self._whole(field, field.default if given is None else given, below)]
        if chosen == "values":
            entries = given if given is not None else [field.default]
            if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_ENTRIES:
                self.fault(below, f"must be a list of 1 to {MOST_ENTRIES} entries")
                return [0]
            return [self._whole(field, each, f"{below}[{index}]") for index, each in enumerate(entries)]
        return self._counter(field, chosen, {} if given is None else given, below)

    def _counter(self, field: Pattern, kind: str, given: Any, at: str) -> list[int]:
        if not isinstance(given, dict):
            self.fault(at, f"must be an object, not {_shown(given)}")
            return [0]
        first, second = ("min", "max") if kind == "random" else ("start", "step")
        for key in given:
            if key not in (first, second, "count", *(["seed"] if kind == "random" else [])):
                self.fault(_below(at, str(key)[:_SHOWN]), "not a field of this object")
        count = self._integer(given.get("count", 1), 0, MOST_ENTRIES, _below(at, "count"))
        if kind == "random":
            seed = self._integer(given.get("seed", 1), 0, schema.UINT32, _below(at, "seed"))
            least = self._whole(field, given.get("min", 0), _below(at, "min"))
            most = self._whole(field, given.get("max", field.most), _below(at, "max"))
            if least > most:
                self.fault(at, "min is above max")
                return [0]
            return drawn(least, most, max(count, 1), seed)
        start = self._whole(field, given.get("start", field.default), _below(at, "start"))
        step = self._whole(field, given.get("step", 1), _below(at, "step"))
        way = 1 if kind == "increment" else -1
        return [(start + way * step * index) % (field.most + 1) for index in range(max(count, 1))]

    def _whole(self, field: Pattern, value: Any, at: str) -> int:
        """Return a value of a field as a number, an address too."""
        if field.form and isinstance(value, str):
            if not _has_form(field.form, value):
                self.fault(at, f"must be {_FORMS[field.form]}, not {_shown(value)}")
                return 0
            if field.form == "mac":
                return int(value.replace(":", "").replace("-", ""), 16)
            return int(ipaddress.IPv4Address(value))
        if field.form and value != 1 and not isinstance(value, int):
            self.fault(at, f"must be {_FORMS[field.form]}, not {_shown(value)}")
            return 0
        return self._integer(value, 0, field.most, at)


def drawn(least: int, most: int, count: int, seed: int) -> list[int]:
    """Return so many values between two bounds, the same for a seed each time (Numerical Recipes' 64-bit generator)."""
    state, values = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(least + (state >> 16) % (most - least + 1))
    return values


_FORMS = {"mac": "a MAC address", "ipv4": "an IPv4 address", "hex": "hexadecimal digits"}


def _has_form(form: str, value: str) -> bool:
    if form == "mac":
        return _MAC.fullmatch(value) is not None
    if form == "hex":
        return _HEX.fullmatch(value) is not None
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True


def _default(field: Field) -> Any:
    match field:
        case Many():
            return []
        case Part():
            return None
        case Pattern():
            return None if field.auto else UNSET
        case _:
            return field.default


class _Unset:
    """A pattern that was left out: its default holds, or what the server knows better."""

    def __repr__(self) -> str:
        return "unset"


UNSET = _Unset()


def _below(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _parent(at: str, member: str) -> str:
    """Return the place of the alternative that a `choice` names."""
    return _below(at.removesuffix("choice").removesuffix("."), member)


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, dict | list) else ("an object" if isinstance(value, dict) else "a list")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
