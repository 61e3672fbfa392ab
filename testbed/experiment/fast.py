"""How far the figures of a run may be off that skips what recurs: the key `fast` of an experiment."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

MOST = 0.1
"""A run whose figures may be off by more would say little."""


def parse_tolerance(value: object) -> float:
    """Read a percentage from 0% to 10% as a fraction; raise ValueError for anything else."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else math.nan
    except ValueError:
        share = math.nan
    if math.isnan(share):
        raise ValueError(f'"{value}" is not a share; write it like 1%')
    if not 0 <= share <= MOST:
        raise ValueError(f'"{value}" is not from 0% to {MOST:.0%}')
    return share


Tolerance = Annotated[
    float,
    BeforeValidator(parse_tolerance),
    PlainSerializer(lambda share: f"{100 * share:g}%", when_used="json"),
    WithJsonSchema({"type": "string", "description": "a share from 0% to 10%", "examples": ["1%"]}),
]
