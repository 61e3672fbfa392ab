"""The verdict on a run as one sentence, what failed first."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.run.result import RunResult
from testbed.run.verdict import INVARIANT_VIOLATED

EXPECTATIONS_SHOWN = 3
_SIGNS = {">=": "≥", "<=": "≤", "!=": "≠"}


def sentence(result: RunResult) -> str:
    """Return the verdict: a word, what failed, then what held."""
    failed, held = facts(result)
    return f"{word(result)}: {'; '.join(', '.join(part) for part in (failed, held) if part)}"


def word(result: RunResult) -> str:
    """Return the verdict in a word."""
    return "UNTRUSTED" if not result.verdict.trusted else "PASSED" if result.verdict.passed else "FAILED"


def facts(result: RunResult) -> tuple[list[str], list[str]]:
    """Return what did not hold, and what did."""
    verdict = result.verdict
    missed = [check.text for check in result.expectations if not check.held]
    broken = sum(reason.startswith(INVARIANT_VIOLATED) for reason in verdict.reasons)
    told = [
        (not missed, _expectations(missed)),
        (not broken, f"{broken} broken invariant{'s' if broken > 1 else ''}" if broken else ""),
        (verdict.lossless, "lossless" if verdict.lossless else "not lossless"),
        (verdict.complete, "" if verdict.complete else "not complete"),
        (verdict.correct or not verdict.complete, _correctness(result) if verdict.complete else ""),
        (not verdict.deadlock, "deadlock" if verdict.deadlock else ""),
        (verdict.trusted, "trusted" if verdict.trusted else "not trusted"),
    ]
    failed, held = ([text for holds, text in told if holds is wanted and text] for wanted in (False, True))
    return failed, held


def _expectations(missed: Sequence[str]) -> str:
    """Return how many expectations failed, and the first of them as they were written."""
    if not missed:
        return ""
    texts = list(missed[:EXPECTATIONS_SHOWN])
    for sign, shown in _SIGNS.items():
        texts = [text.replace(sign, shown) for text in texts]
    more = ["…"] if len(missed) > EXPECTATIONS_SHOWN else []
    return f"{len(missed)} expectation{'s' if len(missed) > 1 else ''} ({', '.join([*texts, *more])})"


def _correctness(result: RunResult) -> str:
    """Return whether results were right, and not more than was compared."""
    if not result.verdict.correct:
        return "not correct"
    counts = [*(row.wrong for row in result.collective.rows), *(job.wrong for job in result.jobs)]
    return "correct" if any(count is not None for count in counts) else "payload not compared"
