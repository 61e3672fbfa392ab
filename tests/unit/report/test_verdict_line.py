"""The verdict in one line: what failed comes first, in colour on a terminal, and in none where NO_COLOR is set."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from testbed.experiment.expectations import Outcome as Checked
from testbed.report.verdict import verdict_text
from testbed.run.result import assemble
from tests.unit.run.test_result import FACTS, FIDELITY, REAL, outcome

LOST = {"lossless": 3, "lossy": 0, "link": 0, "outage": 0, "malformed": 0}


def checks(*texts: str, held: bool = False) -> list[Checked]:
    return [Checked(text, held, f"{text}: measured 1, wanted 2") for text in texts]


def line(checked: list[Checked], *, stopped: str = "", facts: Any = FACTS, **report: Any) -> str:
    wanted = outcome(**report)
    if stopped:
        wanted.complete, wanted.reasons = False, [stopped]
    return str(verdict_text(assemble(facts, wanted, checked)))


@pytest.mark.parametrize(
    ("checked", "wanted"),
    [
        (checks("busbw >= 0.9"), "FAILED: 1 expectation (busbw ≥ 0.9); lossless, correct, trusted"),
        (checks("busbw >= 0.9", held=True), "PASSED: lossless, correct, trusted"),
        (
            [*checks("a <= 1", "b != 2"), *checks("drops.lossless == 0", held=True)],
            "FAILED: 2 expectations (a ≤ 1, b ≠ 2); lossless, correct, trusted",
        ),
        (
            checks(*(f"x > {n}" for n in range(5))),
            "FAILED: 5 expectations (x > 0, x > 1, x > 2, …); lossless, correct, trusted",
        ),
    ],
)
def test_expectations_that_failed_lead_with_their_text(checked: list[Checked], wanted: str) -> None:
    assert line(checked) == wanted


def test_all_that_failed_stands_before_all_that_held() -> None:
    assert line(checks("a == 1"), drops=LOST) == "FAILED: 1 expectation (a == 1), not lossless; correct, trusted"
    assert line([], stopped="stalled", drops=LOST) == "FAILED: not lossless, not complete; trusted"
    broken = ["frame started while paused at leaf-a:eth9"]
    assert line([], violations=broken) == "UNTRUSTED: 1 broken invariant, not trusted; lossless, correct"
    late = FIDELITY | {"held_share": 0.9}
    assert line([], facts=REAL, fidelity=late) == "UNTRUSTED: not trusted; lossless, correct"
    late_and_failed = line(checks("a == 1"), facts=REAL, fidelity=late)
    assert late_and_failed == "UNTRUSTED: 1 expectation (a == 1), not trusted; lossless, correct"


@pytest.mark.parametrize(("failed", "colour"), [(True, "\x1b[1;31mFAILED\x1b[0m"), (False, "\x1b[1;32mPASSED\x1b[0m")])
def test_a_terminal_shows_colours_unless_told_not_to(
    failed: bool, colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = verdict_text(assemble(FACTS, outcome(), checks("a == 1", held=not failed)))

    def printed(**settings: Any) -> str:
        stream = io.StringIO()
        Console(file=stream, width=80, **settings).print(text)
        return stream.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal: dict[str, Any] = {"force_terminal": True, "color_system": "standard"}
    assert printed(**terminal).startswith(colour)
    assert "\x1b" not in printed()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in printed(**terminal) and "32m" not in printed(**terminal)
