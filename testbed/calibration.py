"""What this machine can carry, measured once and kept in the user's cache."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from testbed.dilation import Calibration
from testbed.errors import HostError

SECONDS = 2.0


class CalibrationFile(BaseModel):
    """The document calibration.json; wall time."""

    model_config = ConfigDict(frozen=True, extra="allow")

    class Lateness(BaseModel):
        """How late frames left after their due time."""

        p50: float = Field(ge=0)
        p99: float = Field(ge=0)
        max: float = Field(ge=0)

    frame_hops_per_s: float = Field(gt=0)
    lateness_ns: Lateness

    def calibration(self) -> Calibration:
        """Return the figures that the choice of a dilation rests on."""
        return Calibration(int(self.frame_hops_per_s), int(self.lateness_ns.p99))


def default_path() -> Path:
    """Name the file: below XDG_CACHE_HOME, else ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "testbed" / "calibration.json"


def measure(seconds: float = SECONDS) -> CalibrationFile:
    """Measure this machine for so many seconds. Raises HostError where it cannot run the real clock."""
    dataplane: Any = importlib.import_module("testbed._dataplane")
    try:
        return CalibrationFile.model_validate_json(dataplane.calibrate(seconds))
    except OSError as error:
        raise HostError(f"calibrate: {error.strerror or error}") from None


def load(path: Path) -> CalibrationFile | None:
    """Read an earlier measurement; None when there is none that can be read."""
    try:
        return CalibrationFile.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def store(measured: CalibrationFile, path: Path) -> None:
    """Keep a measurement, whole or not at all. Raises HostError when it cannot be written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(measured.model_dump(), indent=2) + "\n")
        draft.replace(path)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def load_or_measure() -> CalibrationFile:
    """Return the kept measurement, made first if there is none."""
    path = default_path()
    if found := load(path):
        return found
    measured = measure()
    store(measured, path)
    return measured
