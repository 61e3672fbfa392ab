"""What models say of themselves when they are asked: sentences on keys and JSON Schemas, worked out no earlier.

Most commands read a file or two and show none of it, and both take longer than the models themselves.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class LateJsonSchema:
    """The JSON Schema that a field states for itself, made when it is asked for. Like pydantic's WithJsonSchema."""

    make: Callable[[], dict[str, Any]]

    @property
    def json_schema(self) -> dict[str, Any]:
        """The schema."""
        return self.make()

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.make()


@cache
def sentences(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the string below each field of a model, by the field's name; those of its bases are included."""
    texts: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner is not BaseModel and issubclass(owner, BaseModel):
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
            assert isinstance(body, ast.ClassDef)
            texts |= _below_fields(body)
    return texts


def _below_fields(model: ast.ClassDef) -> dict[str, str]:
    texts = {}
    for field, below in zip(model.body, model.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value.value if isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                texts[field.target.id] = inspect.cleandoc(text)
    return texts
