"""What people write, and how it is read: units, settings, names of hosts, merge keys and keys of the author's own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import units
from testbed.commands.common import read_experiment
from testbed.errors import TopologyError, UnitError, UsageError
from testbed.experiment.file import Experiment, load_experiment, new_experiment
from testbed.experiment.impairments import Impairment
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.run.trial import with_settings
from testbed.schema.source import parse_yaml

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
BODY = """
  nodes: {a1: {kind: host}, b1: {kind: host}, sw: {kind: switch}}
"""


def lab(text: str) -> Lab:
    return lab_from(parse_yaml(text, "lab.yaml", TopologyError))


@pytest.mark.parametrize(("text", "size"), [("1m", 2**20), ("2g", 2**31), ("3k", 3072), ("1.5m", 3 * 2**19)])
def test_sizes_are_read_as_nccl_tests_reads_them(text: str, size: int) -> None:
    assert units.parse_size(text) == size
    assert units.parse_size(text.upper()) == size


@pytest.mark.parametrize(
    ("parse", "text", "meant"),
    [
        (units.parse_length, "80KM", "80km"),
        (units.parse_length, "3 M", "3 m"),
        (units.parse_rate, "100g", "100G"),
        (units.parse_rate, "25gbps", "25Gbps"),
        (units.parse_time, "5US", "5us"),
        (units.parse_size, "5kb", "5KB"),
    ],
)
def test_other_letters_are_met_with_the_known_ones(parse: Callable[[object], int], text: str, meant: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse(text)
    assert str(caught.value).endswith(f'did you mean "{meant}"?')
    assert parse(meant)


def test_a_byte_is_not_taken_for_a_bit() -> None:
    with pytest.raises(UnitError) as caught:
        units.parse_rate("100GB/s")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("rate", ["400", 400, 1600, "2.5"])
def test_a_bare_rate_is_refused_for_want_of_a_unit(rate: object) -> None:
    with pytest.raises(UnitError, match=f"a rate needs a unit; write it like {rate}G"):
        units.parse_rate(rate)


def test_a_slow_rate_can_be_written_and_read_again() -> None:
    said = Impairment.model_validate({"rate": "400bps"})
    assert Impairment.model_validate(said.model_dump(mode="json", exclude_none=True)).rate == 400
    assert units.parse_rate(units.format_rate(999)) == 999


@pytest.mark.parametrize("loss", [1, "1"])
def test_a_loss_of_1_is_asked_back(loss: object) -> None:
    with pytest.raises(ValueError, match=r"100 %\? write 1% for one frame in a hundred, or 1.0 for every frame"):
        Impairment.model_validate({"loss": loss})
    links = '[{endpoints: ["a1:eth1", "sw:eth1"]}, {endpoints: ["b1:eth1", "sw:eth2"], loss: [0, 1]}]'
    with pytest.raises(TopologyError, match=r"lab.yaml:4: topology.links\[1\].loss: \"1\": 100 %\?"):
        lab(f"name: x\ntopology:{BODY}  links: {links}\n")
    for whole in ("1.0", 1.0, "100%"):
        assert Impairment.model_validate({"loss": whole}).loss == 1


def test_a_section_is_given_whole() -> None:
    base = new_experiment("pair", "all_reduce")
    changed = base.with_overrides(
        ["transport.erasure={data: 16, parity: 2}", "lossless.ecn={kmin: 5KB, kmax: 9KB, pmax: 1%}"]
    )
    assert (changed.transport.erasure.data, changed.transport.erasure.parity) == (16, 2)
    whole = base.with_overrides(["workload={collective: incast, size: 1m}", "transport.erasure.parity=3"])
    assert (whole.workload.collective, whole.workload.size, whole.transport.erasure.parity) == ("incast", 2**20, 3)
    with pytest.raises(UsageError, match=r"erasure\.dat: unknown key"):
        base.with_overrides(["transport.erasure={dat: 16}"])


def test_a_parameter_of_the_lab_is_a_setting() -> None:
    experiment = read_experiment(None, "two-dc:hosts=1", ["topology.length=8km", "seed=5"])
    assert (experiment.topology, experiment.seed) == ("two-dc:hosts=1,length=8km", 5)
    stored = read_experiment("distance-sweep", None, ["topology.length=8km"])
    assert "length=8km" in stored.topology
    base = new_experiment("two-dc", "all_reduce")
    for wrong, message in [("topology.lenght=8km", 'did you mean "length"'), ("topology.length=", "not a parameter")]:
        with pytest.raises(UsageError, match=message):
            with_settings(base, [wrong])


def test_a_collective_that_is_a_stored_experiment_too_is_listed_once() -> None:
    with pytest.raises(UsageError) as caught:
        read_experiment("zzz", None, [])
    assert str(caught.value).count(" incast,") == 1


MERGED = """\
x-links: {note: {anything: [1, 2]}}
x-fibre: &fibre {rate: 25G, length: 2km}
x-lossy: &lossy {length: 9km, loss: 1e-3}
name: merged
topology:
  x-hint: mine
  nodes:
    a1: &host {kind: host, nic: {rate: 40G}}
    b1: {<<: *host}
    c1: {<<: *host, nic: {rate: 50G}}
    sw: {kind: switch, x-owner: me}
  links:
    - {<<: *fibre, endpoints: ["a1:eth1", "sw:eth1"]}
    - {endpoints: ["b1:eth1", "sw:eth2"], <<: [*fibre, *lossy]}
    - {<<: *fibre, endpoints: ["c1:eth1", "sw:eth3"], length: 5m}
