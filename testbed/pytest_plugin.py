"""A plugin of pytest: the fixture `lab` gives a marked test its lab, and destroys it afterwards.

    @pytest.mark.testbed(topology="two-dc:length=8km", dilation=2000)
    def test_the_span_loses_nothing(lab: Lab) -> None:
        assert lab.run("all_reduce", minbytes="64K", maxbytes="64K").verdict.lossless

The marker takes what `Lab.deploy` does: `topology`, `driver`, `dilation`, `settings`, `seed`, `target`. With
`clock="virtual"` the lab is that of `Lab.virtual`: exact, in this process, and without root. If a function, its class and its
module are marked, the nearest marker alone counts.

`scope` says how long a lab lives: `function` (the default), `class`, `module`, `package` or `session`. Within its scope, tests
whose markers have the same settings share one lab.

`lab_topology` and `lab_settings` are fixtures for `pytest.mark.parametrize`. Either wins over the marker.

Tests may run side by side, in workers of pytest-xdist or in sessions of several people. The name of a lab carries its worker and
its session, and a lab that is up already is never used, changed or destroyed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

from testbed.errors import TestbedError, UsageError

if TYPE_CHECKING:
    from testbed.api import Lab
    from testbed.virtual_lab import VirtualLab

_Scope = Literal["function", "class", "module", "package", "session"]
_SCOPES: tuple[_Scope, ...] = get_args(_Scope)
_MARKER = "testbed"
_SETTINGS = ("topology", "clock", "driver", "dilation", "settings", "seed", "target", "scope")
_REAL_ONLY = ("driver", "dilation", "target")
_OPTION = "--testbed-missing"
_SESSION = secrets.token_hex(3)
_NUMBERS = count(1)
# A name has 63 characters at most; worker, session and number take up to 20 or so.
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


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name a test after the settings that it is given: `test_it[lossless.pfc=False]`."""
    if argname == "lab_settings" and isinstance(val, Mapping):
        return ",".join(f"{key}={value}" for key, value in val.items())
    return None


class _Labs:
    """The labs that are up for one function, class, module, package or session, by their settings."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._by_settings: list[tuple[dict[str, Any], Lab | VirtualLab]] = []

    def get(self, settings: dict[str, Any]) -> Lab | VirtualLab:
        """Return the lab with these settings; make it if there is none yet."""
        for known, lab in self._by_settings:
            if known == settings:
                return lab
        lab = _make(**settings)
        self._stack.enter_context(lab)
        self._by_settings.append((settings, lab))
        return lab

    def destroy(self) -> None:
        """Destroy all of them, the last first, even if one cannot be destroyed."""
        self._stack.close()


def _labs_of(scope: _Scope) -> Any:
    """Return the fixture that keeps the labs of one scope."""

    @pytest.fixture(scope=scope, name=f"_testbed_{scope}_labs")
    def labs() -> Iterator[_Labs]:
        kept = _Labs()
        yield kept
        kept.destroy()

    return labs


# Pytest finds fixtures by the names of a module.
_function_labs, _class_labs, _module_labs, _package_labs, _session_labs = map(_labs_of, _SCOPES)


@pytest.fixture
def lab_topology() -> str | None:
    """The topology of the fixture `lab`, in place of the marker's, for tests that parametrise it."""
    return None


@pytest.fixture
def lab_settings() -> Mapping[str, Any]:
    """Settings of the fixture `lab`, added to the marker's, for tests that parametrise them."""
    return {}


@pytest.fixture
def lab(request: pytest.FixtureRequest, lab_topology: str | None, lab_settings: Mapping[str, Any]) -> Lab | VirtualLab:
    """The lab that the marker `testbed` of the test asks for, destroyed at the end of its scope."""
    settings = _settings(request, lab_topology, lab_settings)
    labs: _Labs = request.getfixturevalue(f"_testbed_{settings.pop('scope', 'function')}_labs")
    try:
        return labs.get(settings)
    except TestbedError as error:
        if error.exit_code != UsageError.exit_code and request.config.getoption(_OPTION) == "skip":
            pytest.skip(f"lab {settings['topology']}: {error}")
        pytest.fail(f"lab {settings['topology']}: {error}", pytrace=False)


def _make(topology: str, clock: str = "real", **settings: Any) -> Lab | VirtualLab:
    # Imported only when a test wants a lab: pytest loads this plugin for every project.
    from testbed.api import Lab
    from testbed.lab.topology import load_lab

    make = Lab.virtual if clock == "virtual" else partial(Lab.deploy, exclusive=True)
    return make(topology, name=_own_name(load_lab(str(topology)).name), **settings)


def _own_name(lab: str) -> str:
    """Return a name that no other lab has, of this worker, another or another session: `pair-gw0-3fa2c1-1`."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"{lab[:_LAB_CHARS]}-{worker}-{_SESSION}-{next(_NUMBERS)}"


def _settings(request: pytest.FixtureRequest, topology: str | None, added: Mapping[str, Any]) -> dict[str, Any]:
    """Return the marker's keywords, with what the test is parametrised by. Fails the test if they are wrong."""
    marker = request.node.get_closest_marker(_MARKER)
    example = f'@pytest.mark.{_MARKER}(topology="two-dc")'
    if marker is None and topology is None:
        pytest.fail(f"the fixture `lab` needs a marker with the topology: {example}", pytrace=False)
    args, given = (marker.args, dict(marker.kwargs)) if marker else ((), {})
    if topology is not None:
        given["topology"] = topology
    if args or "topology" not in given:
        pytest.fail(f"the marker {_MARKER} takes keywords, and needs a topology: {example}", pytrace=False)
    if unknown := sorted(given.keys() - set(_SETTINGS)):
        known = ", ".join(_SETTINGS)
        pytest.fail(f"the marker {_MARKER} has no setting {unknown[0]}; it has {known}", pytrace=False)
    for key, default, allowed in (("clock", "real", ("real", "virtual")), ("scope", "function", _SCOPES)):
        if (value := given.get(key, default)) not in allowed:
            pytest.fail(f"the marker {_MARKER}: {key} is one of {', '.join(allowed)}, not {value}", pytrace=False)
    if given.get("clock") == "virtual" and (wrong := [key for key in _REAL_ONLY if key in given]):
        pytest.fail(f"the marker {_MARKER}: {wrong[0]} has no effect under the virtual clock", pytrace=False)
    if added:
        given["settings"] = {**(given.get("settings") or {}), **added}
    return given
