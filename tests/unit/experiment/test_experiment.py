"""Experiments: faults with their line, overrides as strict as files, and a form that can be written and read again."""

from pathlib import Path

import pytest

from testbed.errors import ExperimentError, UsageError
from testbed.experiment.file import Experiment, experiment_from, experiment_schema, load_experiment, new_experiment
from testbed.schema.source import Source, parse_yaml

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "topologies" / "experiments").glob("*.yaml"))


def experiment(text: str) -> Experiment:
    return experiment_from(parse_yaml(text, "e.yaml", ExperimentError))


FAULTY = """\
topology: two-dc
clok: virtual
seed: abc
lossless: {pfc: yes, xoff: 1KB, xon: 2KB}
transport: {mtu: 1500, ack-every: 0, timeout: 50, recovery: selective}
workload:
  collective: all_redcue
  size: 5q
  ranks: [A1]
expect:
  - drops.lossless == 0
  - busbw >
"""
FAULTS = """\
e.yaml:2: clok: unknown key; did you mean "clock"?
e.yaml:3: seed: "abc" should be a valid integer
e.yaml:4: lossless.pfc: "yes" should be a valid boolean
e.yaml:5: transport.ack-every: "0" should be greater than or equal to 1
e.yaml:5: transport.mtu: "1500" is not 1024, 2048 or 4096
e.yaml:5: transport.recovery: "selective" is not "go-back-n", "selective-repeat", "erasure" or "timer"
e.yaml:5: transport.timeout: 50 is not a timeout: an exponent from 1 to 31, a time like 75ms, round trips like 3rtt, or auto
e.yaml:7: workload.collective: no collective is called "all_redcue"; did you mean "all_reduce"?
e.yaml:8: workload.size: "5q": "q" is an impossible unit for a size; write it like 64MiB
e.yaml:9: workload.ranks[0]: "A1" is not a rank; write h1, h1/3 or a pattern like s[1-8]/[0-7]
e.yaml:12: expect[1]: `busbw >`: a value is missing at the end"""


def test_every_fault_with_its_line() -> None:
    with pytest.raises(ExperimentError) as caught:
        experiment(FAULTY)
    assert str(caught.value) == FAULTS
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        ("{size: 1M, maxbytes: 2M}", "not both"),
        ("{minbytes: 2M, maxbytes: 1M}", "is above maxbytes"),
        ("{maxbytes: 8K, minbytes: 0, stepfactor: 2, stepbytes: 1K}", "not both"),
        ("{maxbytes: 8K, minbytes: 0, stepbytes: 0}", "at least 1 byte"),
        ("{algorithm: tree}", "no algorithm"),
        ("{ranks: [a1, a1]}", "listed twice"),
    ],
)
def test_a_workload_must_agree_with_itself(workload: str, message: str) -> None:
    with pytest.raises(ExperimentError, match=rf"e\.yaml:2: workload: .*{message}"):
        experiment(f"topology: pair\nworkload: {workload}")


