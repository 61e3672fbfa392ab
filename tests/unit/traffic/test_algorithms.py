"""Every algorithm of every collective: right in any order of events, its steps and bytes as promised, no memory used twice."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import UsageError
from testbed.run.series import Series
from testbed.traffic import ALGORITHMS, COLLECTIVES, Collective, Schedule, Send, Shape, count_wrong, double_tree
from testbed.traffic.elements import DTYPES, REDOPS, Elements, divide, narrowed, widened
from testbed.traffic.races import races
from testbed.traffic.schedule import build_graph
from tests.unit.traffic.carried import run

ALL = {
    f"{name}-{algorithm}": collective for name, known in ALGORITHMS.items() for algorithm, collective in known.items()
}
SUMS = {key: collective for key, collective in ALL.items() if collective.redop == "sum"}
every_algorithm = pytest.mark.parametrize("collective", ALL.values(), ids=ALL)
every_sum = pytest.mark.parametrize("collective", SUMS.values(), ids=SUMS)


@st.composite
def shapes(draw: st.DrawFn, collective: Collective) -> Shape:
    """Draw a shape that the algorithm takes."""
    sites = draw(st.integers(2, 4))
    ranks = draw(st.integers(collective.least, 9))
    if collective.algorithm == "hierarchical":
        ranks = sites * draw(st.integers(1, 4))
    elif collective.algorithm == "halving-doubling":
        ranks = 2 ** draw(st.integers(0, 4))
    unit = ranks if collective.parts else 1
    return Shape(
        ranks=ranks,
        count=unit * draw(st.integers(0, 60 // unit + 1)) if collective.has_size else 1,
        dtype=draw(st.sampled_from(list(DTYPES))),
        in_place=collective.in_place and draw(st.booleans()),
        slice_bytes=draw(st.none() | st.integers(8, 64)),
        sites=sites,
        redop=draw(st.sampled_from(REDOPS)),
        root=draw(st.integers(0, ranks - 1)),
        channels=draw(st.integers(1, 3)) if collective.channels else 1,
        local_ranks=draw(st.sampled_from([size for size in range(1, ranks + 1) if ranks % size == 0])),
    )


def parts(shape: Shape, vector: Elements) -> list[Elements]:
    return np.split(vector, shape.ranks)


def at_root(shape: Shape, vector: Elements) -> list[Elements]:
    return [vector if rank == shape.root else vector[:0] for rank in range(shape.ranks)]


def numbers(shape: Shape, bits: Elements) -> Elements:
    return widened(bits) if shape.dtype == "bfloat16" else bits


def reduced(shape: Shape, vectors: list[Elements]) -> Elements:
    """Return the reduction of all vectors, by numpy alone: exactly, since the numbers are small, and rounded once."""
    floats = np.array([numbers(shape, vector) for vector in vectors])
    if shape.redop in ("max", "min"):
        exact = np.max(floats, axis=0) if shape.redop == "max" else np.min(floats, axis=0)
    elif shape.redop == "prod":
        exact = np.prod(floats, axis=0, dtype=floats.dtype)
    else:
        wide = floats.dtype if floats.dtype.kind in "iu" else np.dtype("f8")
        exact = np.sum(floats, axis=0, dtype=wide)
        if shape.redop == "avg":
            # Towards zero, where there are integers.
            exact = (
                np.array([int(total / shape.ranks) for total in exact.tolist()])
                if wide.kind in "iu"
                else exact / shape.ranks
            )
    return narrowed(exact) if shape.dtype == "bfloat16" else exact.astype(floats.dtype)


# What each collective means, by numpy alone.
MEANING: dict[str, Callable[[Shape, list[Elements]], list[Elements]]] = {
    "all_reduce": lambda shape, v: [reduced(shape, v)] * shape.ranks,
    "reduce": lambda shape, v: at_root(shape, reduced(shape, v)),
    "reduce_scatter": lambda shape, v: parts(shape, reduced(shape, v)),
    "gather": lambda shape, v: at_root(shape, np.concatenate(v)),
    "scatter": lambda shape, v: parts(shape, v[shape.root]),
    "sendrecv": lambda shape, v: [v[rank - 1] for rank in range(shape.ranks)],
    "barrier": lambda shape, v: [
        np.concatenate([v[rank][:0], *(v[(rank - 2**k) % shape.ranks] for k in range((shape.ranks - 1).bit_length()))])
        for rank in range(shape.ranks)
    ],
    "all_gather": lambda shape, v: [np.concatenate(v)] * shape.ranks,
    "all_to_all": lambda shape, v: [
        np.concatenate([parts(shape, one)[rank] for one in v]) for rank in range(shape.ranks)
    ],
    "broadcast": lambda shape, v: [v[shape.root]] * shape.ranks,
    "incast": lambda shape, v: at_root(shape, np.concatenate([*v[: shape.root], *v[shape.root + 1 :]])),
    "permutation": lambda shape, v: [v[0][:0]] * shape.ranks,
}


@every_algorithm
@settings(deadline=None, max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_the_result_is_what_the_collective_means(collective: Collective, data: st.DataObject, seed: int) -> None:
    shape = data.draw(shapes(collective))
    collective.check(shape)
    vectors = [vector[:] for vector in collective.inputs(shape, seed)]
    meant = MEANING[collective.name](shape, vectors)
    expected = [want[:] for want in collective.expected(shape, vectors)]
    results = run(collective, shape, vectors, seed)
    assert len(results) == len(meant) == shape.ranks
    # Sums beyond the precision of narrow floats are rounded in the order in which they are made.
    exact = shape.dtype not in ("half", "bfloat16") or shape.redop not in ("sum", "avg") or collective.redop == "none"
    for result, want, meaning in zip(results, expected, meant, strict=True):
        assert want.dtype == meaning.dtype and len(want) == len(meaning)
        if exact:
            assert np.array_equal(want, meaning)
        else:
            assert np.allclose(numbers(shape, want).astype("f8"), numbers(shape, meaning).astype("f8"), rtol=0.05)
        assert count_wrong(result, want) == 0


@every_sum
@settings(deadline=None, max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_floats_are_added_in_the_order_that_is_expected(collective: Collective, data: st.DataObject, seed: int) -> None:
    """Sums of any finite numbers agree to the bit; NaN that comes of infinities has no defined payload."""
    shape = data.draw(shapes(collective).filter(lambda shape: shape.dtype in ("float", "int32")))
    generator = np.random.default_rng(seed)
    bits = [generator.integers(0, 2**32, shape.count, dtype=np.uint32) for _ in range(shape.ranks)]
    bits = [np.where((b >> 23 & 0xFF) == 0xFF, b & 0x807FFFFF, b).astype(np.uint32) for b in bits]
    vectors = [b.view("<f4" if shape.dtype == "float" else "<i4") for b in bits]
    for result, want in zip(run(collective, shape, vectors, seed), collective.expected(shape, vectors), strict=True):
        nans = np.isnan(want) if shape.dtype == "float" else np.zeros(len(want), bool)
        assert count_wrong(result[~nans], want[~nans]) == 0


@pytest.mark.parametrize("collective", [collective for collective in ALL.values() if collective.name != "permutation"])
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_memory_is_never_used_twice_at_once(collective: Collective, data: st.DataObject) -> None:
    shape = data.draw(shapes(collective))
    schedule = collective.schedule(shape)
    assert races(schedule) == []
    if not shape.in_place:
        assert races(schedule, until_acknowledged=True) == []


@every_algorithm
def test_ranks_without_memory_send_as_many_bytes(collective: Collective) -> None:
    shape = Shape(4, 64, sites=2, root=1)
    silent = Shape(4, 64, sites=2, root=1, payload=False)
    schedule = collective.schedule(silent)
    schedule.validate()
    assert {rank.memory_bytes for rank in schedule.ranks} == {0}
    assert [schedule.bytes_sent(rank) for rank in range(4)] == [
        collective.schedule(shape).bytes_sent(r) for r in range(4)
    ]


# By collective and algorithm: steps and bytes sent by the busiest rank, for n ranks (m sites of g) and S bytes.
COST: dict[str, tuple[Callable[[int, int], int], Callable[[int, int, int], float]]] = {
    "all_reduce-ring": (lambda n, m: 2 * (n - 1), lambda n, m, s: 2 * s * (n - 1) / n),
    "all_reduce-halving-doubling": (lambda n, m: 2 * int(math.log2(n)), lambda n, m, s: 2 * s * (n - 1) / n),
    "all_reduce-hierarchical": (
        lambda n, m: 2 * (n // m - 1) + 2 * (m - 1),
        lambda n, m, s: 2 * s * (n // m - 1) / (n // m) + 2 * s / (n // m) * (m - 1) / m,
    ),
    "all_gather-ring": (lambda n, m: n - 1, lambda n, m, s: s * (n - 1) / n),
    "reduce_scatter-ring": (lambda n, m: n - 1, lambda n, m, s: s * (n - 1) / n),
    "all_to_all-pairwise": (lambda n, m: n - 1, lambda n, m, s: s * (n - 1) / n),
    "sendrecv-direct": (lambda n, m: 1, lambda n, m, s: s),
    "gather-direct": (lambda n, m: 1, lambda n, m, s: s / n),
    "scatter-direct": (lambda n, m: 1, lambda n, m, s: s * (n - 1) / n),
    "barrier-dissemination": (lambda n, m: math.ceil(math.log2(n)), lambda n, m, s: s * math.ceil(math.log2(n))),
    "broadcast-tree": (lambda n, m: math.ceil(math.log2(n)), lambda n, m, s: s * math.ceil(math.log2(n))),
    "reduce-tree": (lambda n, m: math.ceil(math.log2(n)), lambda n, m, s: s),
}


@pytest.mark.parametrize("key", COST)
@pytest.mark.parametrize("ranks", [2, 4, 8, 16])
def test_steps_and_bytes(key: str, ranks: int) -> None:
    shape = Shape(ranks, 16 * ranks, sites=2)
    schedule = ALL[key].schedule(shape)
    ops, length = COST[key]
    assert max(schedule.bytes_sent(rank) for rank in range(ranks)) == length(ranks, 2, shape.size_bytes)
    assert steps(schedule) == ops(ranks, 2)


def steps(schedule: Schedule) -> int:
    """Return how many messages wait for one another; those to one peer may be under way at the same time."""
    graph = build_graph(schedule)
    places = [(rank, index) for rank, r in enumerate(schedule.ranks) for index in range(len(r.ops))]
    landed = [0] * graph.size
    for node in graph.walk():
        rank, index = places[node % graph.total_ops]
        op = schedule.ranks[rank].ops[index]
        if node >= graph.total_ops and isinstance(op, Send):
            landed[node] = max((landed[graph.finish(rank, r)] for r in op.requires), default=0) + 1
        else:
            landed[node] = max((landed[before] for before in graph.before[node]), default=0)
    return max(landed)


@pytest.mark.parametrize("ranks", range(2, 34))
def test_the_two_trees_share_the_work(ranks: int) -> None:
    inner = []
    for tree in (0, 1):
        above, below = double_tree.parents(ranks, tree), double_tree.children(ranks, tree)
        roots = [rank for rank, parent in above.items() if parent is None]
        assert sorted(above) == list(range(ranks)) and len(roots) == 1
        assert max(len(children) for children in below.values()) <= 2
        depth = {roots[0]: 0}
        queue = list(roots)
        while queue:
            rank = queue.pop()
            for child in below[rank]:
                depth[child] = depth[rank] + 1
                queue.append(child)
        assert len(depth) == ranks and max(depth.values()) <= math.ceil(math.log2(ranks))
        inner.append({rank for rank, children in below.items() if children})
    assert len(inner[0] & inner[1]) <= 1
    schedule = ALL["all_reduce-double-tree"].schedule(Shape(ranks, 64 * ranks))
    assert max(schedule.bytes_sent(rank) for rank in range(ranks)) <= 2.5 * 64 * ranks * 4


def test_only_sums_of_sites_travel_between_sites() -> None:
    """3 sites of 4: every rank sends 2(S/g)(m−1)/m bytes to another site, each to the same place of the next."""
    shape = Shape(12, 12 * 20, sites=3)
    schedule = ALL["all_reduce-hierarchical"].schedule(shape)
    for rank, ranked in enumerate(schedule.ranks):
        far = [op for op in ranked.ops if isinstance(op, Send) and op.peer // 4 != rank // 4]
        assert sum(op.bytes for op in far) == 2 * shape.size_bytes // 4 * 2 // 3
        assert {op.peer for op in far} == {(rank + 4) % 12}


def test_bandwidths_follow_nccl_tests() -> None:
    """8 ranks, 100 MB in 10 ms are 10 GB/s of algbw; the factor is that of doc/PERFORMANCE.md."""
    shape = Shape(8, 25_000_000, sites=2)
    factors = {"all_reduce": 14 / 8} | dict.fromkeys(
        ("all_gather", "reduce_scatter", "all_to_all", "gather", "scatter"), 7 / 8
    )
    for collective in ALL.values():
        if collective.name in factors or collective.name in ("broadcast", "reduce", "sendrecv"):
            algbw, busbw = collective.bandwidth(shape, 10_000_000_000)
            assert (algbw, busbw) == (10.0, 10.0 * factors.get(collective.name, 1))


def test_parts_are_equal_and_the_table_shows_one() -> None:
    series = Series(COLLECTIVES["all_gather"], 6, 1000, 1000)
    assert [shape.count for shape in series.shapes()] == [246]  # 984 bytes, 41 elements a rank
    assert [shape.count for shape in Series(COLLECTIVES["all_gather"], 6, 4, 4).shapes()] == [6]


@pytest.mark.parametrize(
    ("key", "ranks", "sites", "message"),
    [
        ("all_reduce-halving-doubling", 6, 1, "needs a power of two of ranks, not 6"),
        ("all_reduce-hierarchical", 6, 4, "6 ranks do not make 4 equal sites"),
        ("all_reduce-hierarchical", 6, 1, "fewer than two"),
    ],
)
def test_ranks_that_an_algorithm_cannot_take_are_refused(key: str, ranks: int, sites: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Series(ALL[key], ranks, 1024, 1024, sites=sites)


def test_the_usual_algorithms() -> None:
    assert {name: collective.algorithm for name, collective in COLLECTIVES.items()} == {
        "all_reduce": "ring",
        "all_gather": "ring",
        "reduce_scatter": "ring",
        "all_to_all": "pairwise",
        "broadcast": "tree",
        "reduce": "tree",
        "gather": "direct",
        "scatter": "direct",
        "sendrecv": "direct",
        "barrier": "dissemination",
        "incast": "direct",
        "permutation": "direct",
    }


@pytest.mark.parametrize("ranks", range(1, 18))
def test_no_rank_leaves_a_barrier_before_all_have_come(ranks: int) -> None:
    """Whatever a rank waits for in the end was sent, at the latest, after every other had begun."""
    schedule = ALL["barrier-dissemination"].schedule(Shape(ranks, 1))
    graph = build_graph(schedule)
    places = [(rank, index) for rank, r in enumerate(schedule.ranks) for index in range(len(r.ops))]
    heard = [set[int]() for _ in range(graph.size)]
    for node in graph.walk():
        rank, _ = places[node % graph.total_ops]
        heard[node] = {rank}.union(*(heard[before] for before in graph.before[node]))
    for rank, ranked in enumerate(schedule.ranks):
        last = [graph.finish(rank, index) for index in range(len(ranked.ops))]
        assert set().union({rank}, *(heard[node] for node in last)) == set(range(ranks))


def test_averages_of_integers_go_towards_zero_and_ranks_may_outnumber_what_a_type_counts() -> None:
    assert divide("int8", np.array([-7, 7, -128, 100], "i1"), 300).tolist() == [0, 0, 0, 0]
    assert divide("int32", np.array([-7, 7, -8], "<i4"), 2).tolist() == [-3, 3, -4]
    assert divide("uint64", np.array([2**64 - 1], "<u8"), 2).tolist() == [2**63 - 1]


def test_bfloat16_is_rounded_to_the_nearest_and_ties_to_even() -> None:
    floats = np.array([1, 257, 259, -2, 3.4e38, np.inf], "<f4")
    assert [f"{bits:04x}" for bits in narrowed(floats).tolist()] == ["3f80", "4380", "4382", "c000", "7f80", "7f80"]
    assert widened(np.array([0x3FC0], "<u2")).tolist() == [1.5] and np.isnan(widened(narrowed(np.array([np.nan]))))
