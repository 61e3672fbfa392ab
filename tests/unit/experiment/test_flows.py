"""The section `flows`: distributions of sizes, files, and what is refused with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import ExperimentError
from testbed.experiment.file import experiment_from, load_experiment
from testbed.experiment.flow_sizes import NAMED, Distribution, constant, uniform
from testbed.experiment.flows import Flows
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.flows import plan_flows
from testbed.schema.source import Source


def write(directory: Path, flows: str, **files: str) -> Path:
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)
    path = directory / "experiment.yaml"
    path.write_text(f"topology: clos\nflows: {flows}\n")
    return path


@pytest.mark.parametrize(("name", "mean"), [("websearch", 1_711_250), ("fbhdp", 120_420.75), ("alistorage", 40_869.8)])
def test_distributions_with_a_name_have_the_means_of_their_points(name: str, mean: float) -> None:
    # Sums of the middles of the steps, each by its share, worked out by hand from the published points.
    assert NAMED[name].mean_bytes() == pytest.approx(mean, abs=0.05)


@pytest.mark.parametrize(
    ("share", "size"), [(0.0, 1), (0.075, 5_000), (0.15, 10_000), (0.565, 140_000), (1.0, 30_000_000)]
)
def test_a_distribution_is_straight_between_its_points(share: float, size: int) -> None:
    assert NAMED["websearch"].size_at(share) == size


@given(st.sampled_from(sorted(NAMED)), st.floats(0, 1), st.floats(0, 1))
def test_larger_shares_have_larger_sizes(name: str, one: float, other: float) -> None:
    least, most = sorted((one, other))
    assert 1 <= NAMED[name].size_at(least) <= NAMED[name].size_at(most)


def test_uniform_and_constant_sizes() -> None:
    assert uniform(1_000, 3_000).size_at(0.25) == 1_500 and uniform(1_000, 3_000).mean_bytes() == 2_000
    assert {constant(4096).size_at(share) for share in (0.0, 0.5, 1.0)} == {4096} and constant(
        4096
    ).mean_bytes() == 4096


@pytest.mark.parametrize(
    ("points", "fault"),
    [
        ((), "a distribution needs a point"),
        (((10, 50.0),), "the last point is at 50 percent, not at 100"),
        (((10, 50.0), (5, 100.0)), "5 bytes at 100 percent follow 10 at 50"),
        (((10, 101.0),), "percentages are from 0 to 100"),
        (((0, 100.0),), "flows are at least 1 byte long"),
    ],
)
def test_points_that_make_no_distribution(points: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Distribution(points)


def test_a_csv_file_is_read_beside_the_experiment(tmp_path: Path) -> None:
    text = "from,to,priority,bytes,start\nh1,h2,3,64KiB,1us\n\nh2,h3,,1,\n"
    flows = load_experiment(write(tmp_path, "{list: flows.csv}", flows_csv=text)).flows
    assert flows is not None and flows.list is not None
    assert [(f.source, f.target, f.bytes, f.start, f.priority) for f in flows.list] == [
        ("h1", "h2", 65_536, 1_000_000, 3),
        ("h2", "h3", 1, 0, None),
    ]


def test_a_fault_of_a_flow_in_a_csv_file_is_at_its_line_there(tmp_path: Path) -> None:
    """Also one that only the lab shows, when the file has long been read."""
    text = "from,to,priority,bytes\nh1,h2,3,64KiB\n\nh2,h3,5,1\nh2,h9x,5,1\n"
    path = write(tmp_path, "{list: flows.csv}", flows_csv=text)
    experiment, file = load_experiment(path), tmp_path / "flows.csv"
    with pytest.raises(ExperimentError) as refused:
        compile_fabric(load_lab("clos"), experiment)
    assert [(fault.file, fault.line, fault.key) for fault in refused.value.faults] == [
        (str(file), 4, "flows.list[1].priority"),
        (str(file), 5, "flows.list[2].priority"),
    ]
    with pytest.raises(
        ExperimentError, match=rf"^{re.escape(str(file))}:5: flows\.list\[2\]\.to: lab clos has no host"
    ):
        plan_flows(load_lab("clos"), experiment.with_overrides(["lossless.background=[5]"]))
    # What stands in the experiment's own file keeps its line, and what was set on the command line is named as that.
    assert (experiment.fault(("flows", "list"), "x").file, experiment.fault(("flows",), "x").line) == (str(path), 2)
    changed = experiment.with_overrides(["flows.list=[{from: h1, to: h2, bytes: 1, priority: 5}]"])
    with pytest.raises(ExperimentError, match=r"^--set: flows\.list\[0\]\.priority"):
        compile_fabric(load_lab("clos"), changed)


def test_a_file_of_points_is_read_beside_the_experiment(tmp_path: Path) -> None:
    path = write(
        tmp_path, "{sizes: sizes.cdf, load: 0.5, until: 1ms}", sizes_cdf="0 0 # of a measurement\n1000 25\n9000 100\n"
    )
    flows = load_experiment(path).flows
    assert flows is not None and flows.sizes is not None
    assert flows.sizes.distribution().points == ((0, 0), (1000, 25), (9000, 100)) and flows.sizes.name == "cdf"


@pytest.mark.parametrize(
    ("flows", "files", "fault"),
    [
        ("{list: gone.csv}", {}, "there is no file gone.csv beside the experiment file"),
        ("{list: ../flows.csv}", {}, "there is no file ../flows.csv"),
        ("{list: f.csv}", {"f_csv": "from,to\nh1,h2\n"}, "f.csv:1: the first line names the columns"),
        (
            "{list: f.csv}",
            {"f_csv": "from,to,byte\nh1,h2,1\n"},
            'f.csv:1: no column is called "byte"; did you mean "bytes"?',
        ),
        ("{list: f.csv}", {"f_csv": "from,to,bytes\nh1,h2,1\nh1,h1,1\n"}, "f.csv:3: a flow from h1 to itself"),
        ("{list: f.csv}", {"f_csv": "from,to,bytes\nh1,h2,0\n"}, "f.csv:2: bytes: a flow has 1 to 2147483648 bytes"),
        ("{list: f.csv}", {"f_csv": "from,to,bytes\nh1,h2\n"}, "f.csv:2: 2 cells, not 3"),
        ("{list: f.csv}", {"f_csv": "from,to,bytes\n"}, "f.csv has no flows"),
        ("{sizes: s.txt, load: 0.5, until: 1ms}", {"s_txt": "1 2 3\n"}, "s.txt:1: a line has two numbers"),
        ("{sizes: s.txt, load: 0.5, until: 1ms}", {"s_txt": "10 50\n"}, "s.txt: the last point is at 50 percent"),
        ("{sizes: websurch, load: 0.5, until: 1ms}", {}, 'no distribution of sizes is called "websurch"; did you mean'),
        ("{sizes: websearch, load: 0.5}", {}, "until is missing"),
        ("{sizes: websearch, load: 0, until: 1ms}", {}, "greater than 0"),
        (
            "{sizes: {constant: 1, uniform: [1, 2]}, load: 0.5, until: 1ms}",
            {},
            "give one of preset, constant, uniform and cdf",
        ),
        ("{list: [{from: h1, to: h2, bytes: 1}], load: 0.5}", {}, "a list of flows says all of them; it takes no load"),
        ("{list: [{from: 'h[1-2]', to: h3, bytes: 1}]}", {}, "stands for several hosts; a flow has one at each end"),
        ("{list: []}", {}, "the list of flows is empty"),
    ],
)
def test_faults_are_reported_with_file_and_line(tmp_path: Path, flows: str, files: dict[str, str], fault: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(write(tmp_path, flows, **files))
    assert fault in str(caught.value) and "experiment.yaml:2: flows" in str(caught.value)
    assert len(caught.value.faults) == 1


def test_an_experiment_has_one_kind_of_traffic() -> None:
    flows = {"list": [{"from": "h1", "to": "h2", "bytes": 1}]}
    with pytest.raises(ExperimentError, match="give workload or flows, not both"):
        experiment_from(Source("test", {"topology": "clos", "workload": {"size": 1}, "flows": flows}))


def test_flows_can_be_written_and_read_again() -> None:
    said = {
        "sizes": {"uniform": ["1KB", "2KB"]},
        "load": "30%",
        "from": "h[1-2]",
        "until": "1ms",
        "queue-pairs": "pair",
    }
    flows = Flows.model_validate(said)
    assert Flows.model_validate(flows.model_dump(mode="json", by_alias=True, exclude_unset=True)) == flows
