"""Where user-mode-linux is missing: in CI the tests fail and say so, elsewhere they are left out and one line says so."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import IN_CI
from tests.netem.uml import KERNEL

HERE = Path(__file__).resolve().parent
LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of this folder if their kernel is missing; never in CI."""
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    if not ours or IN_CI or shutil.which(KERNEL):
        return
    items[:] = [item for item in items if item not in ours]
    config.stash[LEFT_OUT] = len(ours)
    config.hook.pytest_deselected(items=ours)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Return in one line which tests were left out."""
    count = config.stash.get(LEFT_OUT, 0)
    return [f"{count} tests of netem left out: they need Debian's package user-mode-linux"] if count else []
