"""Write the reference pages below docs/, and take away those that are no longer made."""

from __future__ import annotations

from pathlib import Path

from tools.references.pages import FOLDERS, pages

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> None:
    """Write every page; remove what stands in a folder of such pages and is not one of them."""
    made = pages()
    for name, text in made.items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for folder in FOLDERS:
        for path in (DOCS / folder).glob("*.md"):
            if path.relative_to(DOCS).as_posix() not in made:
                path.unlink()


main()
