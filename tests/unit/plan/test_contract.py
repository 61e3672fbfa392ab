"""Both sides of the contract have the same documents: the types here, and the schema of the data plane's own."""

import copy
import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from testbed._dataplane import VirtualFabric
from testbed.contract import REPORTS, ROOTS, report, train
from testbed.contract import plan as contract
from testbed.contract.workload import Workload
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.workload import compile_workload
from testbed.run.perform import perform
from testbed.run.trial import Trial
from testbed.traffic import COLLECTIVES, Shape
from tests.conftest import ROOT

SCHEMA = json.loads((ROOT / "dataplane" / "contract.schema.json").read_text())
REPORT_SCHEMA = json.loads((ROOT / "dataplane" / "reports.schema.json").read_text())

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
    if kind is report.Fidelity:
        kind = report.MeasuredFidelity  # what is more than that Python adds
    if kind is object:
        return "object"
    if typing.is_typeddict(kind):
        keys = typing.get_type_hints(kind, include_extras=True)
        return {key: (key in kind.__required_keys__, python_shape(value)) for key, value in keys.items()}
    return {int: "integer", float: "number", str: "string", bool: "boolean", type(None): None}[kind]


def rust_shape(schema: Json, whole: Json) -> Accepted:
    """Return what a schema accepts, which is part of a whole one."""
    if "$ref" in schema:
        return rust_shape(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is not None:
        beside = schema.get("properties", {})
        shapes = [rust_shape(option, whole) for option in options]
        return union([shape | keys_of(schema, beside, whole) if beside else shape for shape in shapes])
    if "const" in schema or "enum" in schema:
        return frozenset(schema.get("enum", [schema.get("const")]))
    if isinstance(schema["type"], list):
        return union([rust_shape({**schema, "type": kind}, whole) for kind in schema["type"]])
    if schema["type"] == "null":
        return None
    if schema["type"] == "array":
        items = schema.get("items") or schema["prefixItems"][0]
        return ("list", rust_shape(items, whole))
    if schema["type"] == "object":
        if "properties" not in schema:
            return ("dict", rust_shape(schema["additionalProperties"], whole))
        return keys_of(schema, schema["properties"], whole)
    return schema["type"]


def keys_of(schema: Json, properties: Json, whole: Json) -> Json:
    """Return the shape of an object's keys."""
    return {key: (key in schema.get("required", ()), rust_shape(value, whole)) for key, value in properties.items()}


def union(shapes: list[Accepted]) -> Accepted:
    """Put shapes together: words to one set, objects by their kind; null stays beside."""
    nullable, rest = None in shapes, [shape for shape in shapes if shape is not None]
    words = [shape for shape in rest if isinstance(shape, frozenset)]
    if len(words) == len(rest):
        accepted: Accepted = frozenset().union(*words)
    elif len(rest) > 1 or (isinstance(rest[0], dict) and "kind" in rest[0]):
        accepted = ("kinds", {next(iter(shape["kind"][1])): shape for shape in rest})
    else:
        accepted = rest[0]
    return ("or null", accepted) if nullable else accepted


def faults(python: Accepted, rust: Accepted, at: str, written: bool = False) -> Iterator[str]:
    """Yield what the sides disagree on: a key of one alone, what is required, and what a value may be.

    What Rust reads Python may give more strictly than Rust asks; what is `written` by Rust, Python must take as it is.
    """
    if isinstance(python, dict) and "kind" in python and isinstance(rust, tuple):
        python = ("kinds", {next(iter(python["kind"][1])): python})
    nullable = [isinstance(side, tuple) and side[0] == "or null" for side in (python, rust)]
    if any(nullable):
        if nullable[0] != nullable[1] and nullable[0] != written:
            yield f"{at}: null is for {'Python' if nullable[0] else 'Rust'} alone"
        inner = (side[1] if null else side for side, null in zip((python, rust), nullable, strict=True))
        yield from faults(*inner, at, written)
    elif isinstance(python, dict) and isinstance(rust, dict):
        for key in sorted(python.keys() ^ rust.keys()):
            yield f"{at}.{key}: of {'Python' if key in python else 'Rust'} alone"
        for key in python.keys() & rust.keys():
            if rust[key][0] != python[key][0] and (rust[key][0] or written):
                yield f"{at}.{key}: {'Rust' if rust[key][0] else 'Python'} requires it"
            yield from faults(python[key][1], rust[key][1], f"{at}.{key}", written)
    elif isinstance(python, tuple) and isinstance(rust, tuple) and python[0] == rust[0] == "kinds":
        for kind in sorted(python[1].keys() ^ rust[1].keys()):
            yield f"{at}: kind {kind} of {'Python' if kind in python[1] else 'Rust'} alone"
        for kind in python[1].keys() & rust[1].keys():
            yield from faults(python[1][kind], rust[1][kind], f"{at}({kind})", written)
    elif isinstance(python, tuple) and isinstance(rust, tuple) and python[0] == rust[0]:
        yield from faults(python[1], rust[1], f"{at}[]", written)
    elif python != rust:
        yield f"{at}: {python} in Python, {rust} in Rust"


def all_faults(documents: tuple[type, ...], schema: Json) -> list[str]:
    """Return what the sides disagree on in documents that a schema is of."""
    assert set(schema["properties"]) == {document.__name__.lower() for document in documents}
    return [
        fault
        for document in documents
        for fault in faults(
            python_shape(document),
            rust_shape(schema["properties"][document.__name__.lower()], schema),
            document.__name__.lower(),
            documents is REPORTS,
        )
    ]


@pytest.mark.parametrize(("documents", "schema"), [(ROOTS, SCHEMA), (REPORTS, REPORT_SCHEMA)], ids=["read", "written"])
def test_both_sides_have_the_same_keys(documents: tuple[type, ...], schema: Json) -> None:
    assert all_faults(documents, schema) == []


@pytest.mark.parametrize(
    ("documents", "schema", "kind", "key"),
    [
        (ROOTS, SCHEMA, "PriorityGroupPlan", "alpha_log2"),
        (ROOTS, SCHEMA, "LinkPlan", "vni"),
        (ROOTS, SCHEMA, "RankPlan", "ops"),
        (ROOTS, SCHEMA, "StormPlan", "on_ps"),
        (REPORTS, REPORT_SCHEMA, "QpRow", "naks_rx"),
        (REPORTS, REPORT_SCHEMA, "ByCause", "headroom"),
        (REPORTS, REPORT_SCHEMA, "Report", "agents"),
        (REPORTS, REPORT_SCHEMA, "Telemetry", "stopped_ns"),
    ],
)
def test_a_key_removed_from_rust_alone_is_noticed(
    documents: tuple[type, ...], schema: Json, kind: str, key: str
) -> None:
    less = copy.deepcopy(schema)
    del less["$defs"][kind]["properties"][key]
    differences = all_faults(documents, less)
    assert differences
    assert all(fault.endswith(f".{key}: of Python alone") for fault in differences)


@pytest.mark.parametrize(
    ("document", "key"),
    [
        (contract.Port, "weights"),
        (train.Train, "sequence"),
        (report.Connection, "timeouts"),
        (report.MeasuredFidelity, "late_frames"),
    ],
)
def test_a_key_removed_from_python_alone_is_noticed(document: Any, key: str) -> None:
    whole = python_shape(document)
    less = {name: value for name, value in whole.items() if name != key}
    assert list(faults(less, whole, "document")) == [f"document.{key}: of Rust alone"]


def test_a_reader_must_know_what_may_be_absent_or_null() -> None:
    whole = {"a": (True, "integer"), "b": (False, ("or null", "integer"))}
    strict = {"a": (True, "integer"), "b": (True, "integer")}
    assert list(faults(strict, whole, "report", written=True)) == [
        "report.b: Python requires it",
        "report.b: null is for Rust alone",
    ]
    assert list(faults(strict, whole, "plan")) == []


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


def test_a_report_is_of_the_contract() -> None:
    subject = Trial(new_experiment("pair", "all_reduce"), load_lab("pair"))
    fabric = VirtualFabric(json.dumps(subject.plan))
    perform(subject, fabric, "virtual", lambda progress: None)
    document = json.loads(fabric.report())
    assert list(misfits(document, python_shape(report.Report), "report")) == []
    assert list(misfits({**document, "nwo_ps": 1}, python_shape(report.Report), "report")) == ["report.nwo_ps"]
