"""A plugin of pytest: tests that are marked with a lab are given one, up under the real clock, and it is gone afterwards.

    @pytest.mark.testbed(topology="two-dc:length=8km", dilation=2000)
    def test_the_span_loses_nothing(lab: Lab) -> None:
        assert lab.run("all_reduce", minbytes="64K", maxbytes="64K").verdict.lossless

Tests may run side by side, in workers of pytest-xdist or in sessions of several people: each lab is made for its test, under a
name that carries the worker, and one that is up already is never used, changed or destroyed.

With `clock="virtual"` the lab is that of `Lab.virtual`: exact, in this process, and without root.

The marker takes what `Lab.deploy` does: `topology`, `driver`, `dilation`, `settings`, `seed`, `target`. The nearest one counts
whole: that of a function wins over that of its class or module. A lab that is to serve several tests is a fixture of
their own around `Lab.deploy`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from testbed.errors import TestbedError, UsageError

if TYPE_CHECKING:
    from testbed.api import Lab
    from testbed.virtual_lab import VirtualLab

_MARKER = "testbed"
_SETTINGS = ("topology", "clock", "driver", "dilation", "settings", "seed", "target")
_REAL_ONLY = ("driver", "dilation", "target")
_OPTION = "--testbed-missing"
_SESSION = secrets.token_hex(3)
# A name has 63 characters at most; a worker's takes six or so.
_LAB_CHARS = 40


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the user say what becomes of tests whose lab this machine cannot have."""
    parser.getgroup("testbed").addoption(
        _OPTION,
        choices=("fail", "skip"),
        default="fail",
        help="what becomes of a test whose lab this machine cannot have, for lack of root or of an engine (default: fail)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", f"{_MARKER}({', '.join(_SETTINGS)}): the lab that the fixture `lab` is, as Lab.deploy takes it"
    )


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab | VirtualLab]:
    """A lab as the marker `testbed` of the test says, up under its clock; gone when the test is over."""
    # Not before it is needed: pytest loads this plugin for tests that want no lab, too.
    from testbed.api import Lab
    from testbed.lab.topology import load_lab

    settings = _settings(request)
    topology = settings.pop("topology")
    try:
        name = _own_name(load_lab(str(topology)).name)
        clock = settings.pop("clock", "real")
        made = Lab.virtual if clock == "virtual" else partial(Lab.deploy, exclusive=True)
        found: Lab | VirtualLab = made(topology, name=name, **settings)
    except TestbedError as error:
        if error.exit_code != UsageError.exit_code and request.config.getoption(_OPTION) == "skip":
            pytest.skip(f"lab {topology}: {error}")
        pytest.fail(f"lab {topology}: {error}", pytrace=False)
    with found:
        yield found


def _own_name(lab: str) -> str:
    """Return a name that no other session has, nor any other worker of this one: `pair-gw0-3fa2c1`."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"{lab[:_LAB_CHARS]}-{worker}-{_SESSION}"


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the marker says. Fails the test where it says nothing that could be meant."""
    marker = request.node.get_closest_marker(_MARKER)
    example = f'@pytest.mark.{_MARKER}(topology="two-dc")'
    if marker is None:
        pytest.fail(f"the fixture `lab` needs a marker that says which: {example}", pytrace=False)
    if marker.args or "topology" not in marker.kwargs:
        pytest.fail(f"the marker {_MARKER} takes keywords, and needs a topology: {example}", pytrace=False)
    if unknown := sorted(marker.kwargs.keys() - set(_SETTINGS)):
        known = ", ".join(_SETTINGS)
        pytest.fail(f"the marker {_MARKER} has no setting {unknown[0]}; it has {known}", pytrace=False)
    clock = marker.kwargs.get("clock", "real")
    if clock not in ("real", "virtual"):
        pytest.fail(f"the marker {_MARKER}: clock is real or virtual, not {clock}", pytrace=False)
    if clock == "virtual" and (given := [key for key in _REAL_ONLY if key in marker.kwargs]):
        pytest.fail(f"the marker {_MARKER}: {given[0]} has no meaning under the virtual clock", pytrace=False)
    return dict(marker.kwargs)
