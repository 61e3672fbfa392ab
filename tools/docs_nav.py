"""Hooks of mkdocs: the page of every verb stands in the navigation without being named there; bars in cells are bars."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

AFTER = "Reference"


def on_config(config: Any) -> Any:
    """Insert the pages below docs/cmd behind the reference; the overview comes first."""
    folder = Path(config.docs_dir) / "cmd"
    verbs = sorted(path.stem for path in folder.glob("*.md") if path.name != "index.md")
    entry = {"Commands": ["cmd/index.md", *({verb: f"cmd/{verb}.md"} for verb in verbs)]}
    where = next(place for place, item in enumerate(config.nav) if isinstance(item, dict) and AFTER in item)
    config.nav.insert(where + 1, entry)
    return config


def on_page_content(html: str, **_: Any) -> str:
    """Show a bar in the code of a table's cell without the backslash that keeps it from being a border."""
    return re.sub(r"<td\b.*?</td>", lambda cell: cell[0].replace("\\|", "|"), html, flags=re.DOTALL)
