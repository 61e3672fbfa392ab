"""Configurations of SONiC: every table that a lab can have, partial files, fabrics, and thresholds measured to the cell."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import TopologyError, UsageError
from testbed.importers.draft import Remainder
from testbed.importers.onto import port_map
from testbed.importers.pg_profile import read_lookup
from testbed.importers.sonic import Configuration, join
from testbed.importers.sonic_fabric import read_directory, read_sonic
from testbed.importers.sonic_switch import PortView, SwitchSettings, hoisted
from testbed.importers.text import Text
from testbed.lab.topology import Lab, lab_from, load_lab

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Tables = dict[str, dict[str, dict[str, str]]]

LEAF: Tables = {
    "DEVICE_METADATA": {"localhost": {"hostname": "Leaf_A", "type": "LeafRouter"}},
    "PORT": {
        "Ethernet0": {"speed": "100000", "mtu": "9100"},
        "Ethernet4": {"speed": "100000", "mtu": "9100", "alias": "et2"},
    },
    "CABLE_LENGTH": {"AZURE": {"Ethernet0": "40m", "Ethernet4": "2000m"}},
    "BUFFER_POOL": {
        "in": {"type": "ingress", "mode": "dynamic", "size": "2000000", "xoff": "400000"},
        "out": {"type": "egress", "mode": "dynamic", "size": "1500000"},
        "keep": {"type": "egress", "mode": "static", "size": "3000000"},
    },
    "BUFFER_PROFILE": {
        "ll": {"pool": "in", "size": "1248", "dynamic_th": "-2", "xon": "1248", "xon_offset": "9000", "xoff": "90000"},
        "lossy": {"pool": "out", "size": "1664", "dynamic_th": "-1"},
        "all": {"pool": "keep", "size": "0", "static_th": "3000000"},
    },
    "BUFFER_PG": {"Ethernet0,Ethernet4|3-4": {"profile": "ll"}},
    "BUFFER_QUEUE": {
        "Ethernet0,Ethernet4|0-2": {"profile": "[BUFFER_PROFILE|lossy]"},
        "Ethernet0,Ethernet4|3-4": {"profile": "all"},
    },
    "QUEUE": {
        "Ethernet0,Ethernet4|0": {"scheduler": "few"},
        "Ethernet0,Ethernet4|3-4": {"scheduler": "many"},
        "HOST|ASIC0|Ethernet0,Ethernet4|7": {"scheduler": "first"},
    },
    "SCHEDULER": {
        "few": {"type": "DWRR", "weight": "5"},
        "many": {"type": "DWRR", "weight": "15"},
        "first": {"type": "STRICT"},
    },
    "PORT_QOS_MAP": {"global": {"pfc_enable": "4,3"}},
    "PFC_WD": {
        "GLOBAL": {"POLL_INTERVAL": "100"},
        "Ethernet0": {"action": "forward", "detection_time": "200", "restoration_time": "300"},
        "Ethernet4": {"action": "forward", "detection_time": "200", "restoration_time": "300"},
    },
    "DEVICE_NEIGHBOR": {
        "Ethernet0": {"name": "Server_1", "port": "eth0"},
        "Ethernet4": {"name": "spine", "port": "Ethernet8"},
    },
    "DEVICE_NEIGHBOR_METADATA": {"Server_1": {"type": "Server"}, "spine": {"type": "SpineRouter"}},
}
SPINE: Tables = {
    "PORT": {"Ethernet8": {"speed": "100000", "mtu": "9100"}},
    "CABLE_LENGTH": {"AZURE": {"Ethernet8": "2km"}},
    "PORT_QOS_MAP": {"Ethernet8": {"pfc_enable": "3,4"}},
    "DEFAULT_LOSSLESS_BUFFER_PARAMETER": {"AZURE": {"default_dynamic_th": "1"}},
    "LOSSLESS_TRAFFIC_PATTERN": {"AZURE": {"mtu": "1024", "small_packet_percentage": "40"}},
    "DEVICE_NEIGHBOR": {"Ethernet8": {"name": "Leaf_A", "port": "et2"}},
}
SETTINGS = {
    "lossless": [3, 4],
    "buffer": "auto",
    "pool": "2MB",
    "headroom-pool": "400KB",
    "thresholds": {"alpha": "1/4", "reserve": "1.248KB", "xon-offset": "9KB", "headroom": "90KB"},
    "lossy-alpha": "1/2",
    "lossy-reserve": "1.664KB",
    "lossy-pool": "1.5MB",
    "weights": {0: 5, 3: 15, 4: 15},
    "watchdog": {"detection": "200ms", "restoration": "300ms", "poll": "100ms", "action": "forward"},
}
VIEWS = [PortView("eth1", "Ethernet0", 10**11, 40_000), PortView("eth2", "Ethernet4", 10**11, None)]
LOOKUP = "100000 40m 4608 4608 160000 0 4608\n100000 2000m 18432 0 500000 -1\n100000 5m 0 0 20000 50000\n"


def text_of(tables: object) -> Text:
    return Text("leaf.json", json.dumps(tables, indent=1))


def changed(tables: Tables, table: str, key: str, **fields: str | None) -> Tables:
    """Return tables with a row of other fields; None takes one away."""
    found = copy.deepcopy(tables)
    row = found.setdefault(table, {}).setdefault(key, {})
    for field, value in fields.items():
        row.pop(field, None)
        if value is not None:
            row[field] = value
    return found


def settings(tables: Tables, lookup: str | None = None) -> tuple[dict[str, Any], list[str]]:
    remainder = Remainder()
    config = Configuration(join("leaf", [text_of(tables)]), read_lookup(Text("pg.ini", lookup)) if lookup else None)
    found = SwitchSettings(config, VIEWS, remainder).settings()
    return found, [left.what for left in remainder.all()]


def test_every_table_that_a_lab_can_have() -> None:
    assert settings(LEAF) == (SETTINGS, [])


def test_files_of_one_switch_are_joined_by_table() -> None:
    halves = [{key: LEAF[key] for key in LEAF if key.startswith("BUFFER") is first} for first in (True, False)]
    config = Configuration(join("leaf", [text_of(half) for half in halves]))
    remainder = Remainder()
    assert SwitchSettings(config, VIEWS, remainder).settings() == SETTINGS and not remainder.all()
    other = Text("other.json", json.dumps({"SCHEDULER": {"few": {"weight": "6"}}}))
    with pytest.raises(TopologyError, match=r"other\.json:1: SCHEDULER few: weight is another one in leaf\.json"):
        join("leaf", [text_of(LEAF), other])


def test_groups_without_a_profile_take_that_of_the_table_for_their_port() -> None:
    tables = changed(LEAF, "BUFFER_PG", "Ethernet0,Ethernet4|3-4", profile="NULL")
    found, left = settings(tables, LOOKUP)
    assert found["thresholds"] == {
        "alpha": "1",
        "reserve": "4.608KB",
        "xon-offset": "4.608KB",
        "headroom": "160KB",
        "ports": {"eth2": {"alpha": "1/2", "reserve": "18KiB", "headroom": "500KB"}},
    }
    assert not left
    found, left = settings(tables, LOOKUP.splitlines()[0])
    assert "ports" not in found["thresholds"]
    assert left == ["thresholds for 100000 Mb/s and 2km, which no table has"]
    static = changed(tables, "BUFFER_POOL", "in", mode="static")
    with pytest.raises(TopologyError, match=r"pg\.ini:2: threshold -1 is below 0, and the ingress pool is static"):
        settings(static, LOOKUP)


def test_a_static_threshold_is_one_in_the_lab() -> None:
    tables = changed(LEAF, "BUFFER_PROFILE", "ll", dynamic_th=None, static_th="50000", xon_offset="9000", xon="0")
    found, _ = settings(tables)
    assert found["thresholds"] == {"xoff": "51.248KB", "xon": "42.248KB", "headroom": "90KB"}
    assert "pool" not in found


def test_thresholds_are_said_of_as_many_groups_at_once_as_have_them() -> None:
    one, two, three = {"alpha": "1"}, {"alpha": "1/2"}, {"alpha": "1/4"}
    groups = {
        ("eth1", 3): one,
        ("eth1", 4): one,
        ("eth2", 3): two,
        ("eth2", 4): two,
        ("eth3", 3): one,
        ("eth3", 4): three,
    }
    assert hoisted(groups) == {
        "alpha": "1",
        "ports": {"eth2": {"alpha": "1/2"}, "eth3": {"priorities": {4: {"alpha": "1/4"}}}},
    }


@pytest.mark.parametrize(
    ("table", "key", "fields", "what"),
    [
        ("PORT_QOS_MAP", "Ethernet0", {"pfc_enable": "3"}, "pfc_enable 3 of single ports"),
        ("BUFFER_PROFILE", "ll", {"xon": "5000"}, "xon 5000 above the reserve of 1248 bytes"),
        ("BUFFER_PROFILE", "all", {"static_th": "2000000"}, "limits of lossless queues at egress: all"),
        ("SCHEDULER", "few", {"type": "WRR"}, "WRR, taken as DWRR"),
        ("SCHEDULER", "few", {"pir": "1250000"}, "rates of scheduler few"),
        ("PFC_WD", "Ethernet4", {"action": "alert"}, "watchdog action alert"),
        ("PFC_WD", "Ethernet4", {"detection_time": "400"}, "watchdogs of single ports"),
        ("DSCP_TO_TC_MAP", "AZURE", {"0": "1"}, "table DSCP_TO_TC_MAP"),
    ],
)
def test_what_a_lab_has_not_is_said(table: str, key: str, fields: dict[str, str], what: str) -> None:
    _, left = settings(changed(LEAF, table, key, **fields))
    assert what in left


@pytest.mark.parametrize(
    ("table", "key", "fields", "said"),
    [
        ("BUFFER_PROFILE", "ll", {"dynamic_th": "8"}, 'dynamic_th "8" is not a whole number from -8 to 7'),
        ("BUFFER_PROFILE", "ll", {"static_th": "1"}, "ll has either a dynamic_th or a static_th"),
        ("BUFFER_PG", "Ethernet0,Ethernet4|3-4", {"profile": "x"}, 'no profile is called "x"'),
        ("BUFFER_PG", "Ethernet0|3-", {"profile": "ll"}, "is not a port and a range like Ethernet0|3-4"),
        ("BUFFER_QUEUE", "Ethernet0|99", {"profile": "ll"}, "is not a port and a range like Ethernet0|3-4"),
        ("QUEUE", "Ethernet0,Ethernet4|0", {"scheduler": "x"}, 'no scheduler is called "x"'),
        ("QUEUE", "Ethernet0,Ethernet4|3-4", {"wred_profile": "x"}, 'no WRED profile is called "x"'),
        ("PORT_QOS_MAP", "global", {"pfc_enable": "3,8"}, 'pfc_enable "3,8" is not a list of priorities'),
        ("PORT", "Ethernet0", {"speed": "fast"}, 'speed "fast" is not a whole number'),
        ("CABLE_LENGTH", "AZURE", {"Ethernet0": "40"}, "a length needs a unit"),
        ("PFC_WD", "GLOBAL", {"POLL_INTERVAL": "0"}, 'POLL_INTERVAL "0" is not a whole number'),
    ],
)
def test_faults_have_their_line(table: str, key: str, fields: dict[str, str], said: str) -> None:
    tables = changed(LEAF, table, key, **fields)
    with pytest.raises(TopologyError) as caught:
        settings(tables)
    assert said in str(caught.value)
    line = caught.value.faults[0].line
    lines = text_of(tables).text.splitlines()
    assert any(word in lines[line - 1] for word in (*fields, f'"{key}"', '"ll"'))


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"PORT": []}, "PORT is not a table"),
        ({"PORT": {"Ethernet0": 1}}, "PORT Ethernet0 is not a row of fields"),
        ({"PORT": {"Ethernet0": {"speed": 100000}}}, "PORT Ethernet0: speed is not text"),
        ({"PORT": {f"Ethernet{index}": {} for index in range(1025)}}, "1025 ports; a switch has at most 1024"),
    ],
)
def test_what_is_no_table_is_refused(tables: object, said: str) -> None:
    with pytest.raises(TopologyError, match=said):
        Configuration(join("leaf", [text_of(tables)])).ports()


# Fabrics


def fabric(folder: Path, **switches: Tables) -> Lab:
    for name, tables in switches.items():
        (folder / name).mkdir()
        (folder / name / "config_db.json").write_text(json.dumps(tables))
    return lab_from(read_sonic(read_directory(folder), str(folder)).source)


def test_neighbours_say_how_a_fabric_is_cabled(tmp_path: Path) -> None:
    lab = fabric(tmp_path, one=LEAF, spine=SPINE)
    assert [(node.name, node.kind) for node in lab.nodes] == [
        ("server-1", "host"),
        ("leaf-a", "switch"),
        ("spine", "switch"),
    ]
    assert [tuple(map(str, (link.a, link.b))) for link in lab.links] == [
        ("leaf-a:eth1", "server-1:eth1"),
        ("leaf-a:eth2", "spine:eth1"),
    ]
    assert [(link.rate_bps, link.length_mm, link.mtu_bytes) for link in lab.links] == [
        (10**11, 40_000, 9100),
        (10**11, 2_000_000, 9100),
    ]
    leaf, spine = lab.switches
    assert leaf.alpha_log2 == -2 and leaf.headroom_bytes == 90_000
    assert spine.alpha_log2 == 1 and spine.headroom_bytes is None and spine.small_percent == 40


def test_a_directory_may_hold_a_file_a_switch_and_one_table_for_all(tmp_path: Path) -> None:
    computed = changed(LEAF, "BUFFER_PG", "Ethernet0,Ethernet4|3-4", profile="NULL")
    computed["CABLE_LENGTH"]["AZURE"]["Ethernet4"] = "40m"
    spine = copy.deepcopy(SPINE)
    spine["CABLE_LENGTH"]["AZURE"]["Ethernet8"] = "40m"
    (tmp_path / "leaf.json").write_text(json.dumps(computed))
    (tmp_path / "spine.json").write_text(json.dumps(spine))
    (tmp_path / "pg_profile_lookup.ini").write_text(LOOKUP)
    lab = lab_from(read_sonic(read_directory(tmp_path), str(tmp_path)).source)
    assert [switch.headroom_bytes for switch in lab.switches] == [160_000, 160_000]


@pytest.mark.parametrize(
    ("table", "key", "fields", "said"),
    [
        (
            "DEVICE_NEIGHBOR",
            "Ethernet8",
            {"name": "other"},
            "Ethernet4 leads to spine, which names no port that leads back",
        ),
        ("CABLE_LENGTH", "AZURE", {"Ethernet8": "300m"}, "length 300m at spine Ethernet8, and 2km at Leaf_A Ethernet4"),
        ("PORT", "Ethernet8", {"speed": "40000"}, "rate 40G at spine Ethernet8, and 100G at Leaf_A Ethernet4"),
        ("DEVICE_METADATA", "localhost", {"hostname": "leaf-a"}, 'a second switch is called "leaf-a"'),
    ],
)
def test_ends_that_disagree_are_refused(
    tmp_path: Path, table: str, key: str, fields: dict[str, str], said: str
) -> None:
    leaf = copy.deepcopy(LEAF)
    leaf["CABLE_LENGTH"]["AZURE"]["Ethernet4"] = "2km"
    with pytest.raises(TopologyError) as caught:
        fabric(tmp_path, one=leaf, spine=changed(SPINE, table, key, **fields))
    assert said in str(caught.value)


# A lab that is there, completed


def test_thresholds_measured_to_the_cell_are_those_of_the_file(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(
        "name: onto\ntopology:\n  defaults: {rate: 100G, length: 40m}\n  nodes:\n"
        "    a1: {kind: host}\n    b1: {kind: host}\n    leaf1: {kind: switch, cell: 208}\n"
        '  links:\n    - {endpoints: ["a1:eth1", "leaf1:eth1"]}\n    - {endpoints: ["b1:eth1", "leaf1:eth2"]}\n'
    )
    for name, first in (("buffer.json", True), ("qos.json", False)):
        part = {key: LEAF[key] for key in LEAF if key.startswith("BUFFER") is first and not key.startswith("DEVICE")}
        (tmp_path / name).write_text(json.dumps(part))
    done = call_testbed(
        "import", "sonic", "buffer.json", "qos.json", "--onto", "lab.yaml", "--switch", "leaf1", "-o", "done.yaml"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(
        "took 10 settings of switch leaf1 from 2 files; eth1 is Ethernet0, eth2 is Ethernet4; 1 cable"
    )
    cases = ("--only", "xoff-threshold", "--only", "drop-threshold", "--only", "xon-threshold")
    measured = call_testbed("conformance", "-t", "done.yaml", *cases, "--format", "json")
    assert measured.returncode == 0, measured.stdout
    by_name = {case["name"]: case["measured"] for case in json.loads(measured.stdout)["cases"]}
    # Alone in a pool of 2,000,000 bytes a group with alpha 1/4 settles at a fifth of it, above a reserve of 1,248 = 6 cells.
    threshold = 6 * 208 + 2_000_000 // 5 // 208 * 208
    assert by_name["xoff-threshold"]["held_at_most_bytes"] == threshold
    assert by_name["xoff-threshold"]["crossed_at_bytes"] == threshold + 208
    assert by_name["drop-threshold"]["held_at_most_bytes"] == threshold + 90_000 // 208 * 208


def test_ports_are_matched_as_said_by_neighbour_and_then_in_order(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps(LEAF))
    said = ["testbed", "import", "sonic", "all.json", "--onto", "two-dc", "--switch"][1:]
    done = call_testbed(*said, "leaf-a", "--port", "eth3=Ethernet4")
    assert done.returncode == 2
    assert (
        "all.json: leaf-a has 3 ports, and no port with pfc_enable is left for eth2; name one with --port"
        in done.stderr
    )
    done = call_testbed(*said, "border-a", "--port", "eth2=Ethernet0", "-o", "lab.yaml")
    assert done.returncode == 0 and "eth1 is Ethernet4, eth2 is Ethernet0" in done.stderr
    assert load_lab(str(tmp_path / "lab.yaml")).switches[2].alpha_log2 == -2
    for options, said_of in (
        (("leaf-x",), 'two-dc has no switch "leaf-x"'),
        (("leaf-a", "--port", "eth9=Ethernet0"), 'leaf-a has no link on "eth9"'),
        (("leaf-a", "--port", "eth1=Ethernet9"), 'no file speaks of "Ethernet9"'),
        (("leaf-a", "--rate", "25G"), "the lab that is completed says what its links are like"),
    ):
        done = call_testbed(*said, *options)
        assert done.returncode == 2 and said_of in done.stderr
    with pytest.raises(UsageError, match="write it like eth1=Ethernet48, each port once"):
        port_map(["eth1=Ethernet0,eth1=Ethernet4"])


def test_a_look_up_table_alone_completes_a_lab(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "pg.ini").write_text(
        "# speed cable size xon xoff threshold xon_offset\r\n100000 50m 4608 4608 160000 0 4608\r\n"
    )
    done = call_testbed("import", "pg-profile", "pg.ini", "--onto", "two-dc:length=80km", "-o", "lab.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "took thresholds of 8 ports of 4 switches; left out: border-a:eth2, of which no row speaks: 100G, 80km (pg.ini), "
        "border-b:eth2, of which no row speaks: 100G, 80km (pg.ini)"
    ]
    assert {switch.headroom_bytes for switch in load_lab(str(tmp_path / "lab.yaml")).switches} == {160_000}
    strict = call_testbed(
        "import", "pg-profile", "pg.ini", "--onto", "two-dc:length=80km", "--switch", "leaf-a", "--strict"
    )
    assert strict.returncode == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("100000 5m 0 0 1", "pg.ini:1: a row has 6 or 7 columns, not 5"),
        ("\n100000 5 0 0 1 0", "pg.ini:2: cable: "),
        ("fast 5m 0 0 1 0", 'pg.ini:1: speed "fast"'),
        ("100000 5m -1 0 1 0", 'a size "-1" is not a whole number'),
        ("100000 5m 0 0 1 0\n100000 500cm 0 0 1 0", "pg.ini:2: a second row for 100000 500cm, first on line 1"),
    ],
)
def test_faults_of_a_look_up_table_have_their_line(text: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        read_lookup(Text("pg.ini", text))
    assert said in str(caught.value)
