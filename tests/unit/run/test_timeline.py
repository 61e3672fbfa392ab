"""Timelines: what they expand to, as a person would write it down, and every fault with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import ExperimentError
from testbed.experiment.file import Experiment, experiment_from, load_experiment
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.run import timeline
from testbed.schema.source import Source, parse_yaml
from testbed.units import format_time
from tests.golden_files import GOLDEN, check_golden

HEAD = "topology: two-dc\nworkload: {collective: all_reduce, size: 1MiB}\ntimeline:\n"
SPAN = "border-a:eth2"
MS = 10**9

OPTICAL: dict[str, Any] = {
    "name": "optical",
    "topology": {
        "nodes": {"a": {"kind": "host"}, "b": {"kind": "host"}, "sw": {"kind": "switch"}},
        "links": [
            {"endpoints": ["a:eth1", "sw:eth1"], "profile": "400g-dr4", "length": "50m"},
            {"endpoints": ["b:eth1", "sw:eth2"], "rate": "400G", "length": "50m"},
        ],
    },
}


def experiment(entries: str) -> Experiment:
    return experiment_from(parse_yaml(HEAD + entries, "e.yaml", ExperimentError))


def expand(entries: str, lab: Lab | None = None) -> list[dict[str, Any]]:
    return timeline.expand(lab or load_lab("two-dc"), experiment(entries))


def table(changes: list[dict[str, Any]]) -> str:
    """Write changes one a line: time, link, way, label, what."""
    lines = []
    for change in changes:
        what = {key: value for key, value in change.items() if key not in ("link", "way", "at_ps", "label")}
        place = f"{format_time(change['at_ps']):>8} link {change['link']} way {change['way']}"
        lines.append(f"{place} [{change['label']}] {json.dumps(what)}")
    return "\n".join(lines) + "\n"


ENTRIES = {
    "window": '- {at: 2ms, link: "border-a:eth2", impair: {loss: 1%}, for: 1ms}',
    "one-direction": """\
- {at: 1ms, link: "border-b:eth2", impair: {delay: 1ms, jitter: 10us}, direction: out}
- {at: 2ms, link: "border-b:eth2", impair: {drain: true}, direction: in}
""",
    "bursts": '- {at: 0s, link: "border-a:eth2", impair: {loss: 0.01, burst: 4}, direction: out}',
    "overlapping": """\
- {at: 1ms, link: "border-a:eth2", impair: {delay: 1ms, rate: 50G}, for: 4ms, direction: out}
- {at: 2ms, link: "border-a:eth2", impair: {delay: 2ms}, for: 1ms, direction: out}
- {at: 4ms, link: "border-a:eth2", impair: {delay: 3ms}, for: 4ms, direction: out}
""",
    "flap": '- {at: 5ms, link: "border-a:eth2", impair: {flap: {period: 1ms, duty: 0.25, count: 3}}, direction: out}',
    "flap-for": '- {at: 5ms, link: "border-a:eth2", impair: {flap: {period: 2ms}}, for: 4500us, direction: out}',
    "ramp": """\
- {at: 1ms, link: "border-a:eth2", impair: {ramp: {delay: [400us, 600us], rate: [100G, 50G], steps: 4}}, for: 1ms, direction: out}
""",
    "ramp-over": '- {at: 1ms, link: "border-a:eth2", impair: {ramp: {loss: [0, 0.1], steps: 2, over: 2ms}}, direction: out}',
    "drained-outage": """\
- {at: 1ms, link: "border-a:eth2", impair: {drain: true}, for: 11ms}
- {at: 2ms, link: "border-a:eth2", impair: {down: true}, for: 10ms}
""",
    "weights": """\
- {at: 1ms, link: "border-a:eth2", impair: {weights: {0: 1, 3: 4}}, for: 1ms, direction: out}
""",
    "points": """\
- at: 1ms
  link: "border-a:eth2"
  direction: out
  impair: {trace: [{time: 0s, rate: 50G}, {time: 1ms, delay: 1ms, loss: 0.5}, {time: 2ms, rate: 25G, loss: 0}]}
  for: 3ms
