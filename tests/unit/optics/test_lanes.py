"""Lanes: the chance that spares run out, and the rate that is left."""

import pytest

from testbed.optics.lanes import HOURS_PER_YEAR, degraded_probability, lane_failure, rate_after

HOURS_5_YEARS = 5 * 8766


def test_spares_of_a_wide_link_last_five_years() -> None:
    assert degraded_probability(400, 8, 20, HOURS_5_YEARS) == pytest.approx(1.76e-10, rel=5e-3)
    # Without spares one lane in 400 fails more often than not in thirty such links.
    assert degraded_probability(400, 0, 20, HOURS_5_YEARS) == pytest.approx(0.296, rel=5e-3)
    assert degraded_probability(400, 8, 0, HOURS_5_YEARS) == 0


def test_a_year_is_a_julian_one() -> None:
    assert HOURS_PER_YEAR == 365.25 * 24


def test_failures_of_one_lane_are_exponential() -> None:
    assert lane_failure(20, 1) == pytest.approx(2e-8, rel=1e-7)
    assert lane_failure(1e9, 1) == pytest.approx(0.6321206)


@pytest.mark.parametrize(("failed", "rate_bps"), [(0, 800), (8, 800), (9, 798), (10, 796), (208, 400), (408, 0)])
def test_rate_steps_down_a_lane_at_a_time(failed: int, rate_bps: int) -> None:
    assert rate_after(800 * 10**9, 400, 8, failed, degrades=True) == rate_bps * 10**9


def test_a_link_of_lasers_goes_down() -> None:
    assert rate_after(400, 4, 0, 0, degrades=False) == 400
    assert rate_after(400, 4, 0, 1, degrades=False) == 0
    assert rate_after(400, 4, 1, 1, degrades=False) == 400


def test_rates_are_rounded_down() -> None:
    assert rate_after(100, 3, 0, 1, degrades=True) == 66


@pytest.mark.parametrize("failed", [-1, 409])
def test_more_lanes_than_there_are(failed: int) -> None:
    with pytest.raises(ValueError, match="there are 400 and 8 spare"):
        rate_after(800, 400, 8, failed, degrades=True)


def test_spares_are_counted_beside_the_lanes() -> None:
    """Three lanes and one spare are four, whatever bits the numbers share."""
    dead = lane_failure(20, HOURS_5_YEARS)
    more_than_one = 1 - (1 - dead) ** 4 - 4 * dead * (1 - dead) ** 3
    assert degraded_probability(3, 1, 20, HOURS_5_YEARS) == pytest.approx(more_than_one, rel=1e-6)
    assert rate_after(300, 3, 1, 4, degrades=True) == 0
