"""Named sets of parameters, each figure beside its source, that a file may give by their name alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import AfterValidator, WithJsonSchema, model_validator

from testbed.errors import nearest
from testbed.schema.fields import FileModel


@dataclass(frozen=True)
class Figure:
    """One figure of a set: its value, where it stands, and the rate in bit/s that it is meant for, if it grows with it."""

    value: float
    source: str
    per_bps: int = 0

    def at(self, rate_bps: int) -> float:
        """Return the value for a rate; whole figures stay whole."""
        if not self.per_bps:
            return self.value
        return int(self.value) * rate_bps // self.per_bps


Figures = Mapping[str, Figure]


def known(sets: Mapping[str, Figures], what: str) -> Any:
    """Return the annotations of a field that holds the name of a set."""

    def check(name: str) -> str:
        if name not in sets:
            raise ValueError(f'no {what} is called "{name}"{nearest(name, sets)}')
        return name

    return AfterValidator(check), WithJsonSchema({"enum": list(sets)})


class PresetSet(FileModel):
    """A set of parameters that a file may give by its name alone: `ecn: sonic` is `ecn: {preset: sonic}`."""

    presets: ClassVar[Mapping[str, Figures]]
    what: ClassVar[str]
    # Fields that no set has, since what they are left out follows from the lab.
    derived: ClassVar[frozenset[str]] = frozenset()

    preset: str | None = None
    """Named set of all figures; left out, those of the file alone."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in cls.presets:
            raise ValueError(f'no {cls.what} is called "{value}"{nearest(value, cls.presets)}')
        return {"preset": value}

    def at(self, rate_bps: int) -> dict[str, float]:
        """Return every figure for a rate: as given, or that of the preset."""
        figures = self.presets[self.preset] if self.preset is not None else {}
        chosen = {}
        for name in type(self).model_fields:
            if name != "preset" and name not in self.derived:
                given = getattr(self, name)
                chosen[name] = figures[name].at(rate_bps) if given is None else given
        return chosen
