"""The choice of a dilation, against figures worked out by hand."""

from __future__ import annotations

import time
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


def _measured(**fields: Any) -> calibration.CalibrationFile:
    lateness = calibration.CalibrationFile.Lateness(p50=1, p99=20, max=300)
    given = {"measured_at_s": time.time(), "machine": calibration.machine(), **fields}
    return calibration.CalibrationFile(frame_hops_per_s=1_000, lateness_ns=lateness, **given)


@pytest.mark.parametrize(
    ("fields", "valid"),
    [
        ({}, True),
        ({"measured_at_s": 0}, False),
        ({"machine": "5.4.0 riscv64, 1 processors"}, False),
        ({"others_share": 0.2}, True),
        ({"others_share": 0.6}, True),
        ({"measured_at_s": time.time() - 3600}, True),
        ({"measured_at_s": time.time() - 3600, "others_share": 0.6}, False),
        ({"measured_at_s": time.time() - 25 * 3600}, False),
        ({"measured_at_s": time.time() + 3600}, False),
    ],
)
def test_a_measurement_that_is_old_disturbed_or_of_another_machine_is_made_anew(
    fields: dict[str, Any], valid: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept, fresh = _measured(**fields), _measured().model_copy(update={"frame_hops_per_s": 2_000.0})
    monkeypatch.setattr(calibration, "measure", lambda: fresh)
    calibration.store(kept, calibration.default_path())
    assert calibration.load_or_measure() == (kept if valid else fresh)
    assert calibration.load(calibration.default_path()) == (kept if valid else fresh)


def test_the_age_of_a_measurement_and_what_disturbed_it_are_said() -> None:
    assert calibration.describe(_measured()) == "measured just now"
    old = _measured(measured_at_s=time.time() - 3 * 3600 - 130, others_share=0.6)
    assert calibration.describe(old) == (
        "measured 3 h 2 min ago; others had 60% of the processors then, so that the machine may be faster: "
        "testbed calibrate measures again"
    )


def test_what_others_took_is_what_was_taken_less_our_own() -> None:
    share = calibration._others_share
    assert share((10, 4, 1), (20, 10, 3)) == pytest.approx(0.4)
    assert share((10, 4, 1), (20, 5, 3)) == 0
    assert share((10, 4, 1), (10, 4, 1)) == 0
