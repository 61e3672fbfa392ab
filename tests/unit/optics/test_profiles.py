"""The catalogue: whole, sourced, within physics; and what a lab may lay over it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import TopologyError, UnitError
from testbed.optics.catalogue import OWN_SOURCE, Catalogue, catalogue_table, load_catalogue
from testbed.optics.fec import KP4
from testbed.optics.profiles import Profile, ProfileError, parse_ber
from testbed.schema.source import parse_yaml

CATALOGUE = load_catalogue()
PROFILES = sorted(CATALOGUE.profiles)
G = 10**9


def extended(text: str) -> Catalogue:
    source = parse_yaml(text, "lab.yaml", TopologyError)
    return CATALOGUE.extended(source.data["profiles"], source, ("profiles",))


@pytest.mark.parametrize("name", PROFILES)
def test_every_figure_has_a_source_that_is_spelled_out(name: str) -> None:
    figures = CATALOGUE.profile(name).figures()
    assert {"cable", "reach"} <= figures.keys()
    unsourced = [key for key, figure in figures.items() if figure["source"] not in CATALOGUE.sources]
    assert not unsourced


def test_no_source_is_idle() -> None:
    used = {figure["source"] for name in PROFILES for figure in CATALOGUE.profile(name).figures().values()}
    used |= {cable.source for cable in CATALOGUE.cables.values()}
    assert used == CATALOGUE.sources.keys()


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_hang_together(name: str) -> None:
    profile = CATALOGUE.profile(name)
    assert profile.cable in CATALOGUE.cables
    assert profile.about and profile.reach > 0
    if profile.rate is None:
        assert profile.technology == "optical-circuit-switch"
        return
    assert name.removeprefix("microled-").startswith(f"{profile.rate // G}g")
    if profile.fec == "kp4":
        # The codewords of a PHY are as many as its standard weaves together.
        assert profile.interleave == {100: 1, 200: 2, 400: 2, 800: 4, 1600: 4}[profile.rate // G]
    if profile.coherent and profile.baud is not None:
        bits = {"dp-qpsk": 4, "dp-16qam": 8}[str(profile.modulation)]
        assert 1.05 < profile.baud * bits / profile.rate < 1.30, "symbol rate against rate and FEC overhead"


@pytest.mark.parametrize(
    ("name", "latency_ns"),
    [
        ("800g-dac", 63),
        ("800g-sr8", 263),
        ("800g-dr8", 263),
        ("400g-fr4", 263),
        ("800g-lpo-dr8", 63),
        ("800g-cpo", 63),
        ("1600g-cpo", 50),
    ],
)
def test_latency_beyond_flight(name: str, latency_ns: int) -> None:
    assert round(catalogue_table(name)[0]["latency_ns"]) == latency_ns


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("800g-aec", 10, 12.5),
        ("800g-sr8", 12, 15),
        ("800g-dr8", 17.5, 20),
        ("400g-fr4", 30, 30),
        ("800g-lpo-dr8", 10, 11),
        ("800g-cpo", 6.8, 7),
        ("microled-800g", 3.9, 6.6),
        ("microled-800g-short", 0.1, 0.5),
        ("400g-zr", 37, 38),
        ("400g-openzr+", 50, 50),
        ("800g-zr", 31, 37.5),
        ("1600g-dr8", 18.75, 18.75),
        ("1600g-2fr4", 18.75, 20),
        ("1600g-cpo", 5.6, 5.7),
        ("microled-1600g", 3.9, 6.6),
        ("1600g-zr", 20, 30),
    ],
)
def test_energy_of_a_bit(name: str, least: float, most: float) -> None:
    assert least <= (CATALOGUE.profile(name).pj_per_bit or 0) <= most


def test_every_technology_is_there_at_the_rates_that_exist() -> None:
    by_technology: dict[str, set[int]] = {}
    for profile in CATALOGUE.profiles.values():
        by_technology.setdefault(profile.technology, set()).add((profile.rate or 0) // G)
    assert by_technology == {
        "passive-copper": {100, 200, 400, 800, 1600},
        "active-copper": {400, 800},
        "vcsel": {100, 200, 400, 800},
        "silicon-photonics": {100, 200, 400, 800, 1600},
        "linear-pluggable": {400, 800},
        "co-packaged": {400, 800, 1600},
        "microled": {800, 1600},
        "optical-circuit-switch": {0},
        "coherent": {100, 200, 400, 800, 1600},
        "dwdm-line": {100, 200, 400},
    }


def test_flight_times() -> None:
    cables = CATALOGUE.cables
    assert cables["single-mode"].flight_ps(80 * 10**6) == 391_760_000
    assert cables["hollow-core"].flight_ps(80 * 10**6) == 267_680_000
    assert cables["twinax"].flight_ps(1) == 5, "4.5 ps, to the nearest"


def test_the_circuit_switch_is_dark_for_mirrors_and_bring_up() -> None:
    ocs = CATALOGUE.profile("ocs")
    assert (ocs.mirror_time, ocs.outage_ps) == (1_200_000_000, 10 * 10**9)


def test_the_table_has_a_row_a_profile_and_one_with_all_figures() -> None:
    rows = catalogue_table()
    assert [row["name"] for row in rows] == list(CATALOGUE.profiles)
    (row,) = catalogue_table("400g-dr4")
    assert row["rate_bps"] == 400 * G and row["reach_m"] == 500 and row["pj_per_bit_per_end"] == 20
    assert row["latency_ns"] == (KP4.latency_ps(400 * G, 2) + 200_000) / 1000
    assert row["figures"]["reach"]["value"] == "500m"
    assert row["figures"]["reach"]["source"].startswith("IEEE Std 802.3")
    assert row["figures"]["dsp-latency"] == {"value": "100ns", "source": CATALOGUE.sources["estimate"]}


def test_a_wrong_name_brings_the_nearest() -> None:
    with pytest.raises(ProfileError, match='no profile is called "400g-dr5"; did you mean "400g-dr4"') as caught:
        catalogue_table("400g-dr5")
    assert (caught.value.key, caught.value.exit_code) == ("profile", 2)


def test_a_lab_changes_figures_and_adds_profiles() -> None:
    catalogue = extended(
        """
