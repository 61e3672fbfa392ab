"""Results as they lie on disk: run.json or sweep.json, or a directory that holds one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from testbed.errors import Fault, InputError, UsageError
from testbed.report.page.document import Run, Study
from testbed.report.page.series import recorded
from testbed.run import result
from testbed.study.sweep import SweepResult

SWEEP = "sweep.json"


def read_all(paths: Sequence[Path]) -> list[Run | Study]:
    """Read results in their order. Raises UsageError for what cannot be read, InputError for what is not a result."""
    return [_read(path) for path in paths]


def _read(path: Path) -> Run | Study:
    source = path / SWEEP if (path / SWEEP).is_file() else path
    if source.name == SWEEP:
        return Study(str(path), _sweep(source))
    judged = result.read(path)
    return Run(str(path), judged, recorded(judged, path if path.is_dir() else path.parent))


def _sweep(path: Path) -> SweepResult:
    try:
        return SweepResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    except ValidationError as error:
        raise InputError(
            Fault(str(path), 0, ".".join(map(str, detail["loc"])), detail["msg"]) for detail in error.errors()
        ) from error
