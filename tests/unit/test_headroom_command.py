"""`testbed headroom` as scripts and people see it."""

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
FAR = ("headroom", "--rate", "400G", "--length", "80km")


def document(run_testbed: Cli, *arguments: str) -> Any:
    done = run_testbed(*arguments, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_the_sum_of_ieee_as_one_document(run_testbed: Cli) -> None:
    answer = document(run_testbed, *FAR, "--interface", "off")
    # Frames of 9216 bytes at 5 ns/m, as in the guides of switch vendors.
    assert answer["total_bytes"] == sum(answer["terms"].values()) == 40_076_476
    assert answer["terms"]["round_trip"] == 40_000_000
    assert answer["sources"].keys() == answer["terms"].keys()
    assert (answer["model"], answer["buffer_bytes"], answer["ports"], answer["fits"]) == ("ieee", 32_000_000, 1, False)
    assert answer["round_trip_share"] == pytest.approx(40_000_000 / 40_076_476, abs=1e-6)
    # 500 bytes for each metre.
    assert answer["largest_length_mm"] == pytest.approx((32_000_000 - 76_476) / 500 * 1000, abs=2)


def test_hardware_and_the_fibre_of_labs(run_testbed: Cli) -> None:
    answer = document(run_testbed, *FAR, "--delay-per-metre", "4.897ns")
    assert answer["terms"]["interfaces"] == 15_360
    assert answer["terms"]["round_trip"] == 2 * 80_000 * 4897 * 4 // 80


def test_ports_share_the_buffer(run_testbed: Cli) -> None:
    one = document(run_testbed, *FAR, "--buffer", "60MB")
    two = document(run_testbed, *FAR, "--buffer", "120MB", "--ports", "2")
    assert one["fits"] and two["fits"]
    assert one["largest_length_mm"] == two["largest_length_mm"] > 80_000_000
    assert not document(run_testbed, *FAR, "--buffer", "60MB", "--ports", "2")["fits"]


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        # Mellanox-SN5640-C512X2, DellEMC-Z9332f-O32 and a Tomahawk 2, from SONiC's pg_profile_lookup.ini.
        (
            ("--rate", "400G", "--length", "200m", "--model", "spectrum", "--cell", "192", "--small-share", "50"),
            190_464,
        ),
        (("--rate", "400G", "--length", "1km", "--model", "sonic"), 836_676),
        (("--rate", "100G", "--length", "300m", "--model", "sonic"), 101_088),
        (("--rate", "100G", "--length", "300m", "--model", "sonic", "--cell", "254"), 117_348),
    ],
)
def test_rows_of_deployed_switches(run_testbed: Cli, arguments: tuple[str, ...], total: int) -> None:
    answer = document(run_testbed, "headroom", *arguments)
    assert answer["total_bytes"] == sum(answer["terms"].values()) == total
    row = run_testbed("headroom", *arguments, "--format", "sonic").stdout.splitlines()
    assert row[0].split()[:6] == ["#", "speed", "cable", "size", "xon", "xoff"]
    assert row[1].split()[4] == str(total)


def test_settings_of_spectrum_count(run_testbed: Cli) -> None:
    def total(*arguments: str) -> int:
        return int(document(run_testbed, *FAR, "--model", "spectrum", *arguments)["total_bytes"])

    assert total("--small-share", "0") < total() < total("--small-share", "90")
    assert total("--cell", "144") == pytest.approx(total() - 6000 * 1.06, abs=1024)
    assert total("--lossless-mtu", "1024") > total() > total("--mtu", "4096")
    # A port of small frames has no larger lossless ones.
    assert document(run_testbed, *FAR, "--model", "spectrum", "--mtu", "1500")["terms"]["lossless_frame"] == 1500


def test_the_table_has_terms_sum_share_and_reach(run_testbed: Cli) -> None:
    done = run_testbed(*FAR, "--interface", "off")
    assert done.returncode == 0
    figures = dict(re.findall(r"^(\w+) +([\d,]+) +[\d.]+%", done.stdout, re.MULTILINE))
    assert (figures.pop("total"), figures["round_trip"], len(figures)) == ("40,076,476", "40,000,000", 6)
    assert sum(int(figure.replace(",", "")) for figure in figures.values()) == 40_076_476
    assert "everything but the round trip is 0.19% of it" in done.stdout
    assert "32MB for 1 port: short by 8,076,476 bytes; reaches 63.847km\n" in done.stdout
    assert "2 ports: enough; reaches" in run_testbed(*FAR, "--buffer", "1GB", "--ports", "2").stdout


def test_the_table_says_when_nothing_fits_or_everything(run_testbed: Cli) -> None:
    assert "too small for any length" in run_testbed(*FAR, "--buffer", "10KB").stdout
    assert document(run_testbed, *FAR, "--buffer", "10KB")["largest_length_mm"] is None
    slow = run_testbed("headroom", "--rate", "1M", "--length", "1m")
    assert "reaches 100000km or more" in slow.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("headroom", "--length", "80km"), "--rate"),
        (("headroom", "--rate", "400G"), "--length"),
        (("headroom", "--rate", "fast", "--length", "80km"), "fast"),
        (("headroom", "--rate", "0", "--length", "80km"), "greater than 0"),
        (("headroom", "--rate", "400G", "--length", "80"), "unit"),
        (("headroom", "--rate", "400G", "--length=-1km"), "negative"),
        (("headroom", "--rate", "400G", "--length", "200000km"), "100000km"),
        ((*FAR, "--model", "guess"), "guess"),
        ((*FAR, "--mtu", "9"), "--mtu"),
        ((*FAR, "--mtu", "1MB"), "--mtu"),
        ((*FAR, "--interface", "maybe"), "maybe"),
        ((*FAR, "--delay-per-metre", "1ns"), "3.336"),
        ((*FAR, "--delay-per-metre", "1ms"), "--delay-per-metre"),
        ((*FAR, "--buffer", "deep"), "deep"),
        ((*FAR, "--ports", "0"), "--ports"),
        ((*FAR, "--format", "yaml"), "yaml"),
        ((*FAR, "--cell", "192"), "spectrum and sonic"),
        ((*FAR, "--small-share", "50"), "spectrum"),
        ((*FAR, "--model", "spectrum", "--small-share", "101"), "--small-share"),
        ((*FAR, "--model", "spectrum", "--cell", "0"), "--cell"),
        ((*FAR, "--model", "spectrum", "--interface", "on"), "ieee"),
        ((*FAR, "--model", "spectrum", "--mtu", "1500", "--lossless-mtu", "4096"), "--lossless-mtu"),
        ((*FAR, "--model", "sonic", "--mtu", "9216"), "ieee and spectrum"),
        ((*FAR, "--model", "sonic", "--cell", "208"), "Tomahawk 2"),
        (("headroom", "--rate", "60G", "--length", "1m", "--model", "spectrum"), "60G"),
        (("headroom", "--rate", "200G", "--length", "1m", "--model", "sonic"), "200G"),
        (("headroom", "--rate", "400G", "--length", "1.5m", "--format", "sonic"), "whole metres"),
    ],
)
def test_bad_usage_ends_with_2_and_says_what(run_testbed: Cli, arguments: tuple[str, ...], word: str) -> None:
    done = run_testbed(*arguments)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
