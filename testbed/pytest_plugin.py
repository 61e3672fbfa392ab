"""A plugin of pytest: tests that are marked with a lab are given one, up under the real clock, and it is gone afterwards.

    @pytest.mark.testbed(topology="two-dc:length=8km", dilation=2000)
    def test_the_span_loses_nothing(lab: Lab) -> None:
        assert lab.run("all_reduce", minbytes="64K", maxbytes="64K").verdict.lossless

The marker takes what `Lab.deploy` does: `topology`, `driver`, `dilation`, `settings`, `seed`, `target`. The nearest one counts
whole: that of a function wins over that of its class or module. A lab that is to serve several tests is a fixture of
their own around `Lab.deploy`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from testbed.errors import TestbedError, UsageError

if TYPE_CHECKING:
    from testbed.api import Lab

_MARKER = "testbed"
_SETTINGS = ("topology", "driver", "dilation", "settings", "seed", "target")
_OPTION = "--testbed-missing"


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
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab as the marker `testbed` of the test says, up under the real clock; destroyed when the test is over."""
    # Not before it is needed: pytest loads this plugin for tests that want no lab, too.
    from testbed.api import Lab

    settings = _settings(request)
    topology = settings.pop("topology")
    try:
        found = Lab.deploy(topology, **settings)
    except TestbedError as error:
        if error.exit_code != UsageError.exit_code and request.config.getoption(_OPTION) == "skip":
            pytest.skip(f"lab {topology}: {error}")
        pytest.fail(f"lab {topology}: {error}", pytrace=False)
    with found:
        yield found


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
    return dict(marker.kwargs)