""",
}


def test_what_timelines_come_to() -> None:
    text = "\n".join(f"{name}\n{table(expand(entries))}" for name, entries in ENTRIES.items())
    check_golden(GOLDEN / "timelines.txt", text)


def test_weights_are_of_switches() -> None:
    with pytest.raises(
        ExperimentError, match=r"weights: belong to ports of switches, and a1 is a host; say direction: out"
    ):
        expand('- {at: 1ms, link: "leaf-a:eth1", impair: {weights: {3: 4}}}')


def test_optical_settings_come_to_what_the_profile_makes_of_them() -> None:
    lab = lab_from(Source("test", OPTICAL))
    entries = """\
- {at: 1ms, link: "a:eth1", impair: {ber: 5e-4}, for: 1ms, direction: out}
- {at: 3ms, link: "a:eth1", impair: {lanes-down: 1}, for: 1ms, direction: out}
"""
    worse, better, dark, light = expand(entries, lab)
    assert worse["loss_process"]["kind"] == "codewords" and worse["loss_process"]["per_second"] > 0
    planned = lab.links[0].loss_process
    assert better["loss_process"] == (planned.plan() if planned else None)
    # Four lanes and no spare: a laser link without one of them is down.
    assert dark["up"] is False and light["up"] is True


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10), st.integers(1, 9)), max_size=6))
def test_after_all_has_ended_a_link_is_as_planned(spans: list[tuple[int, int, int]]) -> None:
    lab = load_lab("two-dc")
    data = [
        {"at": f"{at}ms", "link": SPAN, "for": f"{lasting}ms", "impair": {"delay": f"{ms}ms", "loss": ms / 10}}
        for at, lasting, ms in spans
    ]
    changes = timeline.expand(lab, experiment_from(Source("test", {"topology": "two-dc", "timeline": data})))
    assert [change["at_ps"] for change in changes] == sorted(change["at_ps"] for change in changes)
    link = next(link for link in lab.links if str(link.a) == SPAN)
    for way in (0, 1):
        state = {"delay_ps": link.delay_ps, "loss_process": None}
        for change in changes:
            if change["way"] == way:
                state |= {key: change[key] for key in state if key in change}
                # At any time the entry that began last and has not ended is what holds.
                active = [
                    (at, number, ms)
                    for number, (at, lasting, ms) in enumerate(spans)
                    if at * MS <= change["at_ps"] < (at + lasting) * MS
                ]
                assert state["delay_ps"] == (max(active)[2] * MS if active else link.delay_ps)
        assert state == {"delay_ps": link.delay_ps, "loss_process": None}


FAULTS = {
    '- {at: -1ms, link: "border-a:eth2", impair: {loss: 1%}}': (
        'e.yaml:4: timeline[0].at: "-1ms": a time cannot be negative'
    ),
    '- {at: 1ms, link: "border-a:eth2", impair: {loss: 1.5}}': (
        'e.yaml:4: timeline[0].impair.loss: "1.5" is not between 0 and 1'
    ),
    '- {at: 1ms, link: "border-a:eth2", impair: {ber: 0.6}}': (
        'e.yaml:4: timeline[0].impair.ber: "0.6": a bit error ratio is at most 0.5'
    ),
    '- {at: 1ms, link: "border-a", impair: {loss: 1%}}': (
        'e.yaml:4: timeline[0].link: "border-a" is not an endpoint; write it like leaf-a:eth1'
    ),
    '- {at: 1ms, link: "border-a:eth9", impair: {loss: 1%}}': (
        'e.yaml:4: timeline[0].link: lab two-dc has no port "border-a:eth9" with a link; did you mean "border-a:eth2"?'
    ),
    '- at: 1ms\n  link: "border-a:eth2"\n  impair:\n    los: 1%': (
        'e.yaml:7: timeline[0].impair.los: unknown key; did you mean "loss"?'
    ),
    '- at: 1ms\n  link: "border-a:eth2"\n  impair: {}': (
        "e.yaml:6: timeline[0].impair: nothing is impaired; give at least one setting"
    ),
    '- at: 1ms\n  link: "border-a:eth2"\n  impair:\n    ber: 1e-3': (
        "e.yaml:7: timeline[0].impair.ber: belongs to links with a profile; border-a:eth2 - border-b:eth2 has none"
    ),
    '- {at: 1ms, link: "border-a:eth2", impair: {rate: 400G}}': (
        "e.yaml:4: timeline[0].impair.rate: 400G is more than the 100G of border-a:eth2 - border-b:eth2"
    ),
    '- at: 500s\n  link: "border-a:eth2"\n  impair: {down: true}': (
        "e.yaml:4: timeline[0].at: timeline outside the run: 500s, and a run is given up after 120s"
    ),
    '- at: 1s\n  link: "border-a:eth2"\n  impair: {down: true}\n  for: 500s': (
        "e.yaml:7: timeline[0].for: timeline outside the run: 501s, and a run is given up after 120s"
    ),
    '- {at: 1ms, link: "border-a:eth2", impair: {loss: 1%, ber: 1e-5}}': (
        "e.yaml:4: timeline[0].impair: loss and ber each set how frames are lost; give one"
    ),
    '- {at: 1ms, link: "border-a:eth2", impair: {burst: 3}}': "e.yaml:4: timeline[0].impair: a burst needs a loss",
    '- {at: 1ms, link: "border-a:eth2", impair: {up: true, down: true}}': (
        "e.yaml:4: timeline[0].impair: a link is either up or down"
    ),
    '- {at: 1ms, link: "border-a:eth2", impair: {ramp: {delay: [1ms, 2ms]}}}': (
        "e.yaml:4: timeline[0]: a ramp needs a time: over, or for"
    ),
    '- {at: 1ms, link: "border-a:eth2", impair: {flap: {period: 1ms}}}': (
        "e.yaml:4: timeline[0]: a flapping link needs an end: count, or for"
    ),
    '- {at: 1ms, link: "border-a:eth2", impair: {loss: 1%}, for: 0s}': (
        "e.yaml:4: timeline[0].for: must last longer than 0"
    ),
    '- {at: 1ms, link: "border-a:eth2", impair: {trace: [{time: 1ms, rate: 1G}, {time: 1ms, rate: 2G}]}}': (
        "e.yaml:4: timeline[0].impair: the points of a trace must be in the order of their times"
    ),
    '- {at: 1ms, link: "border-a:eth2", impair: {trace: "x.csv"}}': (
        "e.yaml:4: timeline[0].impair.trace: a trace in a file can be named in an experiment file only; give its points"
    ),
}


@pytest.mark.parametrize("entries", FAULTS)
def test_every_fault_has_its_line_and_key(entries: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        expand(entries)
    assert str(caught.value) == FAULTS[entries]
    assert caught.value.exit_code == 2


def test_faults_keep_their_line_when_other_settings_are_replaced() -> None:
    loaded = experiment('- {at: 1ms, link: "nowhere:eth1", impair: {loss: 1%}}')
    with pytest.raises(ExperimentError, match=r"e\.yaml:4: timeline\[0\]\.link"):
        timeline.expand(load_lab("two-dc"), loaded.with_overrides(["seed=3"]))
    replaced = loaded.with_overrides(['timeline=[{at: 1ms, link: "nowhere:eth1", impair: {loss: 1%}}]'])
    with pytest.raises(ExperimentError, match=r"^--set: timeline\[0\]\.link"):
        timeline.expand(load_lab("two-dc"), replaced)


@pytest.mark.parametrize("name", ENTRIES)
def test_timelines_can_be_written_and_read_again(name: str) -> None:
    loaded = experiment(ENTRIES[name])
    again = experiment_from(Source("again", json.loads(json.dumps(loaded.data()))))
    assert again == loaded
    assert timeline.expand(load_lab("two-dc"), again) == expand(ENTRIES[name])


def with_trace(directory: Path, name: str, text: str | None = None) -> Experiment:
    entry = f'- {{at: 1ms, link: "border-a:eth2", impair: {{trace: "{name}"}}, direction: out}}\n'
    (directory / "e.yaml").write_text(HEAD + entry)
    if text is not None:
        (directory / "trace.csv").write_text(text)
    return load_experiment(directory / "e.yaml")


def test_a_trace_is_replayed(tmp_path: Path) -> None:
    loaded = with_trace(tmp_path, "trace.csv", "time,rate,delay,loss\n0ms,50G,,\n1ms,,2ms,1%\n\n2ms,25G,,0\n")
    assert (
        table(timeline.expand(load_lab("two-dc"), loaded))
        == """\
     1ms link 6 way 0 [timeline[0]] {"rate_bps": 50000000000}
     2ms link 6 way 0 [timeline[0]] {"delay_ps": 2000000000, "loss_process": {"kind": "bernoulli", "probability": 0.01, \
"acceleration": 1.0}}
     3ms link 6 way 0 [timeline[0]] {"loss_process": null, "rate_bps": 25000000000}
