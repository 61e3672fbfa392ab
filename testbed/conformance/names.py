"""The names that public test plans have for what a case shows. Pure.

L and Y are the cases of sonic-mgmt's plans for lossless and for lossy priorities (docs/testplan, PFC_lossless_test_plan.md and
PFC_lossy_test_plan.md), `PFC-1` and `PFC-2` those of its PFC-test-plan.md, `PFCWD-` and `ECN-` what its plans for the watchdog
and for ECN ask for, by their titles. What has no case here: frames of several sizes (L06, L07), deadlock (L10), a link that flaps
(L11), several ASICs (L14).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PUBLIC: Mapping[str, Sequence[str]] = {
    "pause-lossless": ("L01", "Y01", "Y05", "PFC-1"),
    "equal-classes": ("L02", "L08", "PFC-2"),
    "pause-ended": ("L03",),
    "pause-quanta": ("L04",),
    "storm-containment": ("L05",),
    "late-peer": ("L08",),
    "drop-threshold": ("L08",),
    "oversubscription": ("L08",),
    "ecn-dequeue": ("L09", "ECN-dequeue"),
    "ecn-curve": ("L09", "ECN-red-accuracy"),
    "watchdog-short-storm": ("L12", "PFCWD-timers"),
    "watchdog-bursts": ("L12", "PFCWD-burst-storm"),
    "watchdog-storm": ("L13", "PFCWD-basic"),
    "watchdog-restoration": ("L13", "PFCWD-timers"),
    "pause-right-peer": ("L15",),
    "lossy-beside-lossless": ("Y01",),
    "zero-vector": ("Y02",),
    "pause-lossy": ("Y03",),
    "global-pause": ("Y04",),
    "lossy-congestion": ("Y06",),
}
"""By case, in the order of the plans."""


def cases_of(name: str) -> list[str]:
    """Return the cases that a public name stands for; none for a name that no plan has."""
    return [case for case, names in PUBLIC.items() if name.casefold() in (each.casefold() for each in names)]
