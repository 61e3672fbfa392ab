"""Names in `expect:`: what no result can have is refused before the run, and what this one lacks after it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from testbed.experiment.expectations import Path
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.run import expectation_names

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
LAB = load_lab("two-dc")


def problems(*texts: str) -> list[str]:
    experiment = new_experiment("two-dc", "all_reduce").with_overrides([f"expect={json.dumps(texts)}"])
    return [fault.message for fault in expectation_names.faults(experiment, LAB)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("wrongg == 0", 'no "wrongg"; did you mean "wrong"? known: addresses, algbw, '),
        ("drops.losless == 0", 'no "drops.losless"; did you mean "lossless"? known: link, lossless, lossy, '),
        ("xyz > 0", 'no "xyz"; known: addresses, algbw, '),
        ("losless == true", '; there is "drops.lossless" and "verdict.lossless"'),
        ("trusted == true", '; there is "verdict.trusted"'),
        ("1 < 2 * (busbw - ideel)", 'no "ideel"'),
        ('ports["leaf-a:eth33"].rate_bps > 0', "did you mean"),
        ('ports["leaf-a:eth1"].priorities["9"].pause_tx > 0', "known: 0, 1, 2, 3, 4, 5, 6, 7"),
        ('ports["leaf-a:eth1"].priorities["3"].drops.linc > 0', 'did you mean "link"?'),
        ('pools["leaf-c"].buffer_bytes_max > 0', "did you mean"),
        ("collective.rows[0].in_place.wrongs == 0", 'did you mean "wrong"?'),
        ("verdict.pased == true", 'did you mean "passed"?'),
        ("flows.bytes > 0", '"flows" is a list: write "flows[0]"'),
        ("busbw.mean > 0", '"busbw" is one value'),
        ("clock.rate > 0", '"clock" is one value'),
        ("drops.lossless.frames > 0", '"drops.lossless" is one value'),
    ],
)
def test_a_name_that_no_result_has_is_a_fault(text: str, problem: str) -> None:
    (fault,) = problems(text)
    assert fault.startswith(f"{text}: ") and problem in fault


def paths_of(value: Any, parts: tuple[str | int, ...] = ()) -> Iterator[Path]:
    """Yield the path of every value in a document."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for part, inner in items:
            yield from paths_of(inner, (*parts, part))
    elif parts:
        yield Path(parts)


def test_every_name_of_a_result_is_known(call_testbed: Cli) -> None:
    storm = "timeline=[{at: 0s, node: b1, storm: {}, for: 100us}]"
    watchdog = "lossless.watchdog={detection: 20us, restoration: 20us, poll: 10us}"
    done = call_testbed(
        *("run", "incast", "-t", "two-dc", "-b", "1M", "--set", storm, "--set", watchdog, "--format", "json")
    )
    document = json.loads(done.stdout)
    assert document["watchdog"] and document["impairments"] and document["ports"] and document["qps"]
    names = [f"{path} == 0" for path in paths_of(document)]
    assert len(names) > 500
    assert problems(*names) == []


@pytest.mark.parametrize(
    ("expectation", "word"),
    [
        ("qps[0].retransmited == 0", 'did you mean "retransmitted"?'),
        ("energy.joules == 0", 'the result has no "energy.joules"'),
    ],
)
def test_a_name_that_only_the_run_can_refuse_ends_with_2(call_testbed: Cli, expectation: str, word: str) -> None:
    done = call_testbed("run", "all_reduce", "-t", "pair", "-b", "4K", "--set", f"expect=['{expectation}']")
    assert done.returncode == 2
    assert word in done.stderr and "expect[0]" in done.stderr


def test_a_figure_that_was_not_measured_only_fails(call_testbed: Cli) -> None:
    lengths = ("--set", "workload.payload=false", "--set", "expect=['wrong == 0']")
    assert call_testbed("run", "broadcast", "-t", "pair", "-b", "4K", *lengths).returncode == 1
    virtual = ("--set", "expect=['fidelity.held_share < 1']")
    assert call_testbed("run", "all_reduce", "-t", "pair", "-b", "4K", *virtual).returncode == 1
