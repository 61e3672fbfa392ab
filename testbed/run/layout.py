"""How documents are laid out as text."""

from __future__ import annotations

import json
from typing import Any


def laid_out(document: Any) -> str:
    """Return a document as JSON, one key a line.

    The text is that of `json.dumps` with an indent of 2, which has no implementation in C and takes four times as long; where
    the data plane has not been built, which `doctor` says, it is that.
    """
    try:
        from testbed._dataplane import indent_json
    except ImportError:
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return indent_json(json.dumps(document, separators=(",", ":"), ensure_ascii=False)) + "\n"
