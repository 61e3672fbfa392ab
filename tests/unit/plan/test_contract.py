"""Both sides of the contract have the same documents: the types here, and the schema of the data plane's own."""

import copy
import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from testbed.contract import ROOTS
from testbed.contract import plan as contract
from testbed.contract.workload import Workload
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.workload import compile_workload
from testbed.traffic import COLLECTIVES, Shape
from tests.conftest import ROOT

SCHEMA = json.loads((ROOT / "dataplane" / "contract.schema.json").read_text())

Json = dict[str, Any]
# What a value may be: the name of a plain type, a set of words, ("list", of), ("dict", of), ("or null", what); of an object by
# key whether it is required and what it may be; ("kinds", by kind) of several such objects.
Accepted = Any


def python_shape(kind: Any) -> Accepted:
    """Return what a type of `contract` accepts."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Annotated, typing.Required, typing.NotRequired):
        return python_shape(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return union([python_shape(argument) for argument in arguments])
    if origin is Literal:
        return "integer" if all(isinstance(value, int) for value in arguments) else frozenset(arguments)
    if origin in (list, dict):
        return (origin.__name__, python_shape(arguments[-1]))
    if typing.is_typeddict(kind):
        keys = typing.get_type_hints(kind, include_extras=True)
        return {key: (key in kind.__required_keys__, python_shape(value)) for key, value in keys.items()}
    return {int: "integer", float: "number", str: "string", bool: "boolean", type(None): None}[kind]


def rust_shape(schema: Json) -> Accepted:
    """Return what a schema accepts."""
    if "$ref" in schema:
        return rust_shape(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is not None:
        beside = schema.get("properties", {})
        shapes = [rust_shape(option) for option in options]
        return union([shape | keys_of(schema, beside) if beside else shape for shape in shapes])
    if "const" in schema or "enum" in schema:
        return frozenset(schema.get("enum", [schema.get("const")]))
    if isinstance(schema["type"], list):
        return union([rust_shape({**schema, "type": kind}) for kind in schema["type"]])
    if schema["type"] == "null":
        return None
    if schema["type"] == "array":
        items = schema.get("items") or schema["prefixItems"][0]
        return ("list", rust_shape(items))
    if schema["type"] == "object":
        if "properties" not in schema:
            return ("dict", rust_shape(schema["additionalProperties"]))
        return keys_of(schema, schema["properties"])
    return schema["type"]


def keys_of(schema: Json, properties: Json) -> Json:
    """Return the shape of an object's keys."""
    return {key: (key in schema.get("required", ()), rust_shape(value)) for key, value in properties.items()}


def union(shapes: list[Accepted]) -> Accepted:
    """Put shapes together: words to one set, objects by their kind; null stays beside."""
    nullable, rest = None in shapes, [shape for shape in shapes if shape is not None]
    words = [shape for shape in rest if isinstance(shape, frozenset)]
    if len(words) == len(rest):
        found: Accepted = frozenset().union(*words)
    elif len(rest) > 1 or (isinstance(rest[0], dict) and "kind" in rest[0]):
        found = ("kinds", {next(iter(shape["kind"][1])): shape for shape in rest})
    else:
        found = rest[0]
    return ("or null", found) if nullable else found


def faults(python: Accepted, rust: Accepted, at: str) -> Iterator[str]:
    """Yield what the sides disagree on: a key of one alone, what is required, and what a value may be."""
    if isinstance(python, dict) and "kind" in python and isinstance(rust, tuple):
        python = ("kinds", {next(iter(python["kind"][1])): python})
    nullable = [isinstance(side, tuple) and side[0] == "or null" for side in (python, rust)]
    if any(nullable):
        if nullable[0] and not nullable[1]:
            yield f"{at}: null is for Python alone"
        yield from faults(*(side[1] if null else side for side, null in zip((python, rust), nullable, strict=True)), at)
    elif isinstance(python, dict) and isinstance(rust, dict):
        for key in sorted(python.keys() ^ rust.keys()):
            yield f"{at}.{key}: of {'Python' if key in python else 'Rust'} alone"
        for key in python.keys() & rust.keys():
            if rust[key][0] and not python[key][0]:
                yield f"{at}.{key}: Rust requires it"
            yield from faults(python[key][1], rust[key][1], f"{at}.{key}")
    elif isinstance(python, tuple) and isinstance(rust, tuple) and python[0] == rust[0] == "kinds":
        for kind in sorted(python[1].keys() ^ rust[1].keys()):
            yield f"{at}: kind {kind} of {'Python' if kind in python[1] else 'Rust'} alone"
        for kind in python[1].keys() & rust[1].keys():
            yield from faults(python[1][kind], rust[1][kind], f"{at}({kind})")
    elif isinstance(python, tuple) and isinstance(rust, tuple) and python[0] == rust[0]:
        yield from faults(python[1], rust[1], f"{at}[]")
    elif python != rust:
        yield f"{at}: {python} in Python, {rust} in Rust"