profiles:
  400g-dr4: {reach: 600m}
  campus: {like: 400g-dr4, cable: hollow-core, power-w: [7.5, "measured by us"]}
  plain: {about: a wire, technology: passive-copper, cable: twinax, rate: 25G, reach: 3m}
"""
    )
    assert catalogue.profile("400g-dr4").reach == 600_000
    campus = catalogue.profile("campus")
    assert (campus.reach, campus.cable, campus.fec, campus.power_w) == (600_000, "hollow-core", "kp4", 7.5)
    assert campus.sources["power-w"] == "measured by us"
    assert campus.sources["cable"] == OWN_SOURCE
    assert campus.sources["fec"] == "ieee-802.3"
    assert catalogue.profile("plain").modulation is None
    assert CATALOGUE.profile("400g-dr4").reach == 500_000, "the catalogue itself was changed"


@pytest.mark.parametrize(
    ("entry", "line", "key", "message"),
    [
        ("a: {like: 400g-dr5}", 2, "profiles.a.like", 'no profile is called "400g-dr5"; did you mean "400g-dr4"?'),
        ("a: {like: 400g-dr4, reech: 1m}", 2, "profiles.a.reech", 'unknown key; did you mean "reach"?'),
        ("400g-dr4:\n    reach: -1m", 3, "profiles.400g-dr4.reach", '"-1m": a length cannot be negative'),
        ("400g-dr4: {ber-limit: 0.6}", 2, "profiles.400g-dr4.ber-limit", "a bit error ratio is at most 0.5"),
        ("400g-dr4: {ber-limit: 0.4}", 2, "profiles.400g-dr4", "below what pam4 gives in noise alone"),
        ("400g-dr4: {cable: hollow}", 2, "profiles.400g-dr4.cable", 'did you mean "hollow-core"'),
        ("400g-dr4: {fec: kp5}", 2, "profiles.400g-dr4.fec", '"kp5" is not "none", "kr4", "kp4"'),
        ("400g-dr4: {reach: [1m, 2m, 3m]}", 2, "profiles.400g-dr4", "a value, or a list of the value and its source"),
        ("400g-dr4: {sources: [x]}", 2, "profiles.400g-dr4.sources", "must be a mapping"),
        ("400g-dr4: {power-w: .nan}", 2, "profiles.400g-dr4.power-w", "valid number"),
        ("400g-dr4: {lanes: 0}", 2, "profiles.400g-dr4.lanes", "greater than or equal to 1"),
        ("400g-dr4: {baud: 50G}", 2, "profiles.400g-dr4", "belong to coherent modulations"),
        ("400g-zr: {modulation: pam4}", 2, "profiles.400g-zr", "belong to coherent modulations"),
        ("400g-dr4: {fec: ofec}", 2, "profiles.400g-dr4", "ofec needs a fec-latency"),
        ("400g-dr4: {modulation: dp-qpsk}", 2, "profiles.400g-dr4", "dp-qpsk needs a baud"),
        ("400g-zr: {required-osnr-db: 20}", 2, "profiles.400g-zr", "below the 20.4 dB that an ideal receiver needs"),
        ("ocs: {fec: kp4}", 2, "profiles.ocs", "needs a modulation"),
        ("ocs: {modulation: nrz}", 2, "profiles.ocs", "needs a rate and a ber-limit"),
        ("a: {about: x}", 2, "profiles.a.reach", "missing"),
        ("a: 7", 2, "profiles.a", "must be a mapping"),
        ("A_b: {like: ocs}", 2, "profiles.A_b", "not a name for a profile"),
    ],
)
def test_faults_of_a_lab_name_file_line_and_key(entry: str, line: int, key: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        extended(f"profiles:\n  {entry}\n")
    assert caught.value.exit_code == 2
    noted = [fault for fault in caught.value.faults if fault.key == key]
    assert noted and noted[0].file == "lab.yaml" and noted[0].line == line
    assert message in noted[0].message


def test_profiles_that_are_no_mapping() -> None:
    with pytest.raises(TopologyError, match=re.escape("lab.yaml: profiles: must be a mapping")):
        extended("profiles: [a]")


@given(st.sampled_from(PROFILES))
def test_a_profile_laid_over_itself_is_itself(name: str) -> None:
    profile = extended(f"profiles:\n  copy: {{like: {name}}}\n").profile("copy")
    assert profile == CATALOGUE.profile(name)


def test_profiles_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        CATALOGUE.profile("ocs").power_w = 3


@pytest.mark.parametrize("value", ["0.51", 1, "60%", -0.1, "nan", None, True])
def test_what_is_no_bit_error_ratio(value: object) -> None:
    with pytest.raises(UnitError):
        parse_ber(value)


def test_the_schema_knows_the_keys() -> None:
    properties = Profile.model_json_schema(by_alias=True)["properties"]
    assert {"ber-limit", "required-osnr-db", "lane-failure"} <= properties.keys()
