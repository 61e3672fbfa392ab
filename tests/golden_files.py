"""Compare with files that a person can read; UPDATE_GOLDEN=1 writes them anew, to be read before they are committed."""

import os
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent / "golden"


def check_golden(path: Path, text: str) -> None:
    """Fail unless `path` holds exactly `found`."""
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.is_file(), f"{path.name} does not exist; UPDATE_GOLDEN=1 writes it"
    assert text == path.read_text()
