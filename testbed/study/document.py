"""What the documents of a sweep and of a comparison of policies have in common: their head, their verdicts, their text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from testbed.run.layout import laid_out

Verdict = Literal["passed", "lossy", "failed", "incomplete", "invalid", "missing", "defect"]
"""Of one row: all held; all held but frames were lost for lack of buffer; an expectation, an invariant or the payload failed;
the run did not end; it cannot be run; it was not computed yet; the testbed itself failed."""

HELD = ("passed", "lossy")


class Model(BaseModel):
    """A part of such a document."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", serialize_by_alias=True, validate_by_name=True, defer_build=True
    )


class Document(Model):
    """The head of a document, before its rows."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    lab: str
    seed: int
    versions: dict[str, str]
    replay: str

    def to_json(self) -> str:
        """Return the document as text, one key a line."""
        return laid_out(self.model_dump(mode="json"))


def exit_code_of(verdicts: Iterable[Verdict]) -> int:
    """Return 0 if every row ran to its end and held what was expected, 3 after a defect, else 1."""
    seen = set(verdicts)
    return 0 if seen <= set(HELD) else 3 if "defect" in seen else 1
