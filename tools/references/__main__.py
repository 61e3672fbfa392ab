"""Write the reference pages below docs/, and take away those that are no longer made."""

from __future__ import annotations

from pathlib import Path

from tools.references.contract import PAGE, with_keys
from tools.references.pages import FOLDERS, pages

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> None:
    """Write every page, and the keys in one that has prose of its own; remove what is left over in folders of such pages."""
    made = pages()
    for name, text in made.items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for folder in FOLDERS:
        for path in (DOCS / folder).glob("*.md"):
            if path.relative_to(DOCS).as_posix() not in made:
                path.unlink()
    page = DOCS / PAGE
    page.write_text(with_keys(page.read_text(encoding="utf-8")), encoding="utf-8")


main()
