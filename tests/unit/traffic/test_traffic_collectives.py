"""The collectives: right results in any order, the promised bytes on the wire, no memory used twice at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.traffic import COLLECTIVES, Calc, Reduce, Schedule, Send, Shape, count_wrong, permutation
from testbed.traffic.building import chunks
from testbed.traffic.elements import DTYPES
from testbed.traffic.point_to_point import INCAST
from testbed.traffic.races import races
from testbed.traffic.ring_all_reduce import RING_ALL_REDUCE
from testbed.traffic.schedule import build_graph
from testbed.traffic.vectors import Drawn, Joined
from tests.unit.traffic.carried import run

shapes = st.builds(
    Shape,
    ranks=st.integers(2, 9),
    count=st.integers(1, 60),
    dtype=st.sampled_from(["float", "int32"]),
    in_place=st.booleans(),
    slice_bytes=st.none() | st.integers(4, 64),
)


@settings(deadline=None)
@given(shapes)
def test_every_chunk_reaches_every_rank(shape: Shape) -> None:
    """With rank r holding 2^r everywhere, a sum of all ones in binary has heard from every rank exactly once."""
    dtype = np.dtype(DTYPES[shape.dtype])
    vectors = [np.full(shape.count, 1 << rank, dtype) for rank in range(shape.ranks)]
    for result in run(RING_ALL_REDUCE, shape, vectors, 1):
        assert set(result.tolist()) == {(1 << shape.ranks) - 1}


@given(st.integers(1, 100), st.integers(2, 20))
def test_chunks_cover_the_vector_evenly(count: int, ranks: int) -> None:
    parts = chunks(count, ranks)
    assert [index for first, end in parts for index in range(first, end)] == list(range(count))
    lengths = [end - first for first, end in parts]
    assert len(lengths) == ranks and max(lengths) - min(lengths) <= 1


def completion(schedule: Schedule, latency: int) -> int:
    """Return when all is done if a link carries one byte per unit of time and delivers `latency` later."""
    graph = build_graph(schedule)
    places = [(rank, index) for rank, r in enumerate(schedule.ranks) for index in range(len(r.ops))]
    times = [0] * graph.size
    link_free: dict[tuple[int, int], int] = {}
    for node in graph.walk():
        rank, index = places[node % graph.total_ops]
        op = schedule.ranks[rank].ops[index]
        if node >= graph.total_ops and isinstance(op, Send):
            begin = max([link_free.get((rank, op.peer), 0), *(times[graph.finish(rank, r)] for r in op.requires)])
            link_free[rank, op.peer] = begin + op.bytes
            times[node] = begin + op.bytes + latency
        else:
            times[node] = max((times[before] for before in graph.before[node]), default=0)
    return max(times)


def test_slices_hide_serialisation_on_long_links() -> None:
    """Every step pays for the distance and the bytes of a whole message, or of one slice only."""
    steps, chunk, slice_bytes, latency = 6, 256, 16, 1000
    whole = RING_ALL_REDUCE.schedule(Shape(4, chunk))
    sliced = RING_ALL_REDUCE.schedule(Shape(4, chunk, slice_bytes=slice_bytes))
    assert completion(whole, latency) == steps * (chunk + latency)
    assert completion(sliced, latency) == steps * (slice_bytes + latency) + chunk - slice_bytes


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(1, 50), st.sampled_from(["float", "int32"]), st.integers(0, 2**32))
def test_incast_lays_the_senders_side_by_side(ranks: int, count: int, dtype: str, seed: int) -> None:
    shape = Shape(ranks, count, dtype)
    vectors = [vector[:] for vector in INCAST.inputs(shape, seed)]
    at_receiver = run(INCAST, shape, vectors, seed)[0]
    assert at_receiver.tobytes() == b"".join(vector.tobytes() for vector in vectors[1:])
    assert races(INCAST.schedule(shape), until_acknowledged=True) == []


def test_incast_without_payload_has_no_memory() -> None:
    schedule = INCAST.schedule(Shape(5, 1 << 20, payload=False))
    schedule.validate()
    assert [rank.memory_bytes for rank in schedule.ranks] == [0] * 5
    assert [schedule.bytes_sent(rank) for rank in range(5)] == [0] + [4 << 20] * 4


def test_permutation_pairs_every_rank() -> None:
    schedule = permutation(16, 64_000_000, 8)
    schedule.validate()
    assert [rank.ops[0].peer for rank in schedule.ranks if not isinstance(rank.ops[0], Calc | Reduce)] == [
        (rank + 8) % 16 for rank in range(16)
    ]
    with pytest.raises(ValueError, match="sends every rank to itself"):
        permutation(4, 1, 8)


def test_bandwidths_follow_nccl_tests() -> None:
    """8 ranks, 100 MB in 10 ms: 10 GB/s, times 2·7/8; an incast of 7 senders moves 700 MB."""
    shape = Shape(8, 25_000_000)
    assert COLLECTIVES["all_reduce"].bandwidth(shape, 10_000_000_000) == (10.0, 17.5)
    assert COLLECTIVES["incast"].bandwidth(shape, 10_000_000_000) == (70.0, 70.0)
    assert COLLECTIVES["permutation"].bandwidth(shape, 10_000_000_000) == (10.0, 10.0)
    assert COLLECTIVES["all_reduce"].bandwidth(shape, 0) == (0.0, 0.0)


def test_inputs_depend_on_seed_and_rank_alone() -> None:
    shape = Shape(3, 1000)
    first, again, other = (RING_ALL_REDUCE.inputs(shape, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a[:], b[:]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0][:], other[0][:]) and not np.array_equal(first[0][:], first[1][:])


def test_count_wrong_counts_elements() -> None:
    wanted = np.arange(6, dtype="<f4")
    corrupted = wanted.copy()
    corrupted[[1, 4]] += 1
    assert count_wrong(wanted.tobytes(), wanted) == 0
    assert count_wrong(corrupted, wanted) == 2
    assert count_wrong(wanted[:4], wanted) == 2
    assert count_wrong(b"", wanted) == 6
    assert count_wrong(wanted.tobytes() + b"x", wanted) == 1
    assert count_wrong(np.array([-0.0], "<f4"), np.array([0.0], "<f4")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ranks": 0, "count": 1}, "at least 1 rank"),
        ({"ranks": 2, "count": -1}, "at least 0 elements"),
        ({"ranks": 2, "count": 1, "dtype": "complex"}, "unknown dtype"),
        ({"ranks": 2, "count": 1, "redop": "xor"}, "unknown redop"),
        ({"ranks": 2, "count": 1, "root": 2}, "not one of 2 ranks"),
        ({"ranks": 2, "count": 1, "slice_bytes": 3}, "hold no element"),
    ],
)
def test_impossible_shapes_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shape(**arguments)  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    st.integers(1, 200),
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(0, 210), st.integers(0, 210)), max_size=6),
)
def test_any_part_of_a_drawn_vector_is_that_of_the_whole(count: int, seed: int, spans: list[tuple[int, int]]) -> None:
    """Whatever was looked at before; the numbers are those that numpy's generator gives as bytes."""
    whole = np.frombuffer(np.random.default_rng([seed, 7]).bytes(count), np.uint8).astype("<f4")
    vector = Drawn(count, "float", seed, 7)
    assert len(vector) == count and np.array_equal(vector[:], whole)
    for first, end in spans:
        assert np.array_equal(vector[first:end], whole[first:end])


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5),
    st.integers(0, 50),
    st.integers(0, 50),
)
def test_any_part_of_joined_vectors_is_that_of_the_whole(parts: list[tuple[int, int]], first: int, end: int) -> None:
    vector = np.arange(9)
    spans = [(vector, min(span), max(span)) for span in parts]
    whole = np.concatenate([vector[low:high] for _, low, high in spans])
    joined = Joined(spans)
    assert len(joined) == len(whole) and np.array_equal(joined[first:end], whole[first:end])
    assert np.array_equal(joined[:], whole)
