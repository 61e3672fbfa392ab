"""What links do: delays to the picosecond, rates, loss from BER, OSNR and margin, and every way to ask too much."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from testbed.errors import TopologyError
from testbed.optics.behaviour import OperatingPoint, OpticalSettings, behaviour, behaviour_of, checked, required_osnr_db
from testbed.optics.catalogue import load_catalogue
from testbed.optics.fec import HIGH_BER, KP4
from testbed.optics.profiles import ProfileError
from testbed.schema.source import parse_yaml

CATALOGUE = load_catalogue()
OPTICAL = sorted(name for name, profile in CATALOGUE.profiles.items() if profile.modulation)
COHERENT = [name for name in OPTICAL if CATALOGUE.profile(name).coherent]
G = 10**9
M, KM = 10**3, 10**6


@pytest.mark.parametrize(
    ("name", "length_mm", "cable", "delay_ps"),
    [
        # flight + KP4 of 37 ns and a codeword + 2 × 100 ns
        ("100g-dr1", 500 * M, None, 500 * 4897 + 88_200 + 200_000),
        ("400g-dr4", 350 * M, None, 350 * 4897 + 62_600 + 200_000),
        ("800g-dr8", 350 * M, None, 350 * 4897 + 62_600 + 200_000),
        ("800g-dac", 2 * M, None, 2 * 4500 + 62_600),
        ("100g-dac", 1 * M, None, 4500 + 37_000 + 51_200),
        ("800g-sr8", 100 * M, None, 100 * 4940 + 62_600 + 200_000),
        ("microled-800g", 50 * M, None, 50 * 4940 + 40_000),
        ("100g-lr4", 10 * KM, None, 10_000 * 4897),
        ("400g-zr", 120 * KM, None, 120_000 * 4897 + 4_000_000),
        ("400g-zr", 120 * KM, "hollow-core", 120_000 * 3346 + 4_000_000),
        ("400g-zr", 0, None, 4_000_000),
    ],
)
def test_delay_is_flight_and_fec_and_dsp(name: str, length_mm: int, cable: str | None, delay_ps: int) -> None:
    link = behaviour(name, length_mm, cable=cable)
    assert link.delay_ps == delay_ps == link.flight_ps + link.fec_ps + link.dsp_ps


@pytest.mark.parametrize("name", OPTICAL)
def test_every_profile_is_as_good_as_lossless_by_default(name: str) -> None:
    profile = CATALOGUE.profile(name)
    link = behaviour(name, profile.reach)
    assert link.up and link.rate_bps == profile.rate
    assert link.margin_db == profile.margin_db > 0
    assert 0 < link.frame_loss(9216) < 1e-7
    json.dumps(link.as_json(), allow_nan=False)


@pytest.mark.parametrize("name", OPTICAL)
def test_at_no_margin_the_ber_is_the_limit(name: str) -> None:
    profile = CATALOGUE.profile(name)
    link = behaviour(name, 0, OperatingPoint(margin_db=0))
    assert link.ber == pytest.approx(profile.ber_limit, rel=1e-9)
    assert behaviour(name, 0, OperatingPoint(ber=profile.ber_limit)).margin_db == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", OPTICAL)
@settings(max_examples=25)
@given(st.lists(st.floats(-6, 6), min_size=2, max_size=2))
def test_less_margin_never_loses_less(name: str, margins: list[float]) -> None:
    worse, better = (behaviour(name, 0, OperatingPoint(margin_db=margin)) for margin in sorted(margins))
    assert worse.ber is not None and better.ber is not None
    assert worse.ber >= better.ber
    assert worse.frame_loss(1518) >= better.frame_loss(1518)
    assert worse.rate_bps <= better.rate_bps


def test_the_cliff_of_a_kp4_link() -> None:
    before, after = (behaviour("400g-dr4", 0, OperatingPoint(ber=ber)) for ber in (2.4e-4, 5e-4))
    assert before.frame_loss(4200) == pytest.approx(KP4.frame_loss(2.4e-4, 4200, 2), rel=1e-9)
    assert 2.5e4 < after.frame_loss(4200) / before.frame_loss(4200) < 4e4
    assert after.burst_ps == 25_600, "two codewords of 640 bytes at 400 Gb/s"
    assert before.up and after.up
    assert not behaviour("400g-dr4", 0, OperatingPoint(ber=5e-3)).up


def test_optical_power_counts_twice_in_direct_detection() -> None:
    # Q(x) of PAM4 at the limit, then x · 10^0.1 at 1 dB of optical power.
    link = behaviour("400g-dr4", 0, OperatingPoint(margin_db=1))
    assert link.ber == pytest.approx(6.4e-6, rel=0.05)
    copper = behaviour("400g-dac", 0, OperatingPoint(margin_db=2))
    assert copper.ber == pytest.approx(link.ber, rel=1e-9)


@pytest.mark.parametrize("name", COHERENT)
def test_osnr_is_margin_above_what_is_required(name: str) -> None:
    required = required_osnr_db(name, CATALOGUE.profile(name))
    by_osnr = behaviour(name, 0, OperatingPoint(osnr_db=required + 0.2))
    by_margin = behaviour(name, 0, OperatingPoint(margin_db=0.2))
    assert by_osnr.ber == pytest.approx(by_margin.ber)
    assert by_osnr.margin_db == pytest.approx(0.2)
    by_ber = behaviour(name, 0, OperatingPoint(ber=by_osnr.ber))
    assert by_ber.margin_db == pytest.approx(0.2)
    assert by_ber.block_failure == pytest.approx(by_osnr.block_failure, rel=1e-6)


def test_a_real_receiver_needs_more_than_an_ideal_one() -> None:
    assert required_osnr_db("400g-zr", CATALOGUE.profile("400g-zr")) == 26
    ideal = CATALOGUE.profile("400g-zr").model_copy(update={"required_osnr_db": None})
    assert required_osnr_db("400g-zr", ideal) == pytest.approx(20.4, abs=0.05)


def test_a_coherent_link_falls_off_its_cliff() -> None:
    assert behaviour("400g-zr", 120 * KM, OperatingPoint(osnr_db=26)).frame_loss(9216) < 1e-8
    down = behaviour("400g-zr", 120 * KM, OperatingPoint(osnr_db=25.4))
    assert (down.up, down.rate_bps, down.loss, down.frame_loss(64)) == (False, 0, None, 1.0)


def test_wide_links_step_down_and_lasers_go_down() -> None:
    rates = [behaviour("microled-800g", 0, lanes_down=failed).rate_bps for failed in (0, 8, 9)]
    assert rates == [800 * G, 800 * G, 798 * G]
    assert behaviour("microled-800g", 0, lanes_down=9).up
    down = behaviour("800g-dr8", 0, lanes_down=1)
    assert (down.up, down.rate_bps, down.frame_loss(64)) == (False, 0, 1.0)


def test_a_link_without_fec_goes_down_at_high_ber() -> None:
    assert behaviour("100g-lr4", 0, OperatingPoint(ber=HIGH_BER)).up
    assert not behaviour("100g-lr4", 0, OperatingPoint(ber=2 * HIGH_BER)).up
    bits = behaviour("100g-lr4", 0, OperatingPoint(ber=1e-9))
    assert bits.frame_loss(1500) == pytest.approx(-math.expm1(12_000 * math.log1p(-1e-9)), rel=1e-9)


def test_no_error_at_all() -> None:
    link = behaviour("400g-zr", 0, OperatingPoint(ber=0))
    assert link.margin_db == math.inf and link.frame_loss(9216) == 0
    assert link.as_json()["margin_db"] is None


def test_acceleration_is_declared_in_the_plan() -> None:
    link = behaviour("400g-dr4", 0, OperatingPoint(ber=2.4e-4), acceleration=1e6)
    assert link.loss is not None and link.loss.plan()["acceleration"] == 1e6
    slow = behaviour("400g-dr4", 0, OperatingPoint(ber=2.4e-4))
    assert link.frame_loss(1518) == pytest.approx(1e6 * slow.frame_loss(1518), rel=1e-4)


def test_a_circuit_switch_is_a_cable() -> None:
    link = behaviour("ocs", 1 * KM, rate_bps=800 * G)
    assert (link.delay_ps, link.rate_bps, link.ber, link.frame_loss(9216)) == (4_897_000, 800 * G, None, 0.0)


@pytest.mark.parametrize(
    ("written", "length_mm", "rate_bps", "key", "message"),
    [
        ({"profile": "400g-dr4"}, 600 * M, None, "length", "600m is beyond the reach of 400g-dr4, 500m"),
        ({"profile": "400g-dr4"}, -1, None, "length", "cannot be negative"),
        ({"profile": "400g-dr4"}, 1, 800 * G, "rate", "400g-dr4 has no 800G, only 400G"),
        ({"profile": "ocs"}, 1, None, "rate", "ocs carries any rate; say which"),
        ({"profile": "400gdr4"}, 1, None, "profile", 'did you mean "400g-dr4"'),
        ({}, 1, None, "profile", "missing"),
        ({"profile": "400g-dr4", "cable": "twinax"}, 1, None, "cable", "twinax cannot stand in for single-mode"),
        ({"profile": "400g-dr4", "cable": "hollowcore"}, 1, None, "cable", 'did you mean "hollow-core"'),
        ({"profile": "400g-dac", "cable": "hollow-core"}, 1, None, "cable", "hollow-core cannot stand in for twinax"),
        ({"profile": "400g-dr4", "osnr-db": 20}, 1, None, "osnr-db", "400g-dr4 is not coherent"),
        ({"profile": "400g-dr4", "osnr-db": "auto"}, 1, None, "osnr-db", "not for amplified lines"),
        ({"profile": "400g-dr4", "ber": 1e-5, "margin-db": 1}, 1, None, "margin-db", "ber and margin-db say the same"),
        ({"profile": "400g-dr4", "lanes-down": 5}, 1, None, "lanes-down", "400g-dr4 has 4, spares included"),
        ({"profile": "ocs", "ber": 1e-5}, 1, 400 * G, "profile", "ocs has no receiver of its own"),
        ({"profile": "ocs", "acceleration": 2}, 1, 400 * G, "profile", "ocs has no receiver of its own"),
    ],
)
def test_what_a_profile_cannot_be(
    written: dict[str, Any], length_mm: int, rate_bps: int | None, key: str, message: str
) -> None:
    with pytest.raises(ProfileError, match=message) as caught:
        behaviour_of(OpticalSettings.model_validate(written), length_mm, rate_bps)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "written",
    [{"ber": 0.6}, {"ber": -1}, {"lanes-down": -1}, {"acceleration": 0.5}, {"osnr-db": "many"}, {"bre": 1e-5}],
)
def test_settings_out_of_range(written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OpticalSettings.model_validate(written)
    with pytest.raises(ProfileError, match=r"between 0 and 0\.5"):
        OperatingPoint(ber=0.6)


def test_a_fault_is_noted_where_it_was_written() -> None:
    source = parse_yaml("links:\n  - profile: 400g-dr4\n    length: 1km\n", "lab.yaml", TopologyError)
    written = OpticalSettings(profile="400g-dr4")
    assert checked(source, ("links", 0), written, 1 * KM) is None
    assert [str(fault) for fault in source.faults] == [
        "lab.yaml:3: links[0].length: 1km is beyond the reach of 400g-dr4, 500m"
    ]
    source.faults.clear()
    link = checked(source, ("links", 0), written, 500 * M)
    assert link is not None and link.profile == "400g-dr4" and not source.faults
