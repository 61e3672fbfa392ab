"""The settings that a sweep varies: an axis for each of them, and every combination of their values, in order.

A value is text that YAML reads: what stands after the equals sign of `--set`, or after that of a parameter of a lab.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from testbed.errors import UsageError, nearest
from testbed.schema.fields import FileModel
from testbed.schema.listed import split_list

MAX_COMBINATIONS = 10_000
LAB = "topology"

Setting = tuple[str, str]


def as_text(value: Any) -> str:
    """Write a value of a file as text that reads as the same value."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{Decimal(repr(value)).normalize():e}" if 0 < abs(value) < 0.01 else repr(value)
    return json.dumps(value)


def _values(values: tuple[Any, ...]) -> tuple[Any, ...]:
    texts = [as_text(value) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is listed twice")
    return values


class Sweep(FileModel):
    """What `testbed sweep` varies: for each setting its values. `best-by`: of which settings the winners are named.

    A setting is a key of the experiment, like `transport.recovery`, or `topology.` and a parameter of the lab's generator or a
    key of the lab, like `topology.links[2].length`.
    """

    over: Annotated[
        dict[str, Annotated[tuple[Any, ...], Field(min_length=1), AfterValidator(_values)]], Field(min_length=1)
    ]
    """Lists of values, by the dotted setting, or the parameter (`topology.length`) or key of the lab that takes them."""
    best_by: tuple[str, ...] = ()
    """Settings for each value of which the winner is named; left out, no winners are named."""

    @model_validator(mode="after")
    def _agrees(self) -> Sweep:
        check_best_by(self.best_by, list(self.over))
        return self


@dataclass(frozen=True)
class Axis:
    """One setting and its values."""

    key: str
    values: tuple[str, ...]

    @property
    def parameter(self) -> str | None:
        """Return the parameter or key of the lab that is meant; None if a setting of the experiment is."""
        section, dot, name = self.key.partition(".")
        return name if dot and section == LAB else None


def axes_of(sweep: Sweep | None) -> list[Axis]:
    """Return the axes of an experiment's section."""
    return [Axis(key, tuple(map(as_text, values))) for key, values in sweep.over.items()] if sweep else []


def read_axis(text: str) -> Axis:
    """Read `key=a,b,c`; commas within brackets and quotes part nothing. Raises UsageError if it is not that."""
    key, equals, listed = text.partition("=")
    values = [value.strip() for value in split_list(listed)]
    if not equals or not key.strip() or not all(values):
        raise UsageError(f'--over "{text}": write it like transport.recovery=go-back-n,selective-repeat')
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise UsageError(f'--over "{text}": {twice} is listed twice')
    return Axis(key.strip(), tuple(values))


def merge(axes: Sequence[Axis], changed: Sequence[Axis], fixed: Sequence[str]) -> list[Axis]:
    """Return the axes with those of the same key replaced by `changed`, new ones after them, and none for `fixed` keys."""
    merged = {axis.key: axis for axis in axes if axis.key not in fixed}
    keys = [axis.key for axis in changed]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"--over {key} is given twice; list its values in one")
    return list((merged | {axis.key: axis for axis in changed}).values())


def check_best_by(keys: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError for a key of `best-by` that does not vary, or is named twice."""
    for key in keys:
        if key not in known:
            raise ValueError(f'best-by: nothing varies "{key}"{nearest(key, known)}')
    if len(set(keys)) != len(keys):
        raise ValueError("best-by: a key is listed twice")


def combinations(axes: Sequence[Axis]) -> Iterator[tuple[Setting, ...]]:
    """Yield every combination, the last axis varying fastest. Raises UsageError if there are too many."""
    count = math.prod(len(axis.values) for axis in axes)
    if count > MAX_COMBINATIONS:
        raise UsageError(f"{count:,} combinations are more than {MAX_COMBINATIONS:,}")
    for values in itertools.product(*(axis.values for axis in axes)):
        yield tuple((axis.key, value) for axis, value in zip(axes, values, strict=True))


def short_names(keys: Sequence[str]) -> Mapping[str, str]:
    """Return the last part of every key, and the whole key where that part is not the only one of its kind."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: part if last.count(part) == 1 else key for key, part in zip(keys, last, strict=True)}
