"""Hook of mkdocs: the page of every verb stands in the navigation without being named there."""

from __future__ import annotations

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
