"""Energy and cost: sums by hand, and nothing made up where nothing was given."""

import pytest
from pydantic import ValidationError

from testbed.energy import Prices, cost_per_petabyte, link_energy, total_energy

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
