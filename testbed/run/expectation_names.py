"""The names that an experiment's `expect:` may use: figures of a run, and the keys of run.json.

What run.json has by the name of a node or a port is known from the lab. Of a few of its parts, energy say, only the run
says what they hold, so that a name in them is checked against the result.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_origin

from testbed.errors import Fault, nearest
from testbed.experiment import expectations
from testbed.experiment.expectations import Path
from testbed.experiment.file import Experiment
from testbed.lab.topology import Lab
from testbed.plan.compile import PRIORITIES
from testbed.run.observed import Observed
from testbed.run.result import RunResult
from testbed.schema import fields

FIGURES = ("algbw", "busbw", "ideal", "time_us", "wrong")
"""What expectations may name besides the document: see `Trial.conclude`."""

Keys = Mapping[tuple[str, ...], Sequence[str]]
_ANY = "*"
_NAMED = 30


def faults(experiment: Experiment, lab: Lab) -> Iterator[Fault]:
    """Yield a fault for each name that no result of this lab can have, with the names that were near."""
    keys = _keys(lab)
    for index, text, path in _paths(experiment):
        problem, _ = _follow(path, keys)
        if problem:
            yield experiment.fault(("expect", index), f"{text}: {problem}")


def faults_in(experiment: Experiment, lab: Lab, document: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield a fault for each name that a result lacks, in those of its parts that only the run could tell of."""
    keys = _keys(lab)
    for index, text, path in _paths(experiment):
        _, closed = _follow(path, keys)
        value: Any = document
        for depth, part in enumerate(path.parts if closed < len(path.parts) else ()):
            if isinstance(value, Mapping) and str(part) not in value and depth >= closed:
                yield experiment.fault(("expect", index), f"{text}: {_unknown(path, depth, value)}")
            try:
                value = value[part if isinstance(value, list) else str(part)]
            except (LookupError, TypeError):
                break  # a value that this run did not measure


def _paths(experiment: Experiment) -> Iterator[tuple[int, str, Path]]:
    for index, text in enumerate(experiment.expect):
        yield from ((index, text, path) for path in expectations.paths(text))


def _keys(lab: Lab) -> Keys:
    """Return the keys of run.json's mappings that a lab determines, by where they are."""
    return {
        ("ports",): [f"{node}:{port}" for node, ports in lab.ports.items() for port in ports],
        ("ports", _ANY, "priorities"): [str(priority) for priority in range(PRIORITIES)],
        ("pools",): [switch.name for switch in lab.switches],
    }


def _follow(path: Path, keys: Keys) -> tuple[str | None, int]:
    """Return what is wrong with a path, if anything, and how many of its parts are known before the run."""
    if path.parts[0] in FIGURES:
        return (_no_parts(path, 1) if path.parts[1:] else None), len(path.parts)
    annotation: Any = RunResult
    place: tuple[str, ...] = ()
    for depth, part in enumerate(path.parts):
        kind = get_origin(fields.without_none(annotation))
        known = [*keys.get(place, ()), *_fields(annotation)]
        if kind is list and not isinstance(part, int):
            return f'"{Path(path.parts[:depth])}" is a list: write "{Path((*path.parts[:depth], 0))}"', depth
        if known and str(part) not in known:
            return (_unknown(path, depth, known) if depth else _unknown_first(path, [*known, *FIGURES])), depth
        if str(part) in _undeclared(annotation):
            break
        if kind is not list and not known:
            is_open = annotation is Any or kind is dict
            return (None if is_open else _no_parts(path, depth)), depth
        annotation = fields.member(annotation, part)
        place = (*place, _ANY if place == ("ports",) else str(part))
    return None, len(path.parts)


def _unknown(path: Path, depth: int, known: Iterable[str]) -> str:
    choices = sorted(known)
    guess = nearest(str(path.parts[depth]), choices)
    if guess and "known:" not in guess:
        more = f", and {len(choices) - _NAMED} more" if len(choices) > _NAMED else ""
        guess += f" known: {', '.join(choices[:_NAMED])}{more}"
    return f'the result has no "{Path(path.parts[: depth + 1])}"{guess}'


def _unknown_first(path: Path, known: Iterable[str]) -> str:
    """Name also what a part of the result calls so: `lossless` is in its verdict and in its drops."""
    inner = {place: _fields(fields.member(RunResult, place)) for place in _fields(RunResult)}
    near = difflib.get_close_matches(str(path.parts[0]), {name for names in inner.values() for name in names}, n=1)
    near_names = [f'"{place}.{name}"' for place, names in inner.items() for name in near if name in names]
    problem = _unknown(path, 0, known)
    return (
        problem
        if not near_names or "did you mean" in problem
        else f"{problem}; there is {' and '.join(sorted(near_names))}"
    )


def _no_parts(path: Path, depth: int) -> str:
    return f'"{Path(path.parts[:depth])}" is one value, and "{path}" asks for a part of it'


def _fields(annotation: Any) -> list[str]:
    """Return the keys of a mapping that always has the same; none of any other value."""
    model = fields.as_model(annotation)
    return [] if model is None else [*fields.known_keys(model, ()), *_undeclared(annotation)]


def _undeclared(annotation: Any) -> frozenset[str]:
    """Return what the data plane says in a mapping beside the fields that its model declares."""
    model = fields.as_model(annotation)
    return model.undeclared if model is not None and issubclass(model, Observed) else frozenset()
