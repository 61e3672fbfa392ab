"""The keys of plans, workloads, reports and what else passes between Python and the data plane, for docs/internals/plan.md."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from testbed.contract import REPORTS, ROOTS
from tools.references.markdown import code, prose, table

PAGE = "internals/plan.md"
"""A page with prose of its own: what is written stands between marks, `<!-- keys: Plan -->` and `<!-- end -->`."""

_PLAIN = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null", object: "a value"}
_SECTION = re.compile(r"(<!-- keys: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_keys(page: str) -> str:
    """Return the page with the keys of the documents that its marks name. Raises ValueError unless each document has one mark."""
    named = [name.strip() for match in _SECTION.finditer(page) for name in match[2].split(",")]
    documents = {document.__name__: document for document in (*ROOTS, *REPORTS)}
    if sorted(named) != sorted(documents):
        raise ValueError(f"{PAGE}: marks for {', '.join(named)}, and the documents are {', '.join(documents)}")
    seen: set[str] = set()

    def section(match: re.Match[str]) -> str:
        nodes = [node for name in match[2].split(",") for node in _nodes(documents[name.strip()], seen)]
        return f"{match[1]}\n" + "\n\n".join(_node(node) for node in nodes) + f"\n\n{match[3]}"

    return _SECTION.sub(section, page)


def _nodes(document: type, seen: set[str]) -> Iterator[type]:
    """Yield a node and then those that its keys hold, each once on the page."""
    if document.__name__ in seen:
        return
    seen.add(document.__name__)
    yield document
    for kind in get_type_hints(document).values():
        for node in _held(kind):
            yield from _nodes(node, seen)


def _held(kind: Any) -> Iterator[type]:
    if is_typeddict(kind):
        yield kind
    for argument in get_args(kind):
        yield from _held(argument)


def _node(node: type) -> str:
    keys = get_type_hints(node, include_extras=True)
    required: frozenset[str] = vars(node)["__required_keys__"]
    rows = [(code(key), *_key(kind), "yes" if key in required else "") for key, kind in keys.items()]
    rows.sort(key=lambda row: not row[-1])
    heads = ("key", "value", "meaning", "required")
    return f"### {node.__name__}\n\n{prose(inspect.getdoc(node) or '')}\n\n{table(heads, rows)}"


def _key(kind: Any) -> tuple[str, str]:
    """Return what a key holds, and what it means."""
    if get_origin(kind) is NotRequired:
        kind = get_args(kind)[0]
    held, meaning = get_args(kind)
    return _value(held), meaning


def _value(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_value(argument) for argument in arguments)
    if origin is Literal:
        return ", ".join(code(value) for value in arguments)
    if origin is list:
        held = _value(arguments[0])
        return f"list of ({held})" if get_origin(arguments[0]) in (Union, types.UnionType) else f"list of {held}"
    if origin is dict:
        return f"{_value(arguments[1])} by name"
    if origin is Annotated:
        return _value(arguments[0])
    if is_typeddict(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return _PLAIN[kind]
