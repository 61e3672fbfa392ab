"""What the server takes a request for is what the published schema says, as snappi has it."""

from __future__ import annotations

from typing import Any

import pytest
from snappi import snappi as published

from testbed.otg.requests import REQUESTS
from testbed.otg.schema import Flag, Integer, Many, Number, Object, Part, Pattern, Text

# The published name of an object, where it is not that of the server.
NAMES = {
    "StateFlowTransmit": "StateTrafficFlowTransmit",
    "Checksum": "PatternFlowUdpChecksum",
}


def published_class(name: str) -> Any:
    return getattr(published, NAMES.get(name, name))


PUBLISHED = [name for name in REQUESTS if name != "Show"]  # the one object that is the server's own


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_field_of_the_published_schema_is_known_or_named_as_not_supported(name: str) -> None:
    known, fields = REQUESTS[name], set(published_class(name)._TYPES)
    # Its list of what `protocol` chooses from lacks rocev2, whose object is there.
    assert set(known.fields) | set(known.beyond) >= fields
    assert set(known.fields) - fields == set() and set(known.beyond) - fields == set()
    assert set(known.required) == set(published_class(name)._REQUIRED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_types_bounds_and_defaults_are_the_published_ones(name: str) -> None:
    of, known = published_class(name), REQUESTS[name]
    for key, field in known.fields.items():
        type_, default = of._TYPES[key], of._DEFAULTS.get(key)
        at = f"{name}.{key}"
        match field:
            case Integer() | Number():
                assert field.default == default, at
                if "maximum" in type_:
                    assert field.most == type_["maximum"], at
                assert field.least == type_.get("minimum", 0), at
            case Text():
                assert (field.default or None) == default, at
                extra = {"rocev2"} if name == "StateProtocol" else set()
                assert {*field.among, *field.beyond} - extra == set(type_.get("enum", ())), at
            case Flag():
                assert field.default == default, at
            case Pattern():
                pattern = getattr(published, type_["type"])
                assert field.most == pattern._TYPES["value"].get("maximum", field.most), at
                assert field.default == pattern._DEFAULTS["value"], at
                assert pattern._DEFAULTS["choice"] == ("auto" if field.auto else "value"), at
            case Part():
                assert published_name(type_["type"], field.of), at
            case Many():
                assert isinstance(field.of, Part) or type_["type"] is list, at


def published_name(given: str, ours: str) -> bool:
    return given == NAMES.get(ours, ours) or ours == "Checksum"


def test_every_part_is_there() -> None:
    parts = [
        each.of if isinstance(each, Part) else each.of.of
        for known in REQUESTS.values()
        for each in known.fields.values()
        if isinstance(each, Part) or (isinstance(each, Many) and isinstance(each.of, Part))
    ]
    assert {part for part in parts if part not in REQUESTS} == set()
    assert all(isinstance(known, Object) for known in REQUESTS.values())