def test_xon_must_not_be_above_xoff() -> None:
    with pytest.raises(ExperimentError, match="xon, 2000 bytes, is above xoff, 1000 bytes"):
        experiment("topology: pair\nlossless: {xoff: 1KB, xon: 2KB}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "lossless: {ecn: {kmin: 2KB, kmax: 1KB, pmax: 1%}}",
            "lossless.ecn: kmin, 2000 bytes, is above kmax, 1000 bytes",
        ),
        ("lossless: {ecn: sonik}", 'lossless.ecn: no marking is called "sonik"; did you mean "sonic"?'),
        (
            "lossless: {ecn: {preset: sonik}}",
            'lossless.ecn.preset: no marking is called "sonik"; did you mean "sonic"?',
        ),
        ("lossless: {ecn: {kmin: 2KB}}", "lossless.ecn: give kmin, kmax and pmax, or a preset: sonic, hpcc-ns3"),
        ("lossless: {ecn: {preset: sonic, pmax: 1}}", "lossless.ecn: preset sonic says pmax already"),
        ("lossless: {ecn: {kmin: 1KB, kmax: 2KB, pmax: 2}}", 'lossless.ecn.pmax: "2" is not between 0 and 1'),
        ("lossless: {ecn: {kmn: 1KB}}", 'lossless.ecn.kmn: unknown key; did you mean "kmin"?'),
        ("lossless: {ecn: true}", "lossless.ecn: must be a mapping of keys to values"),
        ("transport: {dcqcn: papr}", 'transport.dcqcn: no DCQCN parameter set is called "papr"; did you mean "paper"?'),
        (
            "transport: {dcqcn: {alfa-timer: 1us}}",
            'transport.dcqcn.alfa-timer: unknown key; did you mean "alpha-timer"?',
        ),
        ("transport: {dcqcn: {increase-timer: 0s}}", 'transport.dcqcn.increase-timer: "0s" should be greater than 0'),
        (
            "transport: {erasure: {data: 250, parity: 10}}",
            "transport.erasure: 250 + 10 packets; a block has at most 256",
        ),
        (
            "transport: {receive-queue: posted}",
            "transport: receive-queue: a write needs no receive; posted is for verb: send",
        ),
        ("transport: {rnr-timer: 32}", 'transport.rnr-timer: "32" should be less than or equal to 31'),
        ("workload: {late: {b1: 5}}", 'workload.late.b1: "5": a time needs a unit; write it like 80us'),
        ("transport: {erasure: {parity: 0}}", 'transport.erasure.parity: "0" should be greater than or equal to 1'),
        (
            "transport: {congestion-control: bbr}",
            'transport.congestion-control: "bbr" is not "none", "dcqcn", "timely", "swift", "dctcp", "hpcc" or "nscc"',
        ),
    ],
)
def test_faults_of_congestion_settings(text: str, fault: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        experiment(f"topology: pair\n{text}")
    assert str(caught.value) == f"e.yaml:2: {fault}"


def test_a_preset_is_a_name_or_a_section_to_change() -> None:
    plain = new_experiment("pair", "incast")
    assert plain.lossless.ecn is None and plain.transport.dcqcn.preset == "paper"
    named = plain.with_overrides(["lossless.ecn=sonic", "transport.dcqcn=hpcc-ns3", "transport.dcqcn.g=0.5"])
    assert named.lossless.ecn is not None and named.lossless.ecn.preset == "sonic"
    assert (named.transport.dcqcn.preset, named.transport.dcqcn.g) == ("hpcc-ns3", 0.5)
    assert experiment_from(Source("again", named.data())) == named
    given = named.with_overrides(["lossless.ecn={kmin: 1KB, kmax: 2KB, pmax: 1%}", "lossless.ecn.kmax=3KB"])
    assert given.lossless.ecn is not None and given.lossless.ecn.plan(1) == {
        "kmin_bytes": 1000,
        "kmax_bytes": 3000,
        "pmax": 0.01,
    }
    assert given.with_overrides(["lossless.ecn=null"]).lossless.ecn is None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_experiments_that_ship_can_be_written_and_read_again(path: Path) -> None:
    loaded = load_experiment(path)
    assert experiment_from(Source("again", loaded.data())) == loaded


def test_there_are_experiments_that_ship() -> None:
    assert len(SHIPPED) >= 2


def test_a_lab_is_sought_beside_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("name: x\n")
    (tmp_path / "e.yaml").write_text("topology: lab.yaml\n")
    assert load_experiment(tmp_path / "e.yaml").topology == str(tmp_path / "lab.yaml")
    (tmp_path / "e.yaml").write_text("topology: pair\n")
    assert load_experiment(tmp_path / "e.yaml").topology == "pair"


@pytest.mark.parametrize(
    ("workload", "sizes"),
    [
        ("{minbytes: 1M, maxbytes: 64M, stepfactor: 4}", tuple(2**20 * 4**n for n in range(4))),
        ("{minbytes: 1K, maxbytes: 3K}", (1024, 2048)),
        ("{size: 12}", (12,)),
        ("{minbytes: 4K}", (4096,)),
        ("{}", (2**20,)),
    ],
)
def test_sizes(workload: str, sizes: tuple[int, ...]) -> None:
    assert experiment(f"topology: pair\nworkload: {workload}").workload.sizes == sizes


def test_overrides_are_typed() -> None:
    experiment = new_experiment("two-dc", "incast").with_overrides(
        [
            "lossless.pfc=false",
            "lossless.headroom=5MB",
            "lossless.response=2us",
            "transport.ack-every=1",
            "dilation=10",
            "workload.ranks=[a1, b1]",
            "expect=[drops.lossless == 0]",
        ]
    )
    assert experiment.lossless.pfc is False
    assert (experiment.lossless.headroom, experiment.lossless.response) == (5_000_000, 2_000_000)
    assert (experiment.transport.ack_every, experiment.dilation, experiment.workload.ranks) == (1, 10, ("a1", "b1"))
    assert experiment.workload.collective == "incast" and experiment.expect == ("drops.lossless == 0",)


def test_overrides_leave_what_they_do_not_name_and_survive_each_other() -> None:
    once = new_experiment("pair", "all_reduce").with_overrides(["lossless.response=1.5us"])
    twice = once.with_overrides(["seed=9"])
    assert twice.lossless.response == 1_500_000 and twice.seed == 9
    assert new_experiment("pair", "all_reduce").with_overrides([]) == new_experiment("pair", "all_reduce")


def test_a_size_replaces_a_range_and_the_other_way_round() -> None:
    sized = new_experiment("pair", "all_reduce").with_overrides(["workload.size=4K"])
    ranged = sized.with_overrides(["workload.minbytes=1K", "workload.maxbytes=2K"])
    assert ranged.workload.sizes == (1024, 2048)
    assert ranged.with_overrides(["workload.size=8K"]).workload.sizes == (8192,)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("losless.pfc=1", 'unknown key "losless"; did you mean "lossless"'),
        ("lossless.pcf=false", 'unknown key "pcf"; did you mean "pfc"'),
        ("lossless.pfc.x=1", 'unknown key "x"'),
        ("transport.ack_every=1", 'did you mean "ack-every"'),
        ("lossless={}", "is a section"),
        ("lossless.pfc", "is not a setting"),
        ("lossless.pfc=", "is not a setting"),
        ("lossless.pfc=maybe", '--set: lossless.pfc: "maybe" should be a valid boolean'),
        ("lossless.headroom=5kg", "impossible unit"),
        ("lossless.pfc=[", "--set lossless.pfc:1: not YAML"),
        ("expect=a == 1", "expect: must be a list"),
        ("dilation=0", "not a whole number"),
    ],
)
def test_overrides_that_cannot_be(override: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        new_experiment("pair", "all_reduce").with_overrides([override])
    assert message in str(caught.value)


def test_the_schema_names_every_key_as_written() -> None:
    schema = experiment_schema()
    assert "ack-every" in schema["$defs"]["Transport"]["properties"]
    assert schema["$defs"]["Workload"]["properties"]["collective"]["enum"]
    assert schema["required"] == ["topology"]


def test_a_share_of_the_derived_headroom() -> None:
    experiment = new_experiment("pair", "incast").with_overrides(["lossless.headroom=50%"])
    assert experiment.lossless.headroom == 0.5
    assert experiment.data()["lossless"] == {"headroom": "50%"}
    assert experiment.with_overrides(["seed=3"]).lossless.headroom == 0.5, "written and read again"
    assert new_experiment("pair", "incast").with_overrides(["lossless.headroom=4e5"]).lossless.headroom == 400_000
    for wrong, message in [("0.5%", "is not from 1% to 1000%"), ("x%", "is not a share; write it like 50%")]:
        with pytest.raises(ExperimentError, match=message):
            new_experiment("pair", "incast").with_overrides([f"lossless.headroom={wrong}"])
