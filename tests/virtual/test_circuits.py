"""An optical circuit switch that moves its mirrors in the middle of an all-reduce."""

from typing import Any

import pytest

from testbed.run.execution import Outcome
from testbed.run.judgement import conclude
from testbed.run.trial import Trial, from_spec
from tests.virtual.harness import Json, check_conservation, make_trial, priority, run_trial

MS = 10**9
MOVE_PS = MS // 2
OUTAGE_PS = 10 * MS  # 1.2 ms of mirrors and 8.8 ms until the link is up


def lab(*steps: Json, drain: str = "0s") -> Json:
    """Return two hosts behind a switch each, which the mirrors join; a second path stands beside it."""
    nodes: Json = {name: {"kind": "host"} for name in ("a1", "b1")}
    nodes |= {name: {"kind": "switch", "buffer": "auto"} for name in ("left", "right")}
    links: list[Json] = [
        {"endpoints": ["a1:eth1", "left:eth1"], "length": "5m"},
        {"endpoints": ["b1:eth1", "right:eth1"], "length": "5m"},
        {"endpoints": ["left:eth2", "right:eth2"], "profile": "ocs", "length": "1km"},
    ]
    circuits = {"mirrors": {"drain": drain, "steps": list(steps)}}
    return {"name": "mirrors", "topology": {"nodes": nodes, "links": links}, "circuits": circuits}


JOINED = [["left:eth2", "right:eth2"]]
START: Json = {"at": "0s", "circuits": JOINED}
AGAIN: Json = {"at": "500us", "circuits": JOINED, "repoint": True}


def reconfigured(drain: str, *steps: Json) -> tuple[Trial, Outcome]:
    trial = make_trial(
        lab(*(steps or (START, AGAIN)), drain=drain), "all_reduce", "workload.size=16M", "workload.in-place=false"
    )
    trial = from_spec(trial.spec())
    return trial, run_trial(trial)


def test_with_a_drain_nothing_is_lost() -> None:
    trial, outcome = reconfigured("100us")
    quiet = run_trial(make_trial(lab(START), "all_reduce", "workload.size=16M", "workload.in-place=false"))
    assert outcome.complete and outcome.rows[0]["wrong"] == 0
    assert set(outcome.report["drops"].values()) == {0}
    longer_us = outcome.rows[0]["time_us"] - quiet.rows[0]["time_us"]
    assert longer_us == pytest.approx((OUTAGE_PS + 0.1 * MS) / 10**6, rel=0.02), "as long as nothing could be sent"
    check_conservation(outcome.report)
    result = conclude(trial, outcome, "virtual", 1, "testbed run")
    assert result.exit_code == 0 and result.verdict.lossless


def test_without_a_drain_the_outage_is_what_lost_frames() -> None:
    _, outcome = reconfigured("0s")
    drops = outcome.report["drops"]
    assert drops["outage"] > 0 and drops["link"] == drops["lossless"] == 0
    lost = [priority(outcome.report, port)["drops"]["outage"] for port in ("left:eth2", "right:eth2")]
    assert sum(lost) == drops["outage"] and min(lost) > 0
    assert outcome.complete and outcome.rows[0]["wrong"] == 0, "go-back-N made up for it"
    assert any(qp["retransmitted"] for qp in outcome.report["qps"])
    check_conservation(outcome.report)


def test_every_change_is_logged_when_it_was_due() -> None:
    _, outcome = reconfigured("100us")
    log = [(entry["label"], entry["way"], entry["at_ps"]) for entry in outcome.report["impairments"]]
    expected: list[tuple[str, int, int]] = []
    for word, at_ps in (("drained", MOVE_PS - MS // 10), ("dark", MOVE_PS), ("bright", MOVE_PS + OUTAGE_PS)):
        expected += [(f"mirrors {word}", way, at_ps) for way in (0, 1)]
    assert log == expected
    assert all(entry["asked_ps"] == entry["at_ps"] and entry["link"] == 2 for entry in outcome.report["impairments"])


def test_a_path_that_is_taken_away_stays_dark() -> None:
    gone: Json = {"at": "500us", "circuits": []}
    trial, outcome = reconfigured("0s", START, gone)
    assert [change["up"] for change in trial.changes] == [False, False]
    assert not outcome.complete and outcome.report["drops"]["outage"] > 0


def test_a_path_that_comes_later_is_dark_until_then() -> None:
    outcomes: dict[str, Any] = {}
    for name, steps in (
        ("late", ({"at": "0s", "circuits": []}, {"at": "1ms", "circuits": JOINED})),
        ("first", (START,)),
    ):
        outcomes[name] = reconfigured("0s", *steps)[1]
        assert outcomes[name].complete and outcomes[name].rows[0]["wrong"] == 0
    assert outcomes["late"].report["drops"]["outage"] > 0
    assert outcomes["late"].rows[0]["time_us"] > outcomes["first"].rows[0]["time_us"] + (MS + OUTAGE_PS) / 10**6
