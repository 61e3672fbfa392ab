"""Jobs whose data travels: what steps come to is compared, and rings of a step have ports of their own."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.errors import ExperimentError
from testbed.experiment.file import experiment_from
from testbed.lab.topology import lab_from, load_lab
from testbed.run import job_payload
from testbed.run.judgement import conclude
from testbed.run.perform import run_virtual
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.schema.source import Source, parse_yaml


def make(text: str, lab: str | dict[str, Any]) -> Trial:
    loaded = load_lab(lab) if isinstance(lab, str) else lab_from(Source("lab", lab))
    return Trial(experiment_from(parse_yaml(text, "e.yaml", ExperimentError)), loaded)


PAYLOAD = """topology: {lab}
jobs:
  - name: train
    ranks: {ranks}
    payload: true
    repeat: 2
    groups: {{pairs: {{size: 2}}}}
    program:
      - {{all_reduce: 40KB, id: grads, redop: max}}
      - {{all_to_all: 8KB, group: pairs}}
      - {{compute: 5us}}
      - {{wait: grads}}
      - {{send: 5000, from: [0, 1], to: [2, 3]}}
      - {{reduce: 10KB, root: 1, datatype: double}}
      - {{barrier: true}}
"""


def jobs_judged(text: str, lab: Any = "clos") -> RunResult:
    trial = make(text, lab)
    return conclude(trial, run_virtual(trial, None, lambda progress: None, 1), "virtual", 1, "test")


@pytest.mark.parametrize(("lab", "ranks"), [("clos", "'h[1-4]'"), ("rail:servers=2,accelerators=2", "'s[1-2]/[0-1]'")])
def test_what_steps_come_to_is_compared_where_data_travels(lab: str, ranks: str) -> None:
    result = jobs_judged(PAYLOAD.format(lab=lab, ranks=ranks), lab)
    assert result.verdict.passed and [job.wrong for job in result.jobs] == [0]
    lengths = jobs_judged(PAYLOAD.format(lab=lab, ranks=ranks).replace("payload: true", "payload: false"), lab)
    assert [job.wrong for job in lengths.jobs] == [None]
    # Data takes no more time than lengths do.
    assert [job.iterations for job in lengths.jobs] == [job.iterations for job in result.jobs]


def test_a_wrong_element_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_wrong_bit(engine: Any, *planned: Any) -> None:
        job_payload_write(engine, *planned)
        engine.write_memory(2, 0, bytes([engine.read_memory(2, 0, 1)[0] ^ 1]))

    job_payload_write = job_payload.write
    monkeypatch.setattr(job_payload, "write", with_a_wrong_bit)
    text = "topology: clos\njobs: [{name: a, ranks: 'h[1-4]', payload: true, program: [{all_gather: 4KB}]}]\n"
    result = jobs_judged(text)
    # Every rank gathers the element that is not what was drawn; its own part is beside it as it was.
    assert result.jobs[0].wrong in (3, 4) and not result.verdict.correct and result.verdict.lossless
    assert result.verdict.reasons == [f"not correct: {result.jobs[0].wrong} wrong elements of job a"]


def test_two_jobs_of_the_same_ranks_have_memory_of_their_own() -> None:
    jobs = [
        f"{{name: {name}, ranks: 'h[1-3]', payload: true, repeat: 2, program: [{{all_reduce: 12KB}}, {{all_gather: 6KB}}]}}"
        for name in ("a", "b")
    ]
    result = jobs_judged(f"topology: clos\njobs: [{', '.join(jobs)}]\n")
    assert result.verdict.passed and [job.wrong for job in result.jobs] == [0, 0]


def test_data_and_lengths_do_not_meet_in_one_memory() -> None:
    text = (
        "topology: clos\njobs:\n  - {name: a, ranks: 'h[1-2]', payload: true, program: [{barrier: true}]}\n"
        "  - {name: b, ranks: 'h[2-3]', program: [{barrier: true}]}\n"
    )
    trial = make(text, "clos")
    with pytest.raises(ExperimentError, match=r"jobs\[0\]\.payload: h2 is also in b, of which lengths alone travel"):
        trial.program  # noqa: B018  planned when asked for


def test_rings_of_a_step_use_the_ports_of_their_hosts() -> None:
    """With a ring a rail every rail carries the same share, and twice as many rails take half the time."""
    times = {}
    for channels in (1, 2):
        step = f"{{all_reduce: 4MiB, channels: {channels}}}"
        text = f"topology: rails\njobs: [{{name: a, payload: true, program: [{step}]}}]\n"
        result = jobs_judged(text, two_ports())
        assert result.verdict.passed and result.jobs[0].wrong == 0
        times[channels] = result.jobs[0].iterations[0].time_us
    assert times[2] == pytest.approx(times[1] / 2, rel=0.05)


def two_ports() -> dict[str, Any]:
    """Return four hosts with two ports each, on a switch for each of them."""
    nodes: dict[str, Any] = {f"h{number}": {"kind": "host"} for number in range(1, 5)}
    nodes |= {f"rail{rail}": {"kind": "switch", "buffer": "auto"} for rail in (1, 2)}
    links = [
        {"endpoints": [f"h{number}:eth{rail}", f"rail{rail}:eth{number}"], "delay": "100ns"}
        for number in range(1, 5)
        for rail in (1, 2)
    ]
    return {"name": "rails", "topology": {"nodes": nodes, "links": links}}


def test_channels_are_of_rings_and_trees() -> None:
    with pytest.raises(ExperimentError, match="channels are for rings and trees; all_to_all has none"):
        make("topology: clos\njobs: [{name: a, program: [{all_to_all: 4KB, channels: 2}]}]\n", "clos")
