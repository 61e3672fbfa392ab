"""Limits of congestion controls in the data plane, each with the value of a file that would pass it."""

from typing import Any

Case = tuple[tuple[str | int, ...], Any, str]
"""Where a value is put, the value, and the key of the fault that it must be."""

CONGESTION_FAULTS: dict[str, Case | list[Case]] = {
    "g and alpha are shares": (("experiment", "transport", "dcqcn"), {"g": 2}, "transport.dcqcn.g"),
    "timers, byte counter and minimum rate must be positive": (
        ("experiment", "transport", "dcqcn"),
        {"alpha-timer": 0},
        "transport.dcqcn.alpha-timer",
    ),
    "alpha and beta are shares": (("experiment", "transport", "timely"), {"beta": 2}, "transport.timely.beta"),
    "the minimum round trip and rate must be positive": [
        (("experiment", "transport", "timely"), {"minimum-rtt": 0}, "transport.timely.minimum-rtt"),
        (("experiment", "transport", "timely"), {"minimum": 0}, "transport.timely.minimum"),
    ],
    "the low threshold is above the high one": (
        ("experiment", "transport", "timely"),
        {"low": "1ms"},
        "transport.timely",
    ),
    "g is a share": (("experiment", "transport", "dctcp"), {"g": 2}, "transport.dctcp.g"),
    "the minimum rate must be positive": (
        ("experiment", "transport", "dctcp"),
        {"minimum": 0},
        "transport.dctcp.minimum",
    ),
    "the target is a share above 0": (("experiment", "transport", "hpcc"), {"target": 0}, "transport.hpcc.target"),
    "base round trip and minimum rate must be positive": [
        (("experiment", "transport", "hpcc"), {"base-rtt": 0}, "transport.hpcc.base-rtt"),
        (("experiment", "transport", "hpcc"), {"minimum": 0}, "transport.hpcc.minimum"),
    ],
    "telemetry has at most 514 bytes": (("experiment", "transport", "hpcc"), {"header": 515}, "transport.hpcc.header"),
    "beta and the largest decrease are shares": (
        ("experiment", "transport", "swift"),
        {"most-decrease": 1},
        "transport.swift.most-decrease",
    ),
    "flow scaling begins at a smaller window than it ends at": (
        ("experiment", "transport", "swift"),
        {"scaling-least": 100},
        "transport.swift",
    ),
    "target, additive step and initial window must be positive": [
        (("experiment", "transport", "swift"), {"base-target": 0}, "transport.swift.base-target"),
        (("experiment", "transport", "swift"), {"additive": 0}, "transport.swift.additive"),
        (("experiment", "transport", "swift"), {"initial": 0}, "transport.swift.initial"),
    ],
    "gamma, the largest decrease and the weight of a delay are shares": (
        ("experiment", "transport", "nscc"),
        {"gamma": 2},
        "transport.nscc.gamma",
    ),
    "base round trip and target must be positive": [
        (("experiment", "transport", "nscc"), {"base-rtt": 0}, "transport.nscc.base-rtt"),
        (("experiment", "transport", "nscc"), {"target": 0}, "transport.nscc.target"),
    ],
    "steps must not be negative": (("experiment", "transport", "nscc"), {"eta": -1}, "transport.nscc.eta"),
    "windows must be positive": (
        ("experiment", "transport", "nscc"),
        {"most-window": 0},
        "transport.nscc.most-window",
    ),
}
