"""What an agent writes down of the labs it brought up, so that the next one can take them over: a hint, never the truth.

What exists is in the system. A record says how a lab was asked for, and counts only if the system holds that very lab; one
that is damaged, or of a lab that is gone, is as good as none.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from testbed.bus.messages import MAX_MESSAGE_BYTES, DeployBody, is_name
from testbed.errors import HostError

_log = logging.getLogger(__name__)
STATE_VARIABLE = "TESTBED_STATE_DIR"
_FOLDER = "labs"
_SUFFIX = ".json"


def default_state_dir() -> Path:
    """Name the state directory without making it.

    `TESTBED_STATE_DIR`, else /run/testbed, else the user's own temporary place.
    """
    if chosen := os.environ.get(STATE_VARIABLE):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/run/testbed")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "testbed" if runtime else Path(tempfile.gettempdir()) / f"testbed-{os.geteuid()}"


class Ledger:
    """Records of labs in a state directory, one file each, readable by its owner alone."""

    def __init__(self, state: Path) -> None:
        self._folder = state / _FOLDER

    def write(self, lab: str, body: DeployBody) -> None:
        """Write down how a lab was asked for, whole or not at all. Raises HostError where that is impossible."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, staged = tempfile.mkstemp(dir=self._folder, prefix=".")
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(body.model_dump_json())
                os.replace(staged, self._path(lab))
            except BaseException:
                Path(staged).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise HostError(f"write {self._folder}: {error.strerror}") from None

    def read(self, lab: str) -> DeployBody | None:
        """Return how a lab was asked for; None if that is not known."""
        path = self._path(lab)
        try:
            if path.stat().st_size > MAX_MESSAGE_BYTES:
                return None
            record: dict[str, Any] = json.loads(path.read_bytes())
            body = DeployBody.model_validate(record)
        except (OSError, ValueError, ValidationError):
            return None
        return body if body.plan.get("lab") == lab else None

    def names(self) -> list[str]:
        """Return the labs that there are records of."""
        return sorted(path.stem for path in self._records() if path.suffix == _SUFFIX and is_name(path.stem))

    def forget(self, lab: str) -> None:
        """Remove the record of a lab, and the folder with the last one."""
        with suppress(OSError):
            self._path(lab).unlink(missing_ok=True)
            self._folder.rmdir()

    def clear(self) -> None:
        """Remove every record."""
        for path in self._records():
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()

    def _records(self) -> Iterator[Path]:
        with suppress(OSError):
            yield from list(self._folder.iterdir())

    def _path(self, lab: str) -> Path:
        if not is_name(lab):
            raise HostError(f"{lab!r} is not the name of a lab")
        return self._folder / f"{lab}{_SUFFIX}"
