"""topology.txt and config.txt of the ns-3 family: the three forms, every figure, faults at their lines, the way back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from testbed.errors import TopologyError
from testbed.experiment.file import Experiment, experiment_from
from testbed.importers.draft import Imported
from testbed.importers.hpcc import read_hpcc, write_hpcc
from testbed.importers.hpcc_config import read_config
from testbed.importers.text import MAX_LINKS, Text
from testbed.lab.graph import graph_of
from testbed.lab.topology import Lab, Switch, lab_from, load_lab
from testbed.plan.compile import compile_fabric
from testbed.run.judgement import conclude
from testbed.run.perform import run_virtual
from testbed.run.trial import Trial
from testbed.schema.source import Source
from tests.unit.plan.drawn_labs import labs

# Two hosts on one switch.
PLAIN = "3 1 2\n2\n0 2 100Gbps 1us 0\n1 2 100Gbps 1us 0\n"
BORDERS = """\
# Zwei Standorte, 规模小
6 2 2 5

2 3
4 5
0 2 100Gbps 1us 0
1 3 100Gbps 0.001ms 0
# spans
2 4 400Gbps 1us 0
3 5 400Gbps 1us 0
4 5 25Gbps 5ms 1e-6
"""
SERVERS = """7 2 2 1 8 H100
4 5
6
0 4 2880Gbps 0.000025ms 0
1 4 2880Gbps 0.000025ms 0
2 5 2880Gbps 0.000025ms 0
3 5 2880Gbps 0.000025ms 0
0 6 400Gbps 0.0005ms 0
1 6 400Gbps 0.0005ms 0
2 6 400Gbps 0.0005ms 0
3 6 400Gbps 0.0005ms 0
"""
CONFIG = """\
CC_MODE 1
ENABLE_QCN 1
USE_DYNAMIC_PFC_THRESHOLD 1
\\
/WebSearch/0.3util/Ours/
FCT_OUTPUT_FILE ${OUTPUT_DIR}fct.txt
PACKET_PAYLOAD_SIZE 1000
RP_TIMER 900
EWMA_GAIN 0.00390625
RATE_AI 50Mb/s
BUFFER_SIZE 32
DCI_BUFFER_SIZE 128
ERROR_RATE_PER_LINK 0.0000
KMAX_MAP 2 25000000000 400 100000000000 1600
KMIN_MAP 2 25000000000 100 100000000000 400
PMAX_MAP 2 25000000000 0.2 100000000000 0.2
"""


def read(text: str, config: str | None = None) -> tuple[Lab, Imported]:
    imported = read_hpcc(
        Text("topology.txt", text), None if config is None else read_config(Text("config.txt", config))
    )
    return lab_from(imported.source), imported


def plan(lab: Lab) -> object:
    return compile_fabric(lab, Experiment(topology=lab.name))


def test_the_form_of_hpcc() -> None:
    lab, imported = read(PLAIN)
    assert [node.name for node in lab.nodes] == ["h0", "h1", "s2"]
    assert [str(end) for link in lab.links for end in (link.a, link.b)] == ["h0:eth1", "s2:eth1", "h1:eth1", "s2:eth2"]
    assert {(link.rate_bps, link.delay_ps, link.loss) for link in lab.links} == {(10**11, 10**6, (0, 0))}
    assert imported.summary() == "took 2 hosts, 1 switch, 2 links; left out nothing"


def test_the_form_with_border_switches_comments_and_blank_lines() -> None:
    lab, imported = read(BORDERS.replace("\n", "\r\n"))
    assert [node.name for node in lab.nodes] == ["h0", "h1", "s2", "s3", "b4", "b5"]
    assert [link.delay_ps for link in lab.links] == [10**6, 10**6, 10**6, 10**6, 5 * 10**9]
    assert lab.links[4].loss == (1e-6, 1e-6) and lab.links[4].rate_bps == 25 * 10**9
    assert imported.source.line(("topology", "links", 4)) == 11


def test_the_form_of_simai() -> None:
    lab, _ = read(SERVERS)
    assert [node.name for node in lab.nodes] == ["h0", "h1", "h2", "h3", "n4", "n5", "s6"]
    # Two servers of two GPUs, each with a switch inside, and a link of each GPU to the switch outside.
    assert [(host.domain, host.scale_up, host.scale_out) for host in lab.hosts] == [
        ("server0", ("eth1",), ("eth2",)),
        ("server0", ("eth1",), ("eth2",)),
        ("server1", ("eth1",), ("eth2",)),
        ("server1", ("eth1",), ("eth2",)),
    ]
    assert [switch.domain for switch in lab.switches] == ["server0", "server1", None]
    assert {host.nic_rate_bps for host in lab.hosts} == {400 * 10**9}
    assert lab.links[0].delay_ps == 25_000 and lab.links[0].rate_bps == 2880 * 10**9


def test_words_may_be_broken_into_lines_anywhere_and_what_follows_is_said() -> None:
    _, imported = read(PLAIN.replace(" 2 100Gbps", "\n2 100Gbps") + "trace of\nnothing\n")
    assert [str(left) for left in imported.left] == ["words behind the last link (topology.txt:7)"]


def test_a_configuration_gives_buffers_to_the_lab_and_the_rest_to_an_experiment() -> None:
    lab, imported = read(BORDERS, CONFIG)
    switches = {node.name: node for node in lab.nodes if isinstance(node, Switch)}
    assert switches["s2"].buffer_bytes == 32 * 2**20 and switches["b4"].buffer_bytes == 128 * 2**20
    groups = {(name, port): switch.group(port, 3) for name, switch in switches.items() for port in lab.ports[name]}
    # Alpha is 1/8 at the rate of the hosts' NICs and below, and doubles with the rate above.
    assert [groups["s2", port].alpha_log2 for port in ("eth1", "eth2")] == [-3, -1]
    assert [groups["b4", port].alpha_log2 for port in ("eth1", "eth2")] == [-1, -3]
    marks = {place: figures.marking and figures.marking.kmax for place, figures in groups.items()}
    assert marks["s2", "eth1"] == 1_600_000 and marks["s2", "eth2"] is None and marks["b4", "eth2"] == 400_000
    experiment = experiment_from(Source("experiment", {"topology": "lab.yaml", **imported.experiment}))
    dcqcn = experiment.transport.dcqcn.plan(100 * 10**9)
    assert experiment.transport.congestion_control == "dcqcn" and experiment.transport.frames is not None
    assert experiment.transport.frames.model_dump(exclude_none=True) == {"payload": 1000, "header": 48, "ack": 60}
    assert (dcqcn["increase_timer_ps"], dcqcn["additive_bps"], dcqcn["g"]) == (900 * 10**6, 50 * 10**6, 1 / 256)
    # What the file does not say has the defaults of the family, not those of its run script.
    assert (dcqcn["alpha_timer_ps"], dcqcn["hyper_bps"], dcqcn["fast_recovery_rounds"]) == (55 * 10**6, 50 * 10**6, 5)
    assert [str(left) for left in imported.left] == [
        "lines that belong to no key (config.txt:4, 2 times)",
        "marking at 400G, of which no map speaks (config.txt:15)",
    ]


def test_packets_have_the_sizes_of_the_family() -> None:
    """2 MB over two links of 100 Gb/s and 1 us each: every packet at the first link, and the last one at the second."""
    lab, imported = read(PLAIN, "PACKET_PAYLOAD_SIZE 1000\n")
    packets = "packets of 1000 bytes and 48 of headers, acknowledgements of 60"
    assert (
        imported.summary() == f"took 2 hosts, 1 switch, 2 links, 1 setting of config.txt, {packets}; left out nothing"
    )
    assert imported.experiment == {"transport": {"frames": {"payload": 1000, "header": 48, "ack": 60}}}
    flows = {"list": [{"from": "h0", "to": "h1", "bytes": 2_000_000}]}
    experiment = experiment_from(Source("experiment", {"topology": "lab.yaml", **imported.experiment, "flows": flows}))
    trial = Trial(experiment, lab)
    result = conclude(trial, run_virtual(trial, None, lambda progress: None), "virtual", 1, "test")
    assert result.flow_completion is not None and result.flow_completion.flows[0].fct_us is not None
    packet_ns = 1048 * 8 / 100
    assert result.flow_completion.flows[0].fct_us * 1000 == pytest.approx(2000 * packet_ns + packet_ns + 2000, abs=0.5)


def test_packets_of_9000_bytes_have_links_that_take_them() -> None:
    lab, imported = read(SERVERS, "PACKET_PAYLOAD_SIZE 9000\n")
    assert imported.experiment["transport"]["frames"]["payload"] == 9000
    assert {link.mtu_bytes for link in lab.links} == {9216} and imported.left == ()
    lab, imported = read(SERVERS, "PACKET_PAYLOAD_SIZE 9200\n")
    assert imported.experiment == {"transport": {"mtu": 4096}} and {link.mtu_bytes for link in lab.links} == {4200}
    assert [str(left) for left in imported.left] == ["PACKET_PAYLOAD_SIZE 9200, taken as 4096 (config.txt:1)"]


def test_switches_with_ports_of_one_rate_share_what_a_configuration_says() -> None:
    _, imported = read(PLAIN, CONFIG)
    assert imported.source.data["topology"]["kinds"]["switch"] == {
        "buffer": "32MiB",
        "thresholds": {"alpha": "1/8", "ecn": {"kmin": "400KB", "kmax": "1.6MB", "pmax": 0.2}},
    }
    with pytest.raises(TopologyError, match=r"config\.txt:15: kmin is above kmax at 100G"):
        read(PLAIN, CONFIG.replace("100000000000 400\n", "100000000000 4000\n"))


def test_dcqcn_without_marks_is_left_out() -> None:
    _, imported = read(PLAIN, CONFIG.replace("ENABLE_QCN 1", "ENABLE_QCN 0"))
    assert "congestion-control" not in imported.experiment["transport"]
    assert imported.source.data["topology"]["kinds"]["switch"]["thresholds"] == {"alpha": "1/8"}
    assert "CC_MODE 1 (DCQCN) without marks for it to act on" in [left.what for left in imported.left]


def test_another_congestion_control_is_left_out() -> None:
    _, imported = read(PLAIN, "CC_MODE 8\nLINK_DOWN 2000 0 1\nERROR_RATE_PER_LINK 0.001\n")
    assert "congestion-control" not in imported.experiment.get("transport", {})
    assert [left.what for left in imported.left] == ["CC_MODE 8 (DCTCP)", "LINK_DOWN of h0 and h1"]
    assert imported.source.data["topology"]["links"][0]["loss"] == 0.001


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("", "topology.txt", "the file is empty"),
        ("3 1\n", "topology.txt:1", "the first line has 3, 4 or 6 words, not 2"),
        ("# c\n3 one 2\n", "topology.txt:2", 'the count "one" is not a whole number'),
        (f"{MAX_LINKS + 1} 1 1\n", "topology.txt:1", f"is not a whole number from 0 to {MAX_LINKS}"),
        ("3 4 2\n", "topology.txt:1", "4 switches among 3 nodes"),
        ("3 1 2\n3\n", "topology.txt:2", 'the number of a switch "3" is not a whole number from 0 to 2'),
        ("4 2 2\n2 2\n", "topology.txt:2", "switch 2 is listed twice"),
        ("3 1 2\n2\n0 2 100Gbps 1us 0\n", "topology.txt:3", "the file ends where link 2 of 2 should be"),
        (
            PLAIN.replace("0 2 100Gbps", "0 2 100GBps"),
            "topology.txt:3",
            'rate: "100GBps": "GBps" is an impossible unit',
        ),
        (PLAIN.replace("1us", "1", 1), "topology.txt:3", 'delay: "1": a time needs a unit'),
        (PLAIN.replace("1us 0", "1us 1.5", 1), "topology.txt:3", 'error rate "1.5" is not a number from 0 to 1'),
        (PLAIN.replace("1us 0", "1us nan", 1), "topology.txt:3", 'error rate "nan" is not a number from 0 to 1'),
        ("4 2 3\n2 3\n0 2 1G 1us 0\n1 3 1G 1us 0\n3 3 1G 1us 0", "topology.txt:5", "a link from s3 to itself"),
        ("9 1 0\n8\n", "topology.txt:1", "8 hosts have no link, h0 the first of them"),
        (PLAIN + "#: node 0 A\n#: node 1 a\n", "topology.txt:1", 'two nodes would be called "a"'),
        (PLAIN + "#: nodes\n", "topology.txt:5", "is not a comment that an export writes"),
    ],
)
def test_faults_have_their_line(text: str, place: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{place}: ") and said in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("BUFFER_SIZE", "BUFFER_SIZE has no value"),
        ("BUFFER_SIZE -1", 'BUFFER_SIZE "-1" is not a whole number'),
        ("RP_TIMER 0", "RP_TIMER must be longer than 0"),
        ("KMIN_MAP 2 25000000000 100", "KMIN_MAP says 2 pairs, and 2 words follow"),
        ("PMAX_MAP 1 25000000000 2", 'PMAX_MAP "2" is not a number from 0 to 1'),
        ("RATE_AI 50MB/s", "impossible unit"),
        ("LINK_DOWN 1 2", "LINK_DOWN has three numbers"),
    ],
)
def test_faults_of_a_configuration_have_their_line(line: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        read(PLAIN, f"\n{line}\n")
    assert str(caught.value).startswith("config.txt:2: ") and said in str(caught.value)


@pytest.mark.parametrize("spec", ["two-dc:loss=1e-5", "clos:leaves=3", "ring:switches=3", "three-leaves"])
def test_a_lab_that_is_written_and_read_has_the_same_plan(spec: str) -> None:
    lab = load_lab(spec)
    again, imported = read(write_hpcc(graph_of(lab)))
    assert not imported.left
    # Depths of buffers are not in the file: both get the same.
    deep = [
        each.model_copy(
            update={
                "nodes": tuple(
                    node.model_copy(update={"buffer_bytes": None}) if isinstance(node, Switch) else node
                    for node in each.nodes
                )
            }
        )
        for each in (lab, again)
    ]
    assert plan(deep[0]) == plan(deep[1])


@settings(max_examples=40)
@given(labs(kinds={"switch": {"buffer": "auto"}}))
def test_any_lab_that_is_written_and_read_has_the_same_plan(lab: Lab) -> None:
    text = write_hpcc(graph_of(lab))
    again, _ = read(text)
    assert plan(again) == plan(lab)
    assert write_hpcc(graph_of(again)) == text


def test_names_and_ports_stand_where_simulators_do_not_look() -> None:
    text = write_hpcc(graph_of(load_lab("ring:switches=3")))
    lines = text.splitlines()
    count = int(lines[0].split()[2])
    assert all(line.startswith("#: ") for line in lines[2 + count :])
    assert not any(line.startswith("#") for line in lines[: 2 + count])
