"""Configurations of SONiC: every table that a lab can have, partial files, fabrics, and thresholds measured to the cell."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import TopologyError
from testbed.importers.draft import Remainder
from testbed.importers.pg_profile import read_lookup
from testbed.importers.sonic import Configuration, join
from testbed.importers.sonic_fabric import read_directory, read_sonic
from testbed.importers.sonic_switch import PortView, SwitchSettings
from testbed.importers.text import Text
from testbed.importers.thresholds import hoisted
from testbed.lab.topology import Lab, lab_from
from tests.unit.importers.sonic_tables import LEAF, Tables

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

SPINE: Tables = {
    "PORT": {"Ethernet8": {"speed": "100000", "mtu": "9100"}},
    "CABLE_LENGTH": {"AZURE": {"Ethernet8": "2km"}},
    "PORT_QOS_MAP": {"Ethernet8": {"pfc_enable": "3,4"}},
    "DEFAULT_LOSSLESS_BUFFER_PARAMETER": {"AZURE": {"default_dynamic_th": "1"}},
    "LOSSLESS_TRAFFIC_PATTERN": {"AZURE": {"mtu": "1024", "small_packet_percentage": "40"}},
    "DEVICE_NEIGHBOR": {"Ethernet8": {"name": "Leaf_A", "port": "et2"}},
}
MARKS = {"kmin": "250KB", "kmax": "1MB", "pmax": 0.05}
SETTINGS = {
    "lossless": [3, 4],
    "buffer": "auto",
    "pool": "2MB",
    "headroom-pool": "400KB",
    "thresholds": {"alpha": "1/4", "reserve": "1.248KB", "xon-offset": "9KB", "headroom": "90KB", "ecn": MARKS},
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
    copied = copy.deepcopy(tables)
    row = copied.setdefault(table, {}).setdefault(key, {})
    for field, value in fields.items():
        row.pop(field, None)
        if value is not None:
            row[field] = value
    return copied


def settings(tables: Tables, lookup: str | None = None) -> tuple[dict[str, Any], list[str]]:
    remainder = Remainder()
    config = Configuration(join("leaf", [text_of(tables)]), read_lookup(Text("pg.ini", lookup)) if lookup else None)
    written = SwitchSettings(config, VIEWS, remainder).settings()
    return written, [left.what for left in remainder.all()]


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
    switch, left = settings(tables, LOOKUP)
    assert switch["thresholds"] == {
        "alpha": "1",
        "reserve": "4.608KB",
        "headroom": "160KB",
        "ecn": MARKS,
        # A row without a sixth column says nothing of the offset, so that it is not said of all.
        "ports": {
            "eth1": {"xon-offset": "4.608KB"},
            "eth2": {"alpha": "1/2", "reserve": "18KiB", "headroom": "500KB"},
        },
    }
    assert not left
    switch, left = settings(tables, LOOKUP.splitlines()[0])
    assert "ports" not in switch["thresholds"]
    assert left == ["thresholds for 100000 Mb/s and 2km, which no table has"]
    static = changed(tables, "BUFFER_POOL", "in", mode="static")
    with pytest.raises(TopologyError, match=r"pg\.ini:2: threshold -1 is below 0, and the ingress pool is static"):
        settings(static, LOOKUP)


def test_a_static_threshold_is_one_in_the_lab() -> None:
    tables = changed(LEAF, "BUFFER_PROFILE", "ll", dynamic_th=None, static_th="50000", xon_offset="9000", xon="0")
    switch, _ = settings(tables)
    assert switch["thresholds"] == {"xoff": "51.248KB", "xon": "42.248KB", "headroom": "90KB", "ecn": MARKS}
    assert "pool" not in switch


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
    static = {**groups, ("eth4", 3): {"xoff": "9KB", "ecn": "sonic"}}
    assert hoisted(static) == {
        "ports": {
            "eth1": {"alpha": "1"},
            "eth2": {"alpha": "1/2"},
            "eth3": {"alpha": "1", "priorities": {4: {"alpha": "1/4"}}},
            "eth4": {"xoff": "9KB", "ecn": "sonic"},
        }
    }


def test_maps_of_dscp_queues_and_groups() -> None:
    tables = changed(
        LEAF, "PORT_QOS_MAP", "global", dscp_to_tc_map="AZURE", tc_to_queue_map="AZURE", tc_to_pg_map="AZURE"
    )
    tables["DSCP_TO_TC_MAP"] = {"AZURE": {"3": "3", "4": "4", "24": "1", "48": "6"}}
    tables["TC_TO_QUEUE_MAP"] = {"AZURE": {"3": "3", "5": "2"}}
    tables["TC_TO_PRIORITY_GROUP_MAP"] = {"AZURE": {"0": "0", "3": "3", "5": "0"}}
    switch, left = settings(tables)
    maps = {"dscp": {3: 3, 4: 4, 24: 1}, "queues": {5: 2}}
    assert switch == {**SETTINGS, **maps, "groups": {5: 0}} and not left
    tables["TC_TO_PRIORITY_GROUP_MAP"]["AZURE"]["4"] = "5"
    apart = changed(tables, "BUFFER_PG", "Ethernet0,Ethernet4|5", profile="ll")
    switch, left = settings(apart)
    assert switch == {**SETTINGS, **maps, "groups": {4: 5, 5: 0}} and not left
    # Both lossless priorities in one group, which a lab can have; a lossy one among them it cannot.
    tables["TC_TO_PRIORITY_GROUP_MAP"]["AZURE"] = {"4": "3", "5": "3"}
    switch, left = settings(tables)
    assert switch["groups"] == {4: 3} and left == ["lossy priority 5 in group 3, which is lossless"]


def test_pauses_that_go_by_other_maps_than_their_traffic_are_said() -> None:
    tables = changed(LEAF, "PORT_QOS_MAP", "global", pfc_to_pg_map="AZURE", pfc_to_queue_map="AZURE")
    tables["PFC_PRIORITY_TO_PRIORITY_GROUP_MAP"] = {"AZURE": {"3": "3", "4": "3"}}
    tables["MAP_PFC_PRIORITY_TO_QUEUE"] = {"AZURE": {"3": "3", "4": "4"}}
    _, left = settings(tables)
    assert left == ["pfc_to_pg_map that leads priority 4 to 3, and its traffic to 4"]


def test_marks_stand_by_queue_and_thresholds_by_group() -> None:
    tables = changed(LEAF, "PORT_QOS_MAP", "global", tc_to_queue_map="AZURE", tc_to_pg_map="AZURE")
    tables["TC_TO_QUEUE_MAP"] = {"AZURE": {"4": "6", "6": "4"}}
    tables["TC_TO_PRIORITY_GROUP_MAP"] = {"AZURE": {"3": "3", "4": "4", "6": "6"}}
    switch, _ = settings(tables)
    assert (switch["queues"], switch["groups"]) == ({4: 6, 6: 4}, {4: 4, 6: 6})
    marked = {port: entry["priorities"] for port, entry in switch["thresholds"]["ports"].items()}
    assert marked == {"eth1": {3: {"ecn": MARKS}}, "eth2": {3: {"ecn": MARKS}}}, "queue 6 has no marks there"
    kept = {key: value for key, value in switch["thresholds"].items() if key != "ports"}
    assert kept == {key: value for key, value in SETTINGS["thresholds"].items() if key != "ecn"}  # type: ignore[attr-defined]


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
        ("DOT1P_TO_TC_MAP", "AZURE", {"0": "1"}, "table DOT1P_TO_TC_MAP"),
        ("PORT_QOS_MAP", "Ethernet0", {"dscp_to_tc_map": "AZURE"}, "maps of DSCP of single ports"),
        ("PORT_QOS_MAP", "global", {"dscp_to_tc_map": "AZURE"}, "map of DSCP AZURE, which no file has"),
        ("WRED_PROFILE", "w", {"ecn": "ecn_none"}, "WRED profile w, which does not mark green frames"),
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
    assert leaf.thresholds.alpha_log2 == -2 and leaf.thresholds.headroom_bytes == 90_000
    assert spine.thresholds.alpha_log2 == 1 and spine.thresholds.headroom_bytes is None
    assert spine.thresholds.small_percent == 40


def test_ports_of_other_lengths_have_thresholds_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "pg.ini").write_text(LOOKUP)
    lab = fabric(tmp_path, one=changed(LEAF, "BUFFER_PG", "Ethernet0,Ethernet4|3-4", profile="NULL"), spine=SPINE)
    leaf = lab.switches[0]
    figures = [leaf.group(port, 4) for port in ("eth1", "eth2")]
    assert [each.headroom_bytes for each in figures] == [160_000, 500_000]
    assert [each.alpha_log2 for each in figures] == [0, -1]
    assert [each.xon_offset_bytes for each in figures] == [4_608, None]
    assert {each.marking.kmin for each in figures if each.marking} == {250_000}


def test_a_directory_may_hold_a_file_a_switch_and_one_table_for_all(tmp_path: Path) -> None:
    computed = changed(LEAF, "BUFFER_PG", "Ethernet0,Ethernet4|3-4", profile="NULL")
    computed["CABLE_LENGTH"]["AZURE"]["Ethernet4"] = "40m"
    spine = copy.deepcopy(SPINE)
    spine["CABLE_LENGTH"]["AZURE"]["Ethernet8"] = "40m"
    (tmp_path / "leaf.json").write_text(json.dumps(computed))
    (tmp_path / "spine.json").write_text(json.dumps(spine))
    (tmp_path / "pg_profile_lookup.ini").write_text(LOOKUP)
    lab = lab_from(read_sonic(read_directory(tmp_path), str(tmp_path)).source)
    assert [switch.thresholds.headroom_bytes for switch in lab.switches] == [160_000, 160_000]


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
