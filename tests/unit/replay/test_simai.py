"""SimAI's text workloads: order and groups of a pass, sizes and units, faults at their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import ExperimentError
from testbed.replay.form import Trace
from testbed.replay.reading import Options, format_of, read_traces
from testbed.replay.simai import read_simai
from tests.unit.replay.traces import written

HEAD = (
    "HYBRID_TRANSFORMER_FWD_IN_BCKWD\tmodel_parallel_NPU_group: 2 ep: 2 pp: 1 vpp: 1 ga: 1 all_gpus: 8 checkpoints: 0\n"
)
LAYERS = """\
2
embed  -1  900000  NONE  0  800000  NONE  0  700000  ALLREDUCE  67108864  1000
mlp0\t-1 2500000 ALLREDUCE 100 2500000 ALLTOALL_EP 16777216 2600000 REDUCESCATTER_DP_EP 33554432 1000"""


def read(directory: Path, text: str, gpus: int | None = None) -> Trace:
    return read_simai(written(directory, text, "w.txt"), gpus).trace


def test_a_pass_goes_forward_and_back_and_weights_hold_nothing_up(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + LAYERS, "w.txt")
    assert format_of(path) == "simai"
    (reading,) = read_traces([path])
    assert reading.took == ("8 ranks", "2 layers", "TP 2, DP 4, EP 2")
    ops = reading.trace.ranks[0]
    assert [(op.kind, op.amount if op.kind != "calc" else op.amount // 1000, op.after) for op in ops] == [
        ("calc", 900_000, ()),
        ("calc", 2_500_000, (0,)),
        ("all_reduce", 4096, (1,)),  # no message forward is shorter
        ("calc", 2_500_000, (2,)),
        ("all_to_all", 16_777_216, (3,)),
        ("calc", 2_600_000, (4,)),
        ("reduce_scatter", 33_554_432, (5,)),
        ("calc", 1000, (6,)),
        ("calc", 800_000, (5,)),
        ("calc", 700_000, (8,)),
        ("all_reduce", 67_108_864, (9,)),
        ("calc", 1000, (10,)),
    ]
    assert all(op.lane == 0 for op in ops if op.kind == "calc")


def test_groups_are_tensor_then_data_with_experts_inside(tmp_path: Path) -> None:
    trace = read(tmp_path, HEAD + LAYERS)
    for rank in range(8):
        tensor, experts, of_experts, data = (op.peer for op in trace.ranks[rank] if op.kind != "calc")
        pair = rank // 2 * 2
        assert trace.groups[tensor] == (pair, pair + 1)
        assert trace.groups[data] == tuple(range(rank % 2, 8, 2))
        assert trace.groups[experts] == ((rank % 2, rank % 2 + 2) if rank < 4 else (4 + rank % 2, 6 + rank % 2))
        assert trace.groups[of_experts] == (rank % 4, rank % 4 + 4)


def test_micro_is_one_collective_after_another_among_the_given_gpus(tmp_path: Path) -> None:
    text = "MICRO\n2\na -1 1 NONE 0 1 NONE 0 1 ALLREDUCE 1024 1\nb -1 1 NONE 0 1 NONE 0 1 ALLREDUCEALLTOALL 99 1\n"
    (reading,) = read_traces([written(tmp_path, text, "w.txt")], options=Options(gpus=3))
    ops = reading.trace.ranks[2]
    assert [(op.kind, op.amount, op.after) for op in ops if op.kind != "calc"] == [
        ("all_reduce", 1024, (0,)),
        ("all_reduce", 99, (2,)),
        ("all_to_all", 99, (3,)),
    ]
    with pytest.raises(ExperimentError, match="give --gpus"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (HEAD + LAYERS.replace("2\n", "3\n", 1), 2, "3 layers, and there are 2"),
        (HEAD.replace("all_gpus: 8", "all_gpus: 7") + LAYERS, 1, "7 GPUs do not divide into TP"),
        (HEAD.replace("ep: 2", "ep: 3") + LAYERS, 1, "does not divide into expert groups of 3"),
        (HEAD.replace("checkpoints: 0", "checkpoints: 1 5") + LAYERS, 1, "computed again are not read"),
        (HEAD.replace("HYBRID_TRANSFORMER_FWD_IN_BCKWD", "HYBRID_DLRM") + LAYERS, 1, '"HYBRID_DLRM" is not read'),
        (HEAD.replace("HYBRID_TRANSFORMER_FWD_IN_BCKWD", "HYBRIS") + LAYERS, 1, "is not a policy"),
        (HEAD + LAYERS.replace("ALLTOALL_EP", "ALLTOSOME"), 4, '"ALLTOSOME" is not one of'),
        (HEAD + LAYERS + " 5", 4, "13 fields"),
        (HEAD + LAYERS.replace("900000", "9e5"), 3, 'the time "9e5"'),
        (HEAD.replace("pp: 1", "pp: 0") + LAYERS, 1, "pp: 0"),
        (HEAD, 1, "the second line"),
        ("", 0, "no policy"),
    ],
)
def test_faults_stand_at_their_lines(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        read(tmp_path, text)
    (fault,) = caught.value.faults
    assert fault.line == line and message in str(fault)
