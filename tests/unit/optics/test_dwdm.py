"""Amplified lines: their spans, what gnpy makes of them, and what is said where gnpy is missing."""

import importlib
import importlib.util
import logging
from typing import Any

import pytest

from testbed.errors import HostError, UsageError
from testbed.optics import dwdm
from testbed.optics.behaviour import OpticalSettings, behaviour_of, required_osnr_db
from testbed.optics.catalogue import load_catalogue

KM = 10**6
LINES = sorted(name for name, profile in load_catalogue().profiles.items() if profile.span_length)

# gnpy is an extra; where the tests run without it, the message that names it is what there is to test.
needs_gnpy = pytest.mark.skipif(
    importlib.util.find_spec("gnpy") is None, reason="needs gnpy, from the extra lossless-testbed[optics]"
)


@pytest.mark.parametrize(
    ("length", "span", "spans"),
    [(80 * KM, 80 * KM, (80 * KM,)), (100 * KM, 80 * KM, (50 * KM, 50 * KM)), (10, 4, (4, 3, 3)), (1, 9, (1,))],
)
def test_spans_are_few_and_even(length: int, span: int, spans: tuple[int, ...]) -> None:
    assert dwdm.even_spans(length, span) == spans


@pytest.mark.parametrize(("baud", "spacing_ghz"), [(32.0, 50), (31.57, 50), (63.1, 100), (8.0, 12.5)])
def test_channels_stand_on_the_grid(baud: float, spacing_ghz: float) -> None:
    assert dwdm.channel_spacing(round(baud * 1e9)) == spacing_ghz * 1e9


@pytest.mark.parametrize("spans", [[], [0], [151 * KM]])
def test_lines_that_cannot_be(spans: list[int]) -> None:
    with pytest.raises(UsageError, match="at least one span"):
        dwdm.line(spans)


def test_a_line_of_no_length() -> None:
    with pytest.raises(UsageError, match="length above 0"):
        dwdm.even_spans(0, 80 * KM)
    with pytest.raises(UsageError, match="length above 0"):
        behaviour_of(OpticalSettings.model_validate({"profile": "100g-dwdm", "osnr-db": "auto"}), 0)


def test_without_gnpy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(HostError, match=r'pip install "lossless-testbed\[optics\]"') as caught:
        dwdm.line([80 * KM])
    assert caught.value.exit_code == 3


@needs_gnpy
@pytest.mark.parametrize(("length_km", "gsnr_db"), [(80, 31.2), (960, 21.1), (2000, 17.9), (3040, 16.05)])
def test_gsnr_of_80_km_spans(length_km: int, gsnr_db: float) -> None:
    line = dwdm.line(dwdm.even_spans(length_km * KM, 80 * KM))
    assert line.gsnr_db == pytest.approx(gsnr_db, abs=0.06)
    assert line.osnr_db > line.gsnr_db, "nonlinearity costs something"
    assert line.channels == 76


@needs_gnpy
def test_gnpy_stays_quiet_about_its_own_example(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogger("gnpy").level
    dwdm.line([80 * KM])
    assert not caplog.records
    assert logging.getLogger("gnpy").level == before


@needs_gnpy
@pytest.mark.parametrize("name", LINES)
def test_lines_meet_their_required_osnr_as_far_as_they_reach(name: str) -> None:
    profile = load_catalogue().profile(name)
    behaviour = behaviour_of(OpticalSettings.model_validate({"profile": name, "osnr-db": "auto"}), profile.reach)
    assert behaviour.up and behaviour.margin_db is not None and behaviour.margin_db >= 0
    farthest = dwdm.profile_line(name, profile, profile.reach + 80 * KM).gsnr_db - required_osnr_db(name, profile)
    assert farthest < 0 or profile.reach == 3040 * KM
