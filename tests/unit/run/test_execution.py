"""Rows of a collective on an engine: measured, checked, and ended early without losing what was measured."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from testbed.errors import UsageError
from testbed.run.execution import Outcome, Progress, execute
from testbed.run.flows import merge, over_iterations
from testbed.run.series import Series
from testbed.traffic import COLLECTIVES, Schedule, Send, simulate
from testbed.traffic.elements import DTYPES, REDOPS

PS_PER_BYTE = 80  # 100 Gb/s


@dataclass
class FakeEngine:
    """An engine that takes `PS_PER_BYTE` for what the busiest rank sends, `steps` calls of advance, and no network.

    `corrupt` flips that many elements at the last rank; `stall_at` counts loads, and that workload never completes.
    """

    steps: int = 3
    corrupt: int = 0
    stall_at: int | None = None
    slow_ps: int = 0
    limit_ps: int = 0
    spoil_last: bool = False
    begun_after: int | None = None
    schedules: list[Schedule] = field(default_factory=list)
    loads: list[int] = field(default_factory=list)
    memories: list[bytearray] = field(default_factory=list)
    left: int = 0
    now_ps: int = 1000
    start_ps: int = 0

    def compile_workload(self, schedule: Schedule) -> dict[str, Any]:
        self.schedules.append(schedule)
        return {"schema": 1, "number": len(self.schedules) - 1}

    @property
    def schedule(self) -> Schedule:
        return self.schedules[self.loads[-1]]

    @property
    def stalled(self) -> bool:
        return self.stall_at is not None and len(self.loads) > self.stall_at

    def begin_span(self, statistics: str) -> None:
        assert self.begun_after is None and statistics == "null"
        self.begun_after = len(self.loads)

    def load(self, workload: str) -> None:
        loaded = json.loads(workload)
        self.loads.append(loaded["number"])
        self.limit_ps = loaded["limit_ps"]
        self.memories = [bytearray(rank.memory_bytes) for rank in self.schedule.ranks]
        self.left, self.start_ps = self.steps, self.now_ps

    def write_memory(self, rank: int, offset: int, data: bytes) -> None:
        assert offset + len(data) <= len(self.memories[rank])
        self.memories[rank][offset : offset + len(data)] = data

    def read_memory(self, rank: int, offset: int, length: int) -> bytes:
        assert self.left == 0, "read before the workload was over"
        return bytes(self.memories[rank][offset : offset + length])

    def advance(self, budget: int) -> bool:
        assert budget > 0
        if self.slow_ps:
            self.now_ps = min(self.now_ps + self.slow_ps, self.start_ps + self.limit_ps)
            return self.now_ps == self.start_ps + self.limit_ps
        if self.stalled:
            return True
        self.left -= 1
        if self.left == 0:
            busiest = max(self.schedule.bytes_sent(rank) for rank in range(len(self.schedule.ranks)))
            self.now_ps = self.start_ps + busiest * PS_PER_BYTE
            self.memories = [bytearray(m.tobytes()) for m in simulate(self.schedule, [bytes(m) for m in self.memories])]
            for element in range(self.corrupt):
                self.memories[-1][element * 4] ^= 0xFF
            if self.spoil_last:
                self.memories[-1][-1] ^= 0xFF
        return self.left == 0

    def report(self) -> str:
        over = self.left == 0
        flows = [
            {
                "src": f"h{rank}",
                "dst": f"h{op.peer}",
                "bytes": op.bytes,
                "start_ps": self.start_ps,
                "completion_ps": self.now_ps,
            }
            for rank, r in enumerate(self.schedule.ranks)
            for op in r.ops
            if isinstance(op, Send)
        ]
        return json.dumps(
            {
                "now_ps": self.now_ps,
                "start_ps": self.start_ps,
                "complete": over,
                "stalled": self.stalled,
                "expired": not over and self.now_ps >= self.start_ps + self.limit_ps,
                "ranks": [{"finish_ps": self.now_ps - rank if over else None} for rank in range(len(self.memories))],
                "flows": flows,
                "qps": [{"qpn": 17, "a": "h0", "b": "h1", "error": "retry exceeded" if self.stalled else None}],
            }
        )


def series(name: str = "all_reduce", **changes: Any) -> Series:
    arguments: dict[str, Any] = {"ranks": 4, "min_bytes": 1024, "max_bytes": 4096} | changes
    return Series(COLLECTIVES[name], **arguments)


def run(engine: FakeEngine, wanted: Series) -> Outcome:
    return execute(engine, wanted, engine.compile_workload)


@pytest.mark.parametrize("dtype", ["float", "int32"])
def test_rows_of_an_all_reduce(dtype: str) -> None:
    engine = FakeEngine()
    outcome = run(engine, series(dtype=dtype, iterations=2))
    assert outcome.complete and not outcome.reasons
    assert [row["size_bytes"] for row in outcome.rows] == [1024, 2048, 4096]
    # 2·1024·3/4 = 1536 bytes at 80 ps each; algbw 1024 B / 122.88 ns; busbw 12.5 GB/s, the rate itself.
    measured = {
        "time_us": pytest.approx(0.12288),
        "algbw_gbytes_per_s": pytest.approx(1024 / 122.88),
        "busbw_gbytes_per_s": pytest.approx(12.5),
        "wrong": 0,
    }
    assert outcome.rows[0] == {
        "size_bytes": 1024, "count": 256, "type": dtype, "redop": "sum", "root": -1, **measured, "in_place": measured
    }  # fmt: skip
    # Out of place, in place, twice each; one compilation serves the iterations.
    assert engine.loads == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_wrong_elements_are_counted_over_all_iterations() -> None:
    engine = FakeEngine(corrupt=3)
    (row,) = run(engine, series(max_bytes=1024, iterations=2)).rows
    # Byte 0 is in the input out of place, and in the result in place.
    assert row["wrong"] == 0
    assert row["in_place"]["wrong"] == 6


def test_an_incast_is_compared_and_has_a_flow_for_every_sender() -> None:
    outcome = run(FakeEngine(), series("incast", max_bytes=1024))
    (row,) = outcome.rows
    assert (row["wrong"], row["in_place"], row["redop"]) == (0, None, "none")
    assert row["algbw_gbytes_per_s"] == pytest.approx(3 * 12.5)
    assert [(flow["src"], flow["dst"], flow["bytes"], flow["size_bytes"]) for flow in outcome.flows] == [
        (f"h{rank}", "h0", 1024, 1024) for rank in (1, 2, 3)
    ]
    corrupted = run(FakeEngine(corrupt=1), series("incast", max_bytes=1024))
    assert corrupted.rows[0]["wrong"] == 0, "a sender's own memory is not a result"


def test_a_run_goes_on_while_frames_of_finished_ranks_are_under_way() -> None:
    class Draining(FakeEngine):
        """Its ranks have finished as soon as it is loaded."""

        def report(self) -> str:
            return json.dumps(json.loads(super().report()) | {"complete": True})

    engine = Draining(steps=50)
    assert run(engine, series("incast", max_bytes=1024, payload=False)).complete
    assert engine.left == 0


def test_lengths_alone_cannot_be_wrong_or_right() -> None:
    engine = FakeEngine()
    (row,) = run(engine, series("incast", max_bytes=1024, payload=False)).rows
    assert row["wrong"] is None
    assert [len(memory) for memory in engine.memories] == [0] * 4
    (row,) = run(FakeEngine(), series("permutation", max_bytes=1024, payload=False)).rows
    assert row["wrong"] is None


def test_a_stall_ends_the_series_and_keeps_the_rows_before() -> None:
    outcome = run(FakeEngine(stall_at=3), series())
    assert not outcome.complete and not outcome.interrupted
    assert [row["size_bytes"] for row in outcome.rows] == [1024, 2048]
    assert outcome.rows[1]["in_place"] is None, "the stalled half of the row has no figures"
    (reason,) = outcome.reasons
    assert reason.startswith("all_reduce of 2048 bytes, in place: stalled at ")
    assert "4 of 4 ranks unfinished" in reason and "QP 17 (h0 and h1): retry exceeded" in reason


def test_a_workload_that_never_ends_is_given_up() -> None:
    engine = FakeEngine(slow_ps=10**9)
    outcome = run(engine, series(limit_ps=20 * 10**9))
    assert outcome.reasons == [
        "all_reduce of 1024 bytes: not finished after 20 ms of nominal time, its limit (--set limit=TIME gives it more)"
    ]
    assert not outcome.rows and not outcome.complete


def test_ctrl_c_keeps_what_was_measured() -> None:
    engine = FakeEngine()
    seen: list[Progress] = []

    def press_at_second_row(progress: Progress) -> None:
        seen.append(progress)
        if progress.row == 1:
            raise KeyboardInterrupt

    outcome = execute(engine, series(), engine.compile_workload, press_at_second_row)
    assert outcome.interrupted and not outcome.complete
    assert outcome.reasons == ["interrupted after 1 of 3 rows"]
    assert len(outcome.rows) == 1 and outcome.report["now_ps"] == engine.now_ps
    assert seen[0] == Progress(0, 3, 1024, False, 0, 1)


def test_same_seed_same_inputs() -> None:
    written: list[list[bytes]] = []
    for seed in (1, 1, 2):
        engine = FakeEngine(steps=1)
        run(engine, series(max_bytes=1024, seed=seed))
        written.append([bytes(memory) for memory in engine.memories])
    assert written[0] == written[1] != written[2]


def test_sizes_are_whole_elements() -> None:
    assert [shape.count for shape in series(min_bytes=1, max_bytes=10, step_factor=3).shapes()] == [0, 0, 2]
    assert series(min_bytes=5, max_bytes=5, step_factor=1).sizes() == [5]


def test_sizes_go_in_steps_of_bytes_or_of_a_factor_and_may_begin_at_nothing() -> None:
    assert series(min_bytes=0, max_bytes=3000, step_bytes=1000).sizes() == [0, 1000, 2000, 3000]
    assert series(min_bytes=0, max_bytes=40, step_factor=3).sizes() == [0, 4, 12, 36]
    assert series(min_bytes=4, max_bytes=7, step_bytes=4).sizes() == [4]


def test_all_types_operations_and_roots_are_run_one_after_the_other() -> None:
    kinds = series("reduce", dtype="all", redop="all", root="all").shapes()
    assert len(kinds) == 3 * len(DTYPES) * len(REDOPS) * 4
    assert [(kind.dtype, kind.redop, kind.root, kind.size_bytes) for kind in kinds[:4]] == [
        ("int8", "sum", 0, 1024), ("int8", "sum", 0, 2048), ("int8", "sum", 0, 4096), ("int8", "sum", 1, 1024)
    ]  # fmt: skip
    assert len(series("all_gather", redop="all", root="all").shapes()) == 3, "where there are none, once"


def test_calls_that_are_made_at_once_are_all_compared_and_a_row_is_the_share_of_one() -> None:
    (one,) = run(FakeEngine(), series("all_to_all", max_bytes=1024)).rows
    engine = FakeEngine(corrupt=3)
    (row,) = run(engine, series("all_to_all", max_bytes=1024, aggregate=3)).rows
    assert (row["time_us"], row["wrong"]) == (one["time_us"], 0)
    assert engine.schedule.bytes_sent(0) == 3 * 768
    # The last bytes of the last rank belong to the result of its third call.
    wanted = series("all_to_all", max_bytes=1024, aggregate=3)
    engine = FakeEngine(spoil_last=True)
    assert run(engine, wanted).rows[0]["wrong"] == 1


def test_a_warm_up_is_neither_measured_nor_part_of_the_span() -> None:
    engine = FakeEngine()
    outcome = run(engine, series(warmup=2))
    # The largest of three sizes twice, then each out of place and in place.
    assert engine.begun_after == 2 and engine.loads == [0, 0, 1, 2, 3, 4, 5, 6]
    assert outcome.start_ps == 1000 + 2 * 6144 * PS_PER_BYTE
    assert {flow["iterations"] for flow in outcome.flows} == {1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_bytes": -1}, "make no row"),
        ({"aggregate": 0}, "at least 1 iteration"),
        ({"min_bytes": 8192}, "make no row"),
        ({"step_factor": 1}, "never reaches"),
        ({"iterations": 0}, "at least 1 iteration"),
        ({"ranks": 0}, "at least 1 rank"),
        ({"dtype": "complex"}, "unknown dtype"),
        ({"slice_bytes": 2}, "hold no element"),
        ({"min_bytes": 1, "max_bytes": 2**70}, "more than 64"),
    ],
)
def test_series_that_make_no_sense_are_usage_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        series(**changes)
    with pytest.raises(UsageError, match="root 4 is not one of 4 ranks"):
        series("reduce", root=4)


def flow(src: str, start: int, end: int | None, workload: int = 0) -> dict[str, Any]:
    times = {"start_ps": start, "completion_ps": end, "workload_ps": workload}
    return {"src": src, "dst": "b", "bytes": 500, "size_bytes": 500, "in_place": False, **times}


def test_flows_between_the_same_nodes_are_joined() -> None:
    joined = merge([flow("a", 10, 20), flow("c", 0, 9), flow("a", 12, 1010), flow("d", 1, 2), flow("d", 3, None)])
    assert [(each["src"], each["bytes"], each["start_ps"], each["completion_ps"]) for each in joined] == [
        ("a", 1000, 10, 1010), ("c", 500, 0, 9), ("d", 1000, 1, None),
    ]  # fmt: skip


def test_flows_of_all_iterations_are_one() -> None:
    parts = [flow("a", 1000, 3000), flow("d", 0, None), flow("a", 2000, 5000, 7000), flow("d", 0, 1, 7000)]
    common = {"dst": "b", "size_bytes": 500, "in_place": False, "bytes": 1000, "iterations": 2}
    assert over_iterations(parts) == [
        # 8000 bits in 2 and 3 ns.
        {"src": "a", **common, "start_ns": 1, "completion_ns": 12, "duration_ns": 5, "goodput_bps": 1600 * 10**9},
        {"src": "d", **common, "start_ns": 0, "completion_ns": None, "duration_ns": None, "goodput_bps": 0},
    ]


def test_inputs_are_written_before_the_workload_runs() -> None:
    engine = FakeEngine(steps=1)
    run(engine, series(max_bytes=1024))
    vectors = [vector[:] for vector in COLLECTIVES["all_reduce"].inputs(series().shapes()[0], 1)]
    # After the last workload, in place, every rank holds the sum.
    for memory in engine.memories:
        assert np.array_equal(np.frombuffer(memory[:1024], "<f4"), np.sum(vectors, axis=0))
