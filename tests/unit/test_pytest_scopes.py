"""The plugin of pytest: how long a lab lives, which tests share one, and tests parametrised over labs."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

COUNTED = """
import pytest
from testbed.virtual_lab import VirtualLab

made, destroyed = [], []

@pytest.fixture(scope="session", autouse=True)
def counted():
    initialise, leave = VirtualLab.__init__, VirtualLab.__exit__

    def make(self, spec, **settings):
        initialise(self, spec, **settings)
        made.append(self.name)

    def destroy(self, *error):
        leave(self, *error)
        destroyed.append(self.name)

    VirtualLab.__init__, VirtualLab.__exit__ = make, destroy
    yield
    VirtualLab.__init__, VirtualLab.__exit__ = initialise, leave
    assert sorted(made) == sorted(destroyed) and len(set(made)) == len(made)
    print(f"made {len(made)} labs")
"""
FOUR_TESTS = """
import pytest
from conftest import destroyed, made

pytestmark = pytest.mark.testbed(topology="pair", clock="virtual"{scope})

class TestOne:
    def test_a(self, lab):
        assert lab.name not in destroyed
        assert lab.run("all_reduce", size="4KiB").verdict.lossless

    def test_b(self, lab):
        assert lab.name == made[-1]

def test_c(lab):
    assert lab.name == made[-1]

def test_d(lab):
    assert lab.name == made[-1]
"""


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    pytester.makeconftest(COUNTED)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers", "-s", *options)


@pytest.mark.parametrize(
    ("scope", "labs"),
    [
        ("", 8),
        ("function", 8),
        # Outside of a class, pytest takes the scope of a class for that of a function.
        ("class", 6),
        ("module", 2),
        ("package", 1),
        ("session", 1),
    ],
)
def test_tests_share_a_lab_within_its_scope(pytester: pytest.Pytester, scope: str, labs: int) -> None:
    text = FOUR_TESTS.format(scope=scope and f', scope="{scope}"')
    pytester.makepyfile(test_one=text, test_two=text)
    done = run(pytester)
    done.assert_outcomes(passed=8)
    done.stdout.fnmatch_lines(f"*made {labs} labs")


def test_other_settings_are_another_lab_within_a_scope(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
import pytest

labs = []

def virtual(**settings):
    return pytest.mark.testbed(topology="two-dc:length=1km", clock="virtual", scope="module", **settings)

@virtual()
def test_as_it_is(lab):
    labs.append(lab)

@virtual(settings={"lossless.flow-control": "credit"})
def test_with_credits(lab):
    labs.append(lab)

@virtual(seed=2)
def test_with_another_seed(lab):
    labs.append(lab)

@virtual()
def test_as_it_is_again(lab):
    assert lab is labs[0] and len(set(map(id, labs))) == 3
""")
    done = run(pytester)
    done.assert_outcomes(passed=4)
    done.stdout.fnmatch_lines("*made 3 labs")


def test_tests_are_parametrised_over_topologies_and_settings(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
import pytest

@pytest.mark.testbed(clock="virtual", scope="module", settings={"seed": 7})
@pytest.mark.parametrize("lab_topology", ["two-dc:length=1km", "two-dc:length=8km,hosts=1"])
@pytest.mark.parametrize("lab_settings", [{"lossless.flow-control": "pfc"}, {"lossless.flow-control": "credit"}])
@pytest.mark.parametrize("size", ["4KiB", "8KiB"])
def test_it(lab, lab_topology, lab_settings, size):
    assert len(lab.hosts) == (2 if "hosts=1" in lab_topology else 4)
    result = lab.run("all_reduce", size=size)
    assert result.verdict.lossless and result.seed == 7
    assert f'--set \\'lossless.flow-control="{lab_settings["lossless.flow-control"]}"\\'' in result.replay
""")
    done = run(pytester, "-v")
    done.assert_outcomes(passed=8)
    done.stdout.fnmatch_lines("*::test_it?4KiB-lossless.flow-control=credit-two-dc:length=8km,hosts=1?*")
    done.stdout.fnmatch_lines("*made 4 labs")


def test_a_topology_that_does_not_exist_fails_its_case_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
import pytest

@pytest.mark.testbed(clock="virtual", scope="session")
@pytest.mark.parametrize("lab_topology", ["pair", "pear"])
def test_it(lab):
    pass
""")
    done = run(pytester)
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines("lab pear: *")