"""


def test_merge_keys_and_keys_of_the_author_are_taken() -> None:
    merged = lab(MERGED)
    assert [link.rate_bps for link in merged.links] == [25 * 10**9] * 3
    assert [link.length_mm for link in merged.links] == [2_000_000, 2_000_000, 5_000]
    assert [link.loss[0] for link in merged.links] == [0, 1e-3, 0]
    assert [host.nic_rate_bps for host in merged.hosts] == [4 * 10**10, 4 * 10**10, 5 * 10**10]


def test_a_fault_that_was_merged_has_a_line() -> None:
    with pytest.raises(TopologyError, match=r"lab.yaml:2: topology.links\[0\].rate"):
        lab(MERGED.replace("25G", "25g"))
    with pytest.raises(TopologyError, match=r"lab.yaml:9: topology.nodes.b1.<<: << takes a mapping"):
        lab(MERGED.replace("<<: *host}\n    c1", "<<: host}\n    c1"))


def test_merges_are_bounded() -> None:
    many = "\n".join(f"x-{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 50)}]}}" for n in range(1, 9))
    with pytest.raises(TopologyError, match="values"):
        lab(f"x-0: &l0 {{a: 1}}\n{many}\nname: x\n")
    with pytest.raises(TopologyError, match="nested deeper"):
        lab("x-a: &a {<<: *a}\nname: x\n")


def test_an_experiment_has_keys_of_its_author_too(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("x-size: &s {size: 1m}\ntopology: pair\nworkload: {<<: *s, collective: incast}\n")
    experiment = load_experiment(tmp_path / "e.yaml")
    assert isinstance(experiment, Experiment) and experiment.workload.size == 2**20
    assert "x-size" not in experiment.data()


@pytest.mark.parametrize("name", ["localhost", "1", "0x10", "017", "ip6-localhost", "4294967295"])
def test_a_host_that_no_resolver_finds_is_refused(name: str) -> None:
    text = f"name: x\ntopology:\n  nodes:\n    {name!r}: {{kind: host}}\n    sw: {{kind: switch}}\n"
    with pytest.raises(TopologyError, match=rf'lab.yaml:4: topology.nodes.{name}: a host cannot be called "{name}"'):
        lab(f'{text}  links: [{{endpoints: ["{name}:eth1", "sw:eth1"]}}]\n')


@pytest.mark.parametrize("name", ["1a", "0x1g", "local", "h1", "localhost-1"])
def test_a_host_whose_name_only_looks_like_it_is_taken(name: str) -> None:
    text = f"name: x\ntopology:\n  nodes:\n    {name}: {{kind: host}}\n    sw: {{kind: switch}}\n"
    assert lab(f'{text}  links: [{{endpoints: ["{name}:eth1", "sw:eth1"]}}]\n').hosts[0].name == name


def test_the_labs_that_ship_have_hosts_that_resolve() -> None:
    assert all(not host.name.isdecimal() for host in load_lab("two-dc").hosts)


def test_headroom_ends_with_1_where_the_buffer_is_short(run_testbed: Cli) -> None:
    arguments = ("headroom", "--rate", "400G", "--length", "80km", "--ports", "2", "--buffer")
    short, enough = run_testbed(*arguments, "64MB"), run_testbed(*arguments, "96MB")
    assert (short.returncode, "short by" in short.stdout) == (1, True)
    assert (enough.returncode, "short by" in enough.stdout) == (0, False)
    bare = run_testbed("headroom", "--rate", "400", "--length", "80km")
    assert (bare.returncode, bare.stdout) == (2, "") and "400G" in bare.stderr


def test_lab_files_sweep(run_testbed: Cli, tmp_path: Path) -> None:
    for name, rate in (("one", "50G"), ("two", "100G")):
        links = '[{endpoints: ["a1:eth1", "sw:eth1"], rate: %s}, {endpoints: ["b1:eth1", "sw:eth2"]}]'
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\ntopology:{BODY}  links: {links % rate}\n")
    done = run_testbed(
        "sweep", "incast", "--over", "topology=one.yaml,two.yaml", "-j", "1", "--format", "json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["verdict"] for row in rows] == ["passed", "passed"]
    assert rows[0]["figures"]["time_us"] > rows[1]["figures"]["time_us"]
    fixed = run_testbed(
        "sweep", "incast", "-t", "one.yaml", "--over", "seed=1,2", "-j", "1", "--format", "csv", cwd=tmp_path
    )
    assert (fixed.returncode, len(fixed.stdout.splitlines())) == (0, 3), fixed.stderr
