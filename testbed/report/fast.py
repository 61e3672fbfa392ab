"""What a run skipped, in a sentence: of one that may skip what recurs."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.report.figures import format_count, format_ns
from testbed.run.result import RunResult

_REASONS_SHOWN = 3


def fast_text(result: RunResult) -> str | None:
    """Return what was skipped, how far figures can be off for that, and why the rest was run; None for an exact run."""
    fast = (result.fidelity or {}).get("fast_forward")
    if fast is None:
        return None
    exact = _reasons(fast["exact_ps"])
    if not fast["skips"]:
        return f"Fast-forward skipped nothing, so the figures are exact. Why: {exact}."
    times = "once" if fast["skips"] == 1 else f"{format_count(fast['skips'])} times"
    return (
        f"Fast-forward skipped {fast['share_of_frame_hops']:.1%} of the frame-hops, {times}, {_time(fast['skipped_ps'])} "
        f"together. Figures are off by at most {fast['bound']:g}. Run event by event: {exact}."
    )


def _reasons(exact_ps: Mapping[str, int]) -> str:
    """Return why time was run event by event, most of it first."""
    most = sorted(exact_ps.items(), key=lambda entry: (-entry[1], entry[0]))
    shown = [f"{_time(time_ps)} ({reason})" for reason, time_ps in most[:_REASONS_SHOWN] if time_ps]
    return ", ".join(shown) or "it was over too soon"


def _time(time_ps: int) -> str:
    return format_ns(time_ps / 1000)
