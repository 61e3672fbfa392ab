"""What the models of labs and experiments share: units as field types, hyphenated keys, and faults with their line."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    StrictBool,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, ValidationError

from testbed import units
from testbed.errors import Fault, nearest
from testbed.schema.documented import sentences
from testbed.schema.source import Source, dotted

MAX_WEIGHT = 255
NAME_MAX = 63  # `testbed-<lab>-<node>` stays far below the 255 bytes of a file name, and each part fits a DNS label
_NAME = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{NAME_MAX - 1}}}")


class FileModel(BaseModel):
    """A frozen mapping of a file; keys are written with hyphens, unknown ones are faults.

    The string below a field is the sentence on its key, with unit and what leaving it out means: `testbed explain` shows it.
    A field that is a model has `Model.model_construct()` as its default: `Model()` would have pydantic build a validator for it
    when the module is imported, whether a file has the key or not.
    """

    # What other tools call keys, which the model reads too.
    other_names: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        allow_inf_nan=False,
        defer_build=True,
        json_schema_extra={"patternProperties": {"^x-": {}}},
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the sentences on keys."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in sentences(cls).items():
            properties[cls.model_fields[name].alias or name]["description"] = text
        return schema

    @model_validator(mode="before")
    @classmethod
    def _without_extensions(cls, data: Any) -> Any:
        """Leave out keys that begin with `x-`: they are the author's own, as in files of Docker Compose."""
        if not isinstance(data, dict) or not any(isinstance(key, str) and key.startswith("x-") for key in data):
            return data
        return {key: value for key, value in data.items() if not (isinstance(key, str) and key.startswith("x-"))}


