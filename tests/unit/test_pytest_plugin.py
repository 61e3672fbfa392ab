"""The plugin of pytest: which lab a marked test is given, when it goes, and what is said when it cannot be had."""

from __future__ import annotations

import re
from typing import Any

import pytest

from testbed import pytest_plugin
from testbed.api import Lab
from testbed.bus.messages import is_name
from testbed.errors import DriverError, UsageError

pytest_plugins = ["pytester"]


class Fake:
    """A lab that exists in name only, and what was done with all of them."""

    done: list[str]
    names: list[str]
    refusal: Exception | None

    def __init__(self, spec: str) -> None:
        self.name = spec

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        Fake.done.append(f"destroyed {self.name}")


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    Fake.done, Fake.names, Fake.refusal = [], [], None

    def deploy(spec: str, *, name: str, exclusive: bool, **settings: Any) -> Fake:
        if Fake.refusal is not None:
            raise Fake.refusal
        assert exclusive
        Fake.names.append(name)
        Fake.done.append(f"deployed {spec} {settings}")
        return Fake(spec)

    monkeypatch.setattr(Lab, "deploy", deploy)


def run(pytester: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile("import pytest\n" + test)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers", *options)


def test_a_marked_test_is_given_its_lab_which_goes_whatever_becomes_of_it(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
pytestmark = pytest.mark.testbed(topology="pair", seed=3)

def test_of_the_module(lab):
    assert lab.name == "pair"

@pytest.mark.testbed(topology="two-dc:hosts=1", driver="docker", dilation=2000)
def test_of_its_own(lab):
    assert lab.name == "something else"

def test_without():
    pass
""",
    )
    done.assert_outcomes(passed=2, failed=1)
    assert Fake.done == [
        "deployed pair {'seed': 3}",
        "destroyed pair",
        "deployed two-dc:hosts=1 {'driver': 'docker', 'dilation': 2000}",
        "destroyed two-dc:hosts=1",
    ]


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("", "needs a marker with the topology"),
        ("@pytest.mark.testbed", "needs a topology"),
        ('@pytest.mark.testbed("pair")', "takes keywords"),
        ('@pytest.mark.testbed(topology="pair", dilatoin=2)', "has no setting dilatoin"),
        ('@pytest.mark.testbed(topology="pair", scope="file")', "scope is one of function, class, module"),
        (
            '@pytest.mark.testbed(topology="pair", clock="virtual", dilation=2)',
            "dilation has no effect under the virtual",
        ),
    ],
)
def test_a_marker_that_cannot_be_meant_is_explained(pytester: pytest.Pytester, marker: str, said: str) -> None:
    done = run(pytester, f"{marker}\ndef test_it(lab):\n    pass\n")
    done.assert_outcomes(errors=1)
    assert said in done.stdout.str()
    assert Fake.done == []


@pytest.mark.parametrize(
    ("refusal", "options", "outcome"),
    [
        (DriverError("deploy", 1, "needs root"), [], "errors"),
        (DriverError("deploy", 1, "needs root"), ["--testbed-missing=skip"], "skipped"),
        # A lab that nobody could have is a fault of the test, wherever it runs.
        (UsageError("no lab is called so"), ["--testbed-missing=skip"], "errors"),
    ],
)
def test_what_cannot_be_had_fails_unless_it_may_be_missing(
    pytester: pytest.Pytester, refusal: Exception, options: list[str], outcome: str
) -> None:
    Fake.refusal = refusal
    done = run(pytester, '@pytest.mark.testbed(topology="pair")\ndef test_it(lab):\n    pass\n', "-rs", *options)
    done.assert_outcomes(**{outcome: 1})
    assert f"lab pair: {refusal}" in done.stdout.str()


def test_a_lab_is_named_after_its_worker_and_its_session(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for worker in ("gw0", "gw1"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        run(pytester, '@pytest.mark.testbed(topology="two-dc:name=x,hosts=1")\ndef test_it(lab):\n    pass\n')
    monkeypatch.setattr(pytest_plugin, "_SESSION", "another")
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    run(pytester, f'@pytest.mark.testbed(topology="pair:name={"n" * 63}")\ndef test_it(lab):\n    pass\n')
    one, two, long = Fake.names
    assert one.startswith("x-gw0-") and two.startswith("x-gw1-") and one.split("-")[2] == two.split("-")[2]
    assert re.fullmatch("n{40}-main-another-[0-9]+", long)
    assert all(map(is_name, Fake.names))
