"""The keys of a file that a model reads: what each may hold, its default, and the sentence that explains it.

The reference pages, `testbed explain` and `testbed list settings` are all made of what stands here, so they cannot say
anything that the models do not do.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, StrictBool, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from testbed.schema.documented import LateJsonSchema, sentences
from testbed.units import format_length, format_rate, format_size, format_time

CHOSEN = "NAME"
"""Stands in a path for a key that the user chooses."""

UNSET = "not set"
"""The default of a key that says nothing unless it is given."""

EACH = "[]"
"""Stands behind a key whose value is a list of mappings."""

_QUANTITIES = {"rate": format_rate, "time": format_time, "length": format_length, "size": format_size}
"""How a default is written that the models keep as a whole number, by how what it holds begins."""


@dataclass(frozen=True, slots=True)
class EntriesOf:
    """Says of a field, as metadata, which model the entries of its mapping follow although another reads them."""

    model: type[BaseModel]


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its dotted path, what it holds, an example, its default (None if it must be given), and its sentence.

    A `section` holds further keys.
    """

    path: str
    holds: str
    example: str | None
    default: str | None
    sentence: str
    section: bool

    @property
    def required(self) -> bool:
        """Whether a file must give this key wherever its section stands."""
        return self.default is None


def keys_of(model: type[BaseModel], path: str = "") -> Iterator[Key]:
    """Yield the keys of a model and of all models in it, sections before what they hold, in the order of the model."""
    for name, field in model.model_fields.items():
        here = f"{path}{'.' if path else ''}{field.alias or name}"
        inner, suffix = _inner_model(field.annotation, field.metadata)
        holds, example = _holds(field.annotation, field.metadata)
        sentence = " ".join((field.description or sentences(model).get(name, "")).split())
        yield Key(here, holds, example, _default(field, holds), sentence, inner is not None)
        if inner is not None:
            yield from keys_of(inner, here + suffix)


def matching(keys: Sequence[Key], wanted: str) -> list[Key]:
    """Return the keys that a dotted path names with all below them, then every other key whose last words are these.

    Numbers in brackets and names that the user chose match any: `topology.nodes.leaf1.buffer`, `links[2].length`.
    """
    parts = _parts(wanted)
    below = [key for key in keys if _same(_parts(key.path)[: len(parts)], parts)]
    return below + [key for key in keys if key not in below and _same(_parts(key.path)[-len(parts) :], parts)]


def _parts(path: str) -> list[str]:
    return [part.partition("[")[0] for part in path.split(".")]


def _same(known: Sequence[str], wanted: Sequence[str]) -> bool:
    return len(known) == len(wanted) and all(k in (a, CHOSEN) for k, a in zip(known, wanted, strict=True))


def _inner_model(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[type[BaseModel] | None, str]:
    """Return the model of the mappings that a value holds, and what stands in a path between the two."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    entries = next((item.model for item in metadata if isinstance(item, EntriesOf)), None)
    if entries is not None:
        return entries, f".{CHOSEN}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    if origin is Annotated:
        return _inner_model(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        return next((below for item in arguments if (below := _inner_model(item))[0] is not None), (None, ""))
    if origin in (tuple, list):
        inner, suffix = _inner_model(arguments[0])
        return inner, EACH + suffix
    if origin is dict:
        inner, suffix = _inner_model(arguments[1])
        return inner, f".{CHOSEN}{suffix}"
    return None, ""


def _default(field: FieldInfo, holds: str) -> str | None:
    if field.is_required():
        return None
    value = field.default_factory() if field.default_factory is not None else field.default  # type: ignore[call-arg]
    if value is PydanticUndefined or value is None:
        return UNSET
    if isinstance(value, BaseModel):
        return "its own defaults"
    if isinstance(value, str):
        return value
    write = next((write for words, write in _QUANTITIES.items() if holds.startswith(words)), None)
    if write is not None and type(value) is int:
        return write(value)
    return json.dumps(value, default=str)


def _holds(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[str, str | None]:
    """Return what a value may be, in words, and an example if there is one."""
    stated = next((item.json_schema for item in metadata if isinstance(item, WithJsonSchema | LateJsonSchema)), None)
    if stated is not None:
        return _stated(stated)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _holds(arguments[0], (*arguments[1:], *metadata))
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0]), None
    if origin in (Union, types.UnionType):
        parts = [_holds(item, metadata) for item in arguments if item is not type(None)]
        return ", or ".join(words for words, _ in parts), next((shown for _, shown in parts if shown), None)
    if origin in (tuple, list):
        if len(arguments) > 1 and arguments[1] is not Ellipsis:
            return f"list of {len(arguments)}: {', '.join(_holds(item)[0] for item in arguments)}", None
        words, shown = _holds(arguments[0])
        return f"list: {words}", shown and f"[{shown}]"
    if origin is dict:
        return f"mapping: {_holds(arguments[0])[0]} to {_holds(arguments[1])[0]}", None
    return _plain(annotation, metadata), None


def _plain(annotation: Any, metadata: Sequence[Any]) -> str:
    if annotation in (bool, StrictBool) or getattr(annotation, "__origin__", None) is bool:
        return "true or false"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    words = {int: "whole number", float: "number", str: "text"}.get(annotation, "value")
    low = next((item.ge for item in metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in metadata if isinstance(item, Le)), None)
    above = next((item.gt for item in metadata if isinstance(item, Gt)), None)
    below = next((item.lt for item in metadata if isinstance(item, Lt)), None)
    bounds = [
        f"{word} {bound}"
        for word, bound in (("from", low), ("above", above), ("to", high), ("below", below))
        if bound is not None
    ]
    return " ".join([words, *bounds])


def _stated(schema: dict[str, Any]) -> tuple[str, str | None]:
    """Put the JSON Schema that a field states for itself into words."""
    examples = schema.get("examples")
    example = str(examples[0]) if examples else None
    if "properties" in schema:
        return "section", example
    if "description" in schema:
        return str(schema["description"]), example
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}", example
    if "anyOf" in schema:
        return ", or ".join(_stated(part)[0] for part in schema["anyOf"]), example
    if "const" in schema:
        return str(schema["const"]), example
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "array": "list",
        "boolean": "true or false",
        "object": "mapping",
    }
    text = words.get(str(schema.get("type")), "value")
    if "minimum" in schema:
        text += f" from {schema['minimum']}"
    if "maximum" in schema:
        text += f" to {schema['maximum']}"
    return text, example