def check_name(name: str) -> str:
    """Return a name that is safe in paths, labels and namespace names; raise ValueError for any other."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f'"{name}" is not a safe name: lower-case letters, digits and hyphens, '
            f"not a hyphen first, at most {NAME_MAX} characters"
        )
    return name


def _quantity(
    parse: Callable[[object], Any], what: str, example: str, auto: bool = False, extra: Sequence[str] = ()
) -> Any:
    """Make the annotations of a field that is read by `parse`, and by the word `auto` if allowed."""

    def read(value: object) -> Any:
        return value if auto and value == "auto" else parse(value)

    schema = {
        "type": ["string", "number", *extra],
        "description": what + (", or auto" if auto else ""),
        "examples": [example],
    }
    return BeforeValidator(read), WithJsonSchema(schema)


def _written(unit: str) -> PlainSerializer:
    """Write a quantity that may not go without its unit, so that what is written can be read again."""
    return PlainSerializer(lambda value: f"{value}{unit}" if isinstance(value, int) else value, when_used="json")


def parse_priority_key(value: object) -> int:
    """Read a priority that is the key of a mapping; raise ValueError if it is none."""
    if isinstance(value, bool) or str(value) not in set("01234567"):
        raise ValueError(f'"{value}" is not a priority from 0 to 7')
    return int(str(value))


def parse_weights(value: object) -> dict[int, int]:
    """Read weights by priority, at least one of them above 0."""
    if not isinstance(value, dict):
        raise ValueError("weights are a mapping of priorities to weights, as {0: 1, 3: 4}")
    for priority, weight in value.items():
        if str(priority) not in "01234567" or len(str(priority)) != 1:
            raise ValueError(f'"{priority}" is not a priority from 0 to 7')
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= MAX_WEIGHT:
            raise ValueError(
                f'the weight of priority {priority}, "{weight}", is not a whole number from 0 to {MAX_WEIGHT}'
            )
    if not any(value.values()):
        raise ValueError("no weight is above 0; priorities without one are strict")
    return {int(priority): weight for priority, weight in value.items()}


def all_weights(weights: Mapping[int, int]) -> tuple[int, ...]:
    """Return the weights of all eight priorities; those without one are strict, 0."""
    return tuple(weights.get(priority, 0) for priority in range(8))


def parse_loss(value: object) -> tuple[float, float]:
    """Read the loss of a link: one ratio for both directions, or a list of two, first endpoint to second first."""
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise ValueError("loss is one ratio, or two: from the first endpoint to the second, and back")
        return units.parse_loss_ratio(value[0]), units.parse_loss_ratio(value[1])
    ratio = units.parse_loss_ratio(value)
    return ratio, ratio


def _size_or_share(value: object) -> int | float:
    """Read a size in bytes as an integer, a percentage from 1 to 1000 as a fraction."""
    if not isinstance(value, str) or not value.rstrip().endswith("%"):
        return units.parse_size(value)
    number = value.strip().removesuffix("%")
    try:
        share = float(number) / 100
    except ValueError:
        raise ValueError(f'"{value}" is not a share; write it like 50%') from None
    if not 0.01 <= share <= 10:
        raise ValueError(f'"{value}" is not from 1% to 1000%')
    return share


def parse_percent(value: object) -> int:
    """Read a whole number of percent from 0 to 100, with or without its sign."""
    text = str(value).strip().removesuffix("%").strip()
    if isinstance(value, bool | float) or not text.isdecimal() or int(text) > 100:
        raise ValueError(f'"{value}" is not a whole number of percent from 0 to 100')
    return int(text)


def parse_dscp(value: object) -> int | str:
    """Return a DSCP, or `auto`; raise ValueError for anything else."""
    if value == AUTO:
        return AUTO
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 63:
        raise ValueError(f"{value!r} is not a DSCP from 0 to 63, nor auto")
    return value


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) != len(values):
        raise ValueError("a priority is listed twice")
    return tuple(sorted(values))


FlowControl = Literal["pfc", "credit", "none"]
Auto = Literal["auto"]
AUTO: Auto = "auto"
Name = Annotated[str, AfterValidator(check_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"})]
Flag = StrictBool
Rate = Annotated[
    int,
    *_quantity(units.parse_rate, "rate in bit/s", "100G"),
    PlainSerializer(lambda bps: bps if bps is None or bps >= units.LEAST_BARE_RATE else f"{bps}bps", when_used="json"),
]
Time = Annotated[int, *_quantity(units.parse_time, "time", "80us"), _written("ps")]
TimeOrAuto = Annotated[int | Auto, *_quantity(units.parse_time, "time", "2us", auto=True), _written("ps")]
Length = Annotated[int, *_quantity(units.parse_length, "length of fibre", "80km"), _written("mm")]
Size = Annotated[int, *_quantity(units.parse_size, "size in bytes", "64MiB")]
SizeOrAuto = Annotated[int | Auto, *_quantity(units.parse_size, "size in bytes", "400KB", auto=True)]
Share = Annotated[float, PlainSerializer(lambda share: f"{100 * share:g}%", when_used="json")]
SizeShareOrAuto = Annotated[
    int | Share | Auto,
    BeforeValidator(lambda value: value if value == AUTO else _size_or_share(value)),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "description": "size in bytes, share of what auto comes to, or auto",
            "examples": ["400KB", "50%"],
        }
    ),
]
Percent = Annotated[int, *_quantity(parse_percent, "whole percent from 0 to 100", "50%")]
Loss = Annotated[
    tuple[float, float], *_quantity(parse_loss, "probability that a frame is lost", "1e-4", extra=["array"])
]
LossRatio = Annotated[float, *_quantity(units.parse_loss_ratio, "share of the frames that are lost", "1e-4")]
Ratio = Annotated[float, *_quantity(units.parse_ratio, "share from 0 to 1", "1e-4")]
Priority = Annotated[int, Field(strict=True, ge=0, le=7)]
DscpOrAuto = Annotated[
    int | Auto,
    BeforeValidator(parse_dscp),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0, "maximum": 63}, {"const": AUTO}]}),
]
Priorities = Annotated[tuple[Priority, ...], AfterValidator(_distinct)]
Weights = Annotated[
    dict[int, int],
    BeforeValidator(parse_weights),
    WithJsonSchema(
        {
            "type": "object",
            "description": "weight by priority, 0 is strict",
            "patternProperties": {"^[0-7]$": {"type": "integer", "minimum": 0, "maximum": MAX_WEIGHT}},
            "additionalProperties": False,
        }
    ),
]
# A priority as the key of a mapping, which files have as text.
PriorityKey = Annotated[
    int,
    BeforeValidator(parse_priority_key),
    WithJsonSchema({"type": "string", "description": "priority", "pattern": "^[0-7]$"}),
]
Mtu = Annotated[int, Field(strict=True, ge=576, le=65535)]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]


def model_faults(error: ValidationError, model: type[BaseModel], source: Source) -> list[Fault]:
    """Return what pydantic found, as faults with the line of their key and, for unknown keys, the nearest known one."""
    faults = []
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        faults.append(Fault(source.file, source.line(path), dotted(path), _message(detail, path, model)))
    return faults


def _message(detail: ErrorDetails, path: Sequence[str | int], model: type[BaseModel]) -> str:
    if detail["type"] == "extra_forbidden":
        return "unknown key" + nearest(str(path[-1]), known_keys(model, path[:-1]))
    if detail["type"] == "missing":
        return "missing"
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    if detail["type"] == "literal_error":
        return f'"{detail["input"]}" is not {detail["ctx"]["expected"]}'.replace("'", '"')
    if detail["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return "must be a mapping of keys to values"
    if detail["type"] in ("tuple_type", "list_type"):
        return "must be a list"
    if detail["type"] == "too_short":
        return "must not be empty"
    shown = str(detail["input"])[:40]
    return f'"{shown}" {detail["msg"].removeprefix("Input ")}'


def known_keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the keys that the mapping at `path` of a model may have; none if it is not a mapping with fixed keys."""
    annotation: Any = model
    for part in path:
        annotation = member(annotation, part)
    inner = as_model(annotation)
    return [field.alias or name for name, field in inner.model_fields.items()] if inner else []


def other_names(model: type[BaseModel], path: Sequence[str | int]) -> frozenset[str]:
    """Return what other tools call keys of the mapping at `path` of a model."""
    annotation: Any = model
    for part in path:
        annotation = member(annotation, part)
    inner = as_model(annotation)
    return inner.other_names if inner is not None and issubclass(inner, FileModel) else frozenset()


def member(annotation: Any, part: str | int) -> Any:
    """Return the annotation of one key, or one item, of what an annotation describes; None if it has no such part."""
    model = as_model(annotation)
    if model is not None:
        return next(
            (field.annotation for name, field in model.model_fields.items() if part in (field.alias, name)), None
        )
    if get_origin(annotation) in (Union, types.UnionType):
        return member(without_none(annotation), part)
    arguments = [item for item in get_args(annotation) if item is not Ellipsis]
    return arguments[-1] if arguments else None


def without_none(annotation: Any) -> Any:
    """Return what an annotation says besides None and beneath Annotated: the first, if it is several."""
    if get_origin(annotation) is Annotated:
        return without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return next((item for item in get_args(annotation) if item is not type(None)), None)
    return annotation


def as_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation names, also beside None or within Annotated; None if it names none."""
    if get_origin(annotation) is Annotated:
        return as_model(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return next((model for item in get_args(annotation) if (model := as_model(item))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
