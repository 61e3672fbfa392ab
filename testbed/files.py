"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from testbed.errors import cannot_write


def write_whole(target: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Make a file of what `write` writes, in a directory that is made if absent, and return its path.

    A reader sees the older file or the new one, never a part, also where others write the same file from other machines.
    Raises what `errors.cannot_write` makes of a failure.
    """
    # Two machines that share a directory may have processes of the same number.
    draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error
    return target
