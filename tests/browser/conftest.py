"""Pages in a headless Chromium. Where it, npm's packages or mosquitto is missing, CI fails; elsewhere they are left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.bus import mosquitto
from testbed.errors import HostError
from tests.conftest import IN_CI, ROOT
from tools.chromium import Page, browser, executable

HERE = Path(__file__).resolve().parent
MODULES = ROOT / "web" / "node_modules"
LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of this folder if what they need is missing; never in CI."""
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    if not ours or IN_CI or (executable() and MODULES.is_dir() and _has_broker()):
        return
    items[:] = [item for item in items if item not in ours]
    config.stash[LEFT_OUT] = len(ours)
    config.hook.pytest_deselected(items=ours)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Return in one line which tests were left out."""
    count = config.stash.get(LEFT_OUT, 0)
    return [f"{count} tests of pages left out: they need chromium, mosquitto, and `make web` with npm"] if count else []


def _has_broker() -> bool:
    try:
        return bool(mosquitto.program())
    except HostError:
        return False


@pytest.fixture(scope="session")
def page() -> Iterator[Page]:
    """Yield a tab of a browser."""
    with browser() as opened:
        yield opened
