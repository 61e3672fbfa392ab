"""Energy and cost: sums by hand, and nothing made up where nothing was given."""

import pytest
from pydantic import ValidationError

from testbed.optics.energy import PoweredLink, Prices, cost_per_petabyte, energy_of_run, link_energy, total_energy

G = 10**9
MS = 10**9


def test_one_link() -> None:
    # 2 × 8 W for 1 ms are 16 mJ; both directions could have carried 800 Mbit in that time, they carried 100.
    energy = link_energy(8, 400 * G, MS, 100 * 10**6)
    assert energy.watts == 16
    assert energy.joules == pytest.approx(0.016)
    assert energy.nominal_pj_per_bit == pytest.approx(20)
    assert energy.useful_pj_per_bit == pytest.approx(160)


def test_a_link_at_full_load_spends_its_nominal_energy() -> None:
    energy = link_energy(15, 800 * G, 7 * MS, 2 * 800 * 7 * 10**6)
    assert energy.useful_pj_per_bit == pytest.approx(energy.nominal_pj_per_bit)


def test_a_run_is_the_sum_of_its_links() -> None:
    energy = total_energy([(8, 400 * G), (4.2, 800 * G)], 2 * MS, 10**6)
    assert energy.joules == pytest.approx((16 + 8.4) * 2e-3)
    assert energy.nominal_pj_per_bit == pytest.approx(24.4 / 2400e9 * 1e12)
    assert energy.as_json()["useful_bits"] == 10**6


def test_nothing_is_divided_by_nothing() -> None:
    energy = total_energy([], 0, 0)
    assert (energy.joules, energy.nominal_pj_per_bit, energy.useful_pj_per_bit) == (0, None, None)


def test_cost_of_a_petabyte() -> None:
    prices = Prices.model_validate(
        {"capex-per-end": 1000, "lifetime-years": 5, "energy-per-kwh": 0.2, "utilisation": 0.5}
    )
    # 8e15 bit at half of 2 × 400 Gb/s take 20,000 s.
    seconds = 20_000
    expected = 2000 * seconds / (5 * 365.25 * 86_400) + 16 * seconds / 3.6e6 * 0.2
    assert cost_per_petabyte(8, 400 * G, prices) == pytest.approx(expected)
    with pytest.raises(ValueError, match="down"):
        cost_per_petabyte(8, 0, prices)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"capex-per-end": 1, "lifetime-years": 0, "energy-per-kwh": 0},
        {"capex-per-end": -1, "lifetime-years": 1, "energy-per-kwh": 0},
        {"capex-per-end": 1, "lifetime-years": 1, "energy-per-kwh": 0, "utilisation": 1.1},
        {"capex-per-end": 1, "lifetime-years": 1, "energy-per-kwh": 0, "currency": "EUR"},
    ],
)
def test_prices_are_the_users_and_whole(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Prices.model_validate(given)


PRICES = {"capex-per-end": {"400g-dr4": 1000, "400g-zr": 5000}, "lifetime-years": 5, "energy-per-kwh": 0.2}
LINKS = [PoweredLink("a - b", "400g-dr4", 8, 400 * G, 10**6), PoweredLink("b - c", "400g-zr", 15, 400 * G, 3 * 10**6)]


def test_a_run_and_each_of_its_links() -> None:
    document = energy_of_run(LINKS, 2 * MS, 10**6)
    assert (document["duration_ns"], document["watts"], document["useful_bits"]) == (2_000_000, 46, 10**6)
    assert document["joules"] == pytest.approx(46 * 2e-3)
    assert document["useful_pj_per_bit"] == pytest.approx(46 * 2e-3 / 10**6 * 1e12)
    assert list(document["links"]) == ["a - b", "b - c"]
    assert document["links"]["b - c"]["profile"] == "400g-zr"
    assert document["links"]["b - c"]["useful_pj_per_bit"] == pytest.approx(30 * 2e-3 / (3 * 10**6) * 1e12)
    assert not [key for key in (*document, *document["links"]["a - b"]) if "cost" in key], "no price, no cost"
    assert energy_of_run([], 2 * MS, 10**6) == {}


def test_the_cost_of_a_run_is_that_of_its_links_over_what_it_delivered() -> None:
    prices = Prices.model_validate(PRICES)
    bits = 2 * 400 * 2 * 10**6  # all that one link could carry in 2 ms, so that the two agree
    document = energy_of_run([LINKS[0]], 2 * MS, bits, prices)
    assert document["cost_per_petabyte"] == pytest.approx(cost_per_petabyte(8, 400 * G, prices, "400g-dr4"))
    assert document["links"]["a - b"]["cost_per_petabyte"] == pytest.approx(document["cost_per_petabyte"])
    # 16 W for 2 ms, and as much of five years.
    assert document["cost"] == pytest.approx(2 * 1000 * 2e-3 / (5 * 365.25 * 86_400) + 16 * 2e-3 / 3.6e6 * 0.2)
    both = energy_of_run(LINKS, 2 * MS, bits, prices)
    assert energy_of_run(LINKS, 4 * MS, bits, prices)["cost"] == pytest.approx(2 * both["cost"])
    of_links = [both["links"][name]["cost_per_petabyte"] for name in ("a - b", "b - c")]
    assert both["cost_per_petabyte"] == pytest.approx(sum(of_links))


def test_no_price_is_made_up() -> None:
    prices = Prices.model_validate({**PRICES, "capex-per-end": {"400g-dr4": 1000}})
    document = energy_of_run(LINKS, 2 * MS, 10**6, prices)
    assert document["links"]["a - b"]["cost_per_petabyte"] > 0
    assert document["links"]["b - c"]["cost_per_petabyte"] is document["cost_per_petabyte"] is document["cost"] is None
    dark = PoweredLink("c - d", "400g-dr4", 8, 0, 0)
    assert energy_of_run([dark], MS, 0, prices)["links"]["c - d"]["cost_per_petabyte"] is None


@pytest.mark.parametrize("amount", [-1, "cheap", True, {"400g-dr4": -1}, {"400g-dr4": None}, [1], float("inf")])
def test_amounts_that_are_none(amount: object) -> None:
    with pytest.raises(ValidationError, match="is not an amount of 0 or more"):
        Prices.model_validate({**PRICES, "capex-per-end": amount})