@pytest.mark.parametrize("document", ROOTS, ids=lambda document: document.__name__)
def test_both_sides_have_the_same_keys(document: type) -> None:
    name = document.__name__.lower()
    assert list(faults(python_shape(document), rust_shape(SCHEMA["properties"][name]), name)) == []


def test_all_documents_are_compared() -> None:
    assert set(SCHEMA["properties"]) == {document.__name__.lower() for document in ROOTS}


@pytest.mark.parametrize(
    ("kind", "key"),
    [("PriorityGroupPlan", "alpha_log2"), ("LinkPlan", "vni"), ("RankPlan", "ops"), ("StormPlan", "on_ps")],
)
def test_a_key_removed_from_rust_alone_is_noticed(kind: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    less = copy.deepcopy(SCHEMA)
    del less["$defs"][kind]["properties"][key]
    monkeypatch.setitem(SCHEMA, "$defs", less["$defs"])
    roots = {document.__name__.lower(): document for document in ROOTS}
    found = [
        fault
        for name, document in roots.items()
        for fault in faults(python_shape(document), rust_shape(SCHEMA["properties"][name]), name)
    ]
    assert found
    assert all(fault.endswith(f".{key}: of Python alone") for fault in found)


@pytest.mark.parametrize(("document", "key"), [(contract.Port, "weights"), (contract.Train, "sequence")])
def test_a_key_removed_from_python_alone_is_noticed(document: Any, key: str) -> None:
    whole = python_shape(document)
    less = {name: value for name, value in whole.items() if name != key}
    assert list(faults(less, whole, "document")) == [f"document.{key}: of Rust alone"]


def misfits(value: Any, accepted: Accepted, at: str) -> Iterator[str]:
    """Yield what of a value is not of its shape."""
    plain = {"integer": int, "number": (int, float), "string": str, "boolean": bool}
    kind, inner = accepted if isinstance(accepted, tuple) else ("", None)
    if kind == "or null":
        yield from misfits(value, inner, at) if value is not None else ()
    elif kind == "kinds":
        yield from misfits(value, inner[value["kind"]], at)
    elif kind == "list":
        yield from (fault for place, entry in enumerate(value) for fault in misfits(entry, inner, f"{at}[{place}]"))
    elif kind == "dict":
        yield from (fault for key, entry in value.items() for fault in misfits(entry, inner, f"{at}.{key}"))
    elif isinstance(accepted, dict):
        required = {key for key, (needed, _) in accepted.items() if needed}
        yield from (f"{at}.{key}" for key in sorted(required - value.keys() | value.keys() - accepted.keys()))
        for key in value.keys() & accepted.keys():
            yield from misfits(value[key], accepted[key][1], f"{at}.{key}")
    elif value not in accepted if isinstance(accepted, frozenset) else not isinstance(value, plain[accepted]):
        yield at


@pytest.mark.parametrize("topology", ["pair", "two-dc", "memory-span", "clos"])
def test_compiled_documents_are_of_the_contract(topology: str) -> None:
    lab = load_lab(topology)
    experiment = new_experiment(topology, "all_reduce")
    plan = compile_fabric(lab, experiment)
    assert list(misfits(plan, python_shape(contract.Plan), "plan")) == []
    schedule = COLLECTIVES["all_reduce"].schedule(Shape(len(lab.hosts), 4 * len(lab.hosts) * 8))
    workload = compile_workload(lab, experiment, schedule)
    assert list(misfits(workload, python_shape(Workload), "workload")) == []
    assert list(misfits({**plan, "sede": 1}, python_shape(contract.Plan), "plan")) == ["plan.sede"]
