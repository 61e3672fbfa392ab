"""What every part of a lab is made of once its settings are resolved."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Resolved(BaseModel):
    """A part of a lab with every setting resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
