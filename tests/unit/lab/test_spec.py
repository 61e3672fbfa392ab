"""Keys of a lab changed by its name: the same lab with other values, and what is not there is named."""

from pathlib import Path

import pytest

from testbed.errors import TestbedError, TopologyError, UsageError
from testbed.experiment.file import load_experiment
from testbed.lab.spec import parse_parameters, split_spec, with_keys
from testbed.lab.topology import lab_source, load_lab, with_parameters
from testbed.schema.source import parse_yaml

MINE = """\
name: mine
topology:
  nodes:
    a1: {kind: host}
    b1: {kind: host}
    leaf: {kind: switch, routes: {b1: eth2}}
  links:
    - &near {endpoints: ["a1:eth1", "leaf:eth1"], length: 20m}
    - {<<: *near, endpoints: ["b1:eth1", "leaf:eth2"]}
circuits: {}
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    return str(path)


def test_any_key_of_a_file_is_changed_in_its_name(mine: str) -> None:
    changed = {
        "links[1].length": "80km",
        "nodes.leaf.buffer": "64MB",
        "links[0].loss": "[0.1, 0]",
        "defaults.mtu": "9000",
        'nodes.leaf.routes["b1"]': "[eth2]",
    }
    lab = load_lab(with_parameters(mine, changed))
    assert [link.length_mm for link in lab.links] == [20_000, 80_000_000]
    assert (lab.links[0].loss, lab.links[1].loss) == ((0.1, 0.0), (0.0, 0.0))
    assert lab.switches[0].buffer_bytes == 64_000_000
    assert {link.mtu_bytes for link in lab.links} == {9000}
    assert load_lab(mine).links[1].length_mm == 20_000
    twice = with_parameters(with_parameters(mine, {"links[1].length": "1km"}), {"links[1].length": "2km"})
    assert twice == f"{mine}:links[1].length=2km"


def test_an_alias_shares_nothing_with_what_is_changed() -> None:
    source = parse_yaml("topology:\n  links: [&a {length: 1m}, *a]\n", "f", TopologyError)
    shared = source.data["topology"]["links"]
    shared[1] = shared[0]
    changed = with_keys(source, {"links[0].length": "2m"})
    assert changed.data["topology"]["links"] == [{"length": "2m"}, {"length": "1m"}] and shared[0] == {"length": "1m"}


def test_a_made_lab_and_a_named_file_have_keys_too() -> None:
    lab = load_lab("two-dc:length=3km,links[0].length=7m,nodes.leaf-a.buffer=16MB")
    assert lab.links[0].length_mm == 7_000 and 3_000_000 in [link.length_mm for link in lab.links]
    assert lab.switches[0].buffer_bytes == 16_000_000
    assert load_lab("three-leaves:links[0].length=9m").links[0].length_mm == 9_000
    assert with_parameters("two-dc", {"length": "1km", "links[0].length": "9m"}) == (
        "two-dc:length=1km,links[0].length=9m"
    )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("links[2].length", r"mine.yaml:7: topology.links\[2\]: not in this lab: topology.links has 2 entries"),
        ("links[0].lenght", r'mine.yaml:8: topology.links\[0\].lenght: not in this lab; did you mean "length"'),
        ("nodes.leef.buffer", r'mine.yaml:3: topology.nodes.leef: not in this lab; did you mean "leaf"'),
        ("links.length", r"topology.links.length: not in this lab: topology.links has 2 entries"),
        ("links[0].length.unit", r"topology.links\[0\].length.unit: not in this lab: .* is one value"),
        ("circuits.ocs.period", r"circuits.ocs: not in this lab"),
        ("links[x].length", r"links\[x\].length: not a key of a lab; write it like links\[2\].length"),
        ("nodes.leaf.routes.h9", r"topology.nodes.leaf.routes.h9: not in this lab; known: b1"),
    ],
)
def test_a_key_that_is_not_there_is_named_with_its_line(mine: str, key: str, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        lab_source(with_parameters(mine, {key: "1km"}))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lenth=1km", r"is a file and takes no parameters; keys of it are changed as links\[2\].length=80km"),
        ("links[0].length=9", r"mine.yaml:8: topology.links\[0\].length: \"9\""),
        ("links[0].length", "is not a parameter"),
        ("links[0].length={", "not YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused(mine: str, spec: str, message: str) -> None:
    with pytest.raises(TestbedError, match=message) as raised:
        load_lab(f"{mine}:{spec}")
    assert raised.value.exit_code == 2


def test_names_are_split_where_their_file_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert split_spec("two-dc") == ("two-dc", "") and split_spec("two-dc:hosts=4") == ("two-dc", "hosts=4")
    assert split_spec("a/b.yaml") == ("a/b.yaml", "") and split_spec("a/b.yml:links[0].x=1") == (
        "a/b.yml",
        "links[0].x=1",
    )
    monkeypatch.chdir(tmp_path)
    Path("odd.yaml:file").write_text("")
    assert split_spec("odd.yaml:file") == ("odd.yaml:file", "")
    assert parse_parameters("a=[1, 2], b=x") == {"a": "[1, 2]", "b": "x"}
    with pytest.raises(UsageError, match="given twice"):
        parse_parameters("a=1,a=2")


def test_an_experiment_may_name_the_file_beside_it_with_a_change(tmp_path: Path, mine: str) -> None:
    written = 'topology: "mine.yaml:links[0].length=1km"\nworkload: {collective: incast}\n'
    (tmp_path / "e.yaml").write_text(written)
    assert load_experiment(tmp_path / "e.yaml").topology == f"{mine}:links[0].length=1km"
