"""Expectations: what they say, what they refuse, and that a failing one tells measured from wanted."""

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment.expectations import ExpectationSyntaxError, check, check_all, parse

RESULT: dict[str, Any] = {
    "drops": {"lossless": 3, "lossy": 0},
    "verdict": {"passed": True, "reasons": []},
    "clock": "virtual",
    "event_log_hash": None,
    "collective": {"rows": [{"wrong": 0, "time_us": 12.5}]},
    "ports": {"leaf-a:eth9": {"priorities": {"3": {"paused_ns": 500}}}},
}
FIGURES = {"busbw": 11.5, "ideal": 12.5, "wrong": 0}


@pytest.mark.parametrize(
    "text",
    [
        "drops.lossless == 3",
        "drops.lossless - 1 - 1 == 1",
        "2 + 3 * 4 == 14",
        "(2 + 3) * 4 == 20",
        "12 / 4 / 3 == 1",
        "-drops.lossless < -2",
        "busbw >= 0.9 * ideal",
        "verdict.passed == true",
        "verdict.passed != false",
        "verdict.passed != 1",
        "event_log_hash == null",
        'clock == "virtual"',
        "collective.rows[0].time_us <= 1.25e1",
        'ports["leaf-a:eth9"].priorities["3"].paused_ns > 499',
        'ports["leaf-a:eth9"].priorities[3].paused_ns > 499',
        "wrong==0",
    ],
)
def test_holds(text: str) -> None:
    assert check(text, RESULT, FIGURES).held


@pytest.mark.parametrize(
    ("text", "explanation"),
    [
        ("drops.lossless == 0", "measured 3, wanted == 0"),
        ("busbw >= 0.95 * ideal", "measured 11.5, wanted >= 11.875"),
        ("verdict.passed == 1", "measured true, wanted == 1"),
        ('clock == "real"', 'measured "virtual", wanted == "real"'),
        ("drops.losless == 0", 'the result has no "drops.losless"; did you mean "lossless"?'),
        ("bussbw > 1", 'the result has no "bussbw"; did you mean "busbw"?'),
        ("collective.rows[3].wrong == 0", 'the result has no "collective.rows[3]"'),
        ("event_log_hash > 1", '">" needs two numbers, not null and 1'),
        ("clock + 1 == 2", '"+" needs two numbers, not "virtual" and 1'),
        ("drops == 0", "measured a mapping of 2, wanted == 0"),
        ("1 / drops.lossy > 0", "a division by zero"),
    ],
)
def test_fails_and_says_why(text: str, explanation: str) -> None:
    outcome = check(text, RESULT, FIGURES)
    assert not outcome.held
    assert outcome.explanation == f"{text}: {explanation}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a value is missing at the end"),
        ("busbw", "a comparison"),
        ("busbw >", "a value is missing"),
        ("1 == 1 == 1", "two comparisons"),
        ("busbw => 1", "is not understood"),
        ("(1 == 1", 'needed before "=="'),
        ("drops. == 1", "a name is needed"),
        ("rows[x] == 1", '"key" or a whole number'),
        ("rows[1.5] == 1", '"key" or a whole number'),
        ("rows[1 == 1", '"]" is needed'),
        ("__import__('os').system('true') == 0", "is not understood"),
        ("f(1) == 0", "a comparison"),
        ("* 1 == 0", 'a value is needed before "*"'),
        ("(" * 30 + "1" + ")" * 30 + " == 1", "nested deeper"),
        ("-" * 30 + "1 == 1", "nested deeper"),
        ("1" * 500 + " == 1", "at most 400 characters"),
    ],
)
def test_what_is_not_an_expectation(text: str, problem: str) -> None:
    with pytest.raises(ExpectationSyntaxError) as caught:
        parse(text)
    assert problem in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse(text)
    except ExpectationSyntaxError:
        return
    check(text, RESULT, FIGURES)


SIGNS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@given(st.sampled_from(sorted(SIGNS)), *[st.integers(0, 9)] * 4)
def test_agrees_with_arithmetic(sign: str, a: int, b: int, c: int, d: int) -> None:
    text = f"{a} + {b} * {c} {sign} {d} - {a}"
    assert check(text, {}, {}).held == SIGNS[sign](a + b * c, d - a)


def test_all_are_checked_in_order() -> None:
    outcomes = check_all(["drops.lossless == 0", "wrong == 0"], RESULT, FIGURES)
    assert [outcome.held for outcome in outcomes] == [False, True]
