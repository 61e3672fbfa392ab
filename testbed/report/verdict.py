"""The verdict on a run in one line, what failed first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from testbed.run.result import RunResult
from testbed.run.verdict import INVARIANT_VIOLATED

EXPECTATIONS_SHOWN = 3
_SIGNS = {">=": "≥", "<=": "≤", "!=": "≠"}


def verdict_text(result: RunResult) -> Text:
    """Return the verdict: what failed, then what held; in colour where the console has some."""
    verdict = result.verdict
    if not verdict.trusted:
        word, style = "UNTRUSTED", "bold yellow"
    elif verdict.passed:
        word, style = "PASSED", "bold green"
    else:
        word, style = "FAILED", "bold red"
    failed, held = _facts(result)
    text = Text().append(word, style=style).append(": ").append(", ".join(failed), style=style.removeprefix("bold "))
    return text.append("; " if failed and held else "").append(", ".join(held))


def _facts(result: RunResult) -> tuple[list[str], list[str]]:
    """Return what did not hold, and what did."""
    verdict = result.verdict
    facts = [
        (not (missed := [check.text for check in result.expectations if not check.held]), _expectations(missed)),
        (not (broken := sum(reason.startswith(INVARIANT_VIOLATED) for reason in verdict.reasons)), _broken(broken)),
        (verdict.lossless, "lossless" if verdict.lossless else "not lossless"),
        (verdict.complete, "" if verdict.complete else "not complete"),
        (verdict.correct or not verdict.complete, _correctness(result) if verdict.complete else ""),
        (not verdict.deadlock, "deadlock" if verdict.deadlock else ""),
        (verdict.trusted, "trusted" if verdict.trusted else "not trusted"),
    ]
    failed, held = ([text for holds, text in facts if holds is wanted and text] for wanted in (False, True))
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


def _broken(count: int) -> str:
    return f"{count} broken invariant{'s' if count > 1 else ''}" if count else ""


def _correctness(result: RunResult) -> str:
    """Return whether results were right, and not more than was compared."""
    if not result.verdict.correct:
        return "not correct"
    counts = [*(row.wrong for row in result.collective.rows), *(job.wrong for job in result.jobs)]
    return "correct" if any(count is not None for count in counts) else "payload not compared"
