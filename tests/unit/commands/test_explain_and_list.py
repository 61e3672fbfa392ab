"""What the command line says of itself: `explain` a key, `list` what there is, and `--version`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest

from testbed import topologies, traffic
from testbed.experiment.file import Experiment
from testbed.lab.file import LabFile
from testbed.lab.switches import named_switches
from testbed.lab.thresholds import parse_alpha
from testbed.optics.catalogue import load_catalogue
from testbed.schema.keys import keys_of
from testbed.units import parse_size

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def listed(call_testbed: Call, *arguments: str) -> Any:
    """Return the document of `testbed list`."""
    done = call_testbed("list", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("lossless.xoff", ("lossless.xoff", "pauses its peer", "default", "auto", "--set lossless.xoff=")),
        ("topology.links[2].length", ("topology.links[].length", "Length of fibre", "80km", "lab file")),
        ("limit", ("given up", "60s")),
        ("transport.chunk", ("64KiB",)),
        ("profiles.mine.reach", ("profiles.NAME.reach", "must be given")),
        ("buffer", ("topology.nodes.NAME.buffer", "topology.kinds.host.nic.buffer", "32 MB")),
        ("lossless.ecn", ("lossless.ecn.kmin", "lossless.ecn.pmax", "sonic")),
    ],
)
def test_a_key_is_explained(call_testbed: Call, key: str, words: tuple[str, ...]) -> None:
    done = call_testbed("explain", key)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words)


def test_every_key_of_both_files_is_explained_first_by_itself() -> None:
    from testbed.commands.explain import meanings

    for model in (Experiment, LabFile):
        for key in keys_of(model):
            assert any(key.path in meaning.paths for meaning in meanings(key.path)), key.path


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("lossless.xof", 'did you mean "lossless.xoff"?'),
        ("lenght", 'did you mean "length"?'),
        ("zzz", "testbed list settings"),
    ],
)
def test_an_unknown_key_is_an_error_that_suggests_one(call_testbed: Call, key: str, suggestion: str) -> None:
    done = call_testbed("explain", key)
    assert (done.returncode, done.stdout) == (2, "")
    assert f'"{key}"' in done.stderr and suggestion in done.stderr


def test_lists_are_complete(call_testbed: Call) -> None:
    expected: dict[str, set[str]] = {
        "topologies": {*topologies.generators(), *topologies.files()},
        "collectives": set(traffic.COLLECTIVES),
        "profiles": set(load_catalogue().profiles),
        "media": set(load_catalogue().cables),
        "switches": set(named_switches()),
        "settings": {key.path for key in keys_of(Experiment) if not key.section},
    }
    for kind, names in expected.items():
        assert {row["name"] for row in listed(call_testbed, kind)[kind]} == names


def test_a_topology_is_shown_with_parameters_and_defaults(call_testbed: Call) -> None:
    rows = {row["parameter"]: row for row in listed(call_testbed, "topologies", "two-dc")["rows"]}
    assert (rows["length"]["default"], rows["hosts"]["default"], rows["hosts"]["bounds"]) == ("80km", 2, "1 to 1024")
    assert set(rows) == {*topologies.generators()["two-dc"].parameters, "name"}
    assert "3000 km" in call_testbed("list", "topologies", "ocean").stdout


def test_a_collective_is_shown_with_its_algorithms(call_testbed: Call) -> None:
    shown = listed(call_testbed, "collectives", "all_reduce")
    assert [row["algorithm"] for row in shown["rows"]] == list(traffic.ALGORITHMS["all_reduce"])
    assert shown["about"].startswith("by ring")


def test_the_figures_of_a_switch_can_be_copied_into_a_lab(call_testbed: Call) -> None:
    for name, switch in named_switches().items():
        shown = {row["figure"]: row["value"] for row in listed(call_testbed, "switches", name)["rows"]}
        assert set(shown) == set(switch.sources)
        assert parse_alpha(shown["thresholds.alpha"]) == switch.settings["thresholds"]["alpha"]
        if shown["buffer"] != "auto":
            assert parse_size(shown["buffer"]) == switch.settings["buffer"]


@pytest.mark.parametrize("kind", ["topologies", "collectives", "profiles", "media", "switches", "policies", "settings"])
def test_a_name_that_is_not_in_a_list_is_an_error(call_testbed: Call, kind: str) -> None:
    done = call_testbed("list", kind, "no-such-thing")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no-such-thing" in done.stderr and "Traceback" not in done.stderr


def test_the_nearest_name_of_a_list_is_suggested(call_testbed: Call) -> None:
    assert 'did you mean "spectrum"?' in call_testbed("list", "switches", "spektrum").stderr


def test_the_version_is_that_of_the_distribution(call_testbed: Call) -> None:
    done = call_testbed("--version")
    assert (done.returncode, done.stdout) == (0, f"testbed {metadata.version('lossless-testbed')}\n")
