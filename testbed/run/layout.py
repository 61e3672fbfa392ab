"""How documents are laid out as text."""

from __future__ import annotations

import json
from typing import Any


def laid_out(document: Any) -> str:
    """Return a document as JSON, one key a line.

    The text is that of `json.dumps` with an indent of 2, which has no implementation in C and takes four times as long.
    """
    from testbed._dataplane import indent_json

    return indent_json(json.dumps(document, separators=(",", ":"), ensure_ascii=False)) + "\n"
