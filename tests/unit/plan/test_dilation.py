"""The choice of a dilation, against figures worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import HostError
from testbed.machine import calibration
from testbed.plan import dilation
from testbed.plan.dilation import Calibration, choose_dilation, offered_frame_hops_per_s


def chain(hosts_rate_bps: int, switches: int) -> dict[str, Any]:
    """Make two hosts with so many switches in a row between them."""
    kinds = ["host", *["switch"] * switches, "host"]
    nodes = [{"name": f"n{i}", "kind": kind, "ports": [{"rate_bps": hosts_rate_bps}]} for i, kind in enumerate(kinds)]
    return {"nodes": nodes, "links": [{"a": [i, 0], "b": [i + 1, 0]} for i in range(len(kinds) - 1)]}


def test_the_offered_load_is_frames_times_links_plus_acknowledgements() -> None:
    # 33,552 bits a frame: two hosts at 33,552,000 bit/s send 2,000 frames a second over 3 links, and an ACK for every
    # 16.
    assert dilation.DATA_FRAME_BYTES * 8 == 33_552
    assert offered_frame_hops_per_s(chain(33_552_000, 2)) == Fraction(2_000 * 3 * 17, 16)


def test_the_machine_must_carry_twice_the_load() -> None:
    plan = chain(33_552_000, 2)  # 6,375 frame-hops a second
    assert choose_dilation(plan, Calibration(12_750, 0)) == 1
    assert choose_dilation(plan, Calibration(12_749, 0)) == 2
    assert choose_dilation(plan, Calibration(1_275, 0)) == 10
    assert choose_dilation(plan, Calibration(1_274, 0)) == 20


def test_lateness_must_stay_below_three_frames_of_the_fastest_link() -> None:
    plan = chain(100 * 10**9, 1)  # a frame lasts 335.52 ns
    fast = 10**12
    assert choose_dilation(plan, Calibration(fast, 1_006)) == 1
    assert choose_dilation(plan, Calibration(fast, 1_007)) == 2
    assert choose_dilation(plan, Calibration(fast, 50_000)) == 50


def test_a_machine_that_is_too_slow_is_named() -> None:
    with pytest.raises(HostError, match="too slow"):
        choose_dilation(chain(100 * 10**9, 1), Calibration(1, 0))


@pytest.mark.parametrize(
    ("present", "shortfall", "larger"),
    [(20, 1, 100), (20, 2.44, 100), (20, 10, 500), (1, 100, 200), (500_000, 2, 10**6), (10**6, 2, 10**6)],
)
def test_a_run_is_repeated_at_twice_what_would_have_done_and_four_times_its_dilation_at_least(
    present: int, shortfall: float, larger: int
) -> None:
    assert dilation.larger_dilation(present, shortfall) == larger


def test_a_lab_without_traffic_needs_no_dilation() -> None:
    assert choose_dilation({"nodes": [], "links": []}, Calibration(1, 10**9)) == 1
    apart = chain(10**9, 0) | {"links": []}
    assert choose_dilation(apart, Calibration(1, 10**9)) == 1


@given(st.integers(1, 10**7), st.integers(0, 10**6), st.integers(0, 5))
def test_the_choice_is_the_smallest_step_that_fits(rate: int, late_ns: int, switches: int) -> None:
    plan = chain(100 * 10**9, switches)
    machine = Calibration(rate, late_ns)
    try:
        chosen = choose_dilation(plan, machine)
    except HostError:
        chosen = 10 * dilation.MAX_DILATION
    fits = [
        digit * 10**power
        for power in range(7)
        for digit in (1, 2, 5)
        if digit * 10**power <= dilation.MAX_DILATION
        and offered_frame_hops_per_s(plan) * 2 <= rate * digit * 10**power
        and late_ns * 100 <= 3 * 33_552 * digit * 10**power
    ]
    assert chosen == min(fits, default=10 * dilation.MAX_DILATION)


def test_a_calibration_is_kept_and_a_broken_one_is_no_calibration(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "calibration.json"
    assert calibration.load(path) is None
    lateness = calibration.CalibrationFile.Lateness(p50=1, p99=20, max=300)
    measured = calibration.CalibrationFile(frame_hops_per_s=250_000.5, lateness_ns=lateness)
    calibration.store(measured, path)
    assert calibration.load(path) == measured
    assert measured.calibration() == Calibration(250_000, 20)
    path.write_text('{"frame_hops_per_s": 0}')
    assert calibration.load(path) is None