"""
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("missing.csv", None, r"e\.yaml:4: timeline\[0\]\.impair\.trace: there is no file missing\.csv"),
        ("../outside.csv", None, r"\.\./outside\.csv is outside the directory"),
        ("link.csv", None, r"link\.csv is outside the directory"),
        ("/etc/hostname", None, r"/etc/hostname is outside the directory"),
        (".", None, r"trace: \. is not a file"),
        ("trace.csv", "time,speed\n0ms,1G\n", 'no column is called "speed"'),
        ("trace.csv", "rate\n1G\n", "the first line names the columns"),
        ("trace.csv", "time,rate\n", "has no points"),
        ("trace.csv", "time,rate\n0ms,1G\n1ms,fast\n", r'trace\.csv:3: rate: "fast" is not a rate'),
        ("trace.csv", "time,rate\n0ms\n", r"trace\.csv:2: 1 cells, not 2"),
        ("trace.csv", "time,rate\n,1G\n", r"trace\.csv:2: time: missing"),
        ("trace.csv", "time,loss\n0ms,2\n", r'trace\.csv:2: loss: "2" is not between 0 and 1'),
        ("trace.csv", "time,rate\n2ms,1G\n1ms,1G\n", "must be in the order of their times"),
        ("trace.csv", "time,rate\n" + "0ms,1G\n" * 10_001, "more than 10000 points"),
        ("trace.csv", "x" * (2**20 + 1), "larger than 1048576 bytes"),
    ],
)
def test_a_trace_that_cannot_be_read(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "outside.csv").write_text("time,rate\n0ms,1G\n")
    (home / "link.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(ExperimentError, match=message) as caught:
        with_trace(home, name, text)
    assert len(caught.value.faults) == 1


def test_the_log_tells_what_took_place_from_what_did_not() -> None:
    lab = load_lab("two-dc")
    loaded = experiment('- {at: 1ms, link: "border-a:eth2", impair: {down: true}, direction: out, for: 2ms}')
    changes = timeline.expand(lab, loaded)
    done = {"link": 6, "way": 0, "label": "timeline[0]", "up": False, "asked_ps": 5 * MS, "at_ps": 5 * MS + 3}
    before = {**done, "asked_ps": 1 * MS, "at_ps": 1 * MS}
    rows = timeline.log(lab, changes, {"impairments": [before, done]}, start_ps=4 * MS)
    common = {"link": "border-a:eth2", "to": "border-b:eth2"}
    assert rows == [
        {**common, "asked_ns": 1e6, "at_ns": 1e6 + 0.003, "set": {"up": False}, "label": "timeline[0]"},
        {**common, "asked_ns": 3e6, "at_ns": None, "set": {"up": True}, "label": "timeline[0] over"},
    ]
    assert timeline.cut_off(lab, rows) == ["link border-a:eth2 to border-b:eth2 is down since 1 ms (timeline[0])"]
    assert timeline.never_reached(loaded, rows) == []
    nothing = timeline.log(lab, changes, {"impairments": [done]}, start_ps=4 * MS, end_ps=5 * MS)
    (fault,) = timeline.never_reached(loaded, nothing)
    assert str(fault) == "e.yaml:4: timeline[0].at: timeline outside the run: it was over before 1ms"
    assert timeline.cut_off(lab, nothing) == []
