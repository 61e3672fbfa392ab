"""The points of a study: each computed once, by whatever means, and none of them twice."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import HostError, UsageError
from testbed.study import means, points
from testbed.study.means import Means, Missing, PointKind, Shard, carry_out, read_shard
from testbed.study.parallel import Defect
from testbed.study.points import Points, key_of

COMPUTED: list[int] = []


def square(number: int) -> int:
    COMPUTED.append(number)
    if number < 0:
        raise ValueError(f"{number} is negative")
    if number == 99:
        raise KeyboardInterrupt
    return number * number


def key(number: int) -> str | None:
    return None if number > 1000 else key_of("square", {"of": abs(number)})


KIND = PointKind(square, key, lambda result: {"square": result}, lambda _, packed: packed["square"])


@pytest.fixture(autouse=True)
def none_computed() -> None:
    COMPUTED.clear()


def run(tasks: Sequence[int], used: Means, kind: PointKind[int, int] = KIND) -> dict[int, Any]:
    results: dict[int, Any] = {}
    carry_out(kind, tasks, used, results.__setitem__)
    return results


def kept(directory: Path, shard: str | None = None, collect: bool = False) -> Means:
    share = None if shard is None else read_shard(shard)
    return Means(means.on_this_machine(1), Points(directory), share, collect)


def test_what_is_kept_is_not_computed_again(tmp_path: Path) -> None:
    assert run([1, 2], kept(tmp_path)) == {0: 1, 1: 4}
    used = kept(tmp_path)
    assert run([2, 3, 1], used) == {0: 4, 1: 9, 2: 1}
    assert COMPUTED == [1, 2, 3] and (used.counts.computed, used.counts.read) == (1, 2)
    assert run([1, 2], Means(means.on_this_machine(1))) == {0: 1, 1: 4} and COMPUTED == [1, 2, 3, 1, 2]


def test_two_tasks_of_one_point_are_computed_once(tmp_path: Path) -> None:
    assert run([4, 5, 4], kept(tmp_path)) == {0: 16, 1: 25, 2: 16}
    assert COMPUTED == [4, 5]


def test_an_interrupted_study_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run([1, 2, 99, 3], kept(tmp_path))
    COMPUTED.clear()
    assert run([1, 2, 3], kept(tmp_path)) == {0: 1, 1: 4, 2: 9}
    assert COMPUTED == [3]


def test_a_defect_is_told_and_not_kept(tmp_path: Path) -> None:
    outcome = run([-7], kept(tmp_path))[0]
    assert isinstance(outcome, Defect) and "-7 is negative" in outcome.summary
    assert run([7], kept(tmp_path)) == {0: 49}


def test_shares_are_disjoint_and_collected_into_the_whole(tmp_path: Path) -> None:
    tasks = list(range(11))
    shares = [run(tasks, kept(tmp_path, shard=f"{number}/3")) for number in (1, 2)]
    assert [sorted(share) for share in shares] == [[0, 3, 6, 9], [1, 4, 7, 10]]
    used = kept(tmp_path, collect=True)
    collected = run(tasks, used)
    assert used.counts.missing == [2, 5, 8] and collected[2] == Missing() and collected[10] == 100
    run(tasks, kept(tmp_path, shard="3/3"))
    assert run(tasks, kept(tmp_path, collect=True)) == {number: number * number for number in tasks}
    assert sorted(COMPUTED) == tasks


def test_what_is_not_settled_is_collected_and_tried_again(tmp_path: Path) -> None:
    unsettled = PointKind(square, key, KIND.pack, KIND.unpack, lambda result: False)
    run([6], kept(tmp_path), unsettled)
    assert run([6], kept(tmp_path, collect=True), unsettled) == {0: 36} and COMPUTED == [6]
    run([6], kept(tmp_path), unsettled)
    assert COMPUTED == [6, 6]


def test_a_task_without_a_key_is_computed_each_time_and_cannot_be_shared(tmp_path: Path) -> None:
    for _ in range(2):
        assert run([1001], kept(tmp_path)) == {0: 1001 * 1001}
    assert COMPUTED == [1001, 1001] and not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="cannot be shared"):
        run([1001], kept(tmp_path, collect=True))


def test_a_directory_that_takes_no_points_ends_a_share_and_no_table(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    used = kept(tmp_path / "file")
    assert run([1, 2], used) == {0: 1, 1: 4} and "cannot write" in str(used.counts.unwritten)
    with pytest.raises(UsageError, match="cannot write"):
        run([1, 2], kept(tmp_path / "file", shard="1/1"))


def test_points_of_other_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(work: Callable[[Any], Any], tasks: Sequence[Any], done: Callable[[int, Any], None]) -> None:
        with monkeypatch.context() as there:
            there.setattr(means, "code_version", lambda: "0.1+old")
            outcome = work(tasks[0])
        done(0, outcome)

    with pytest.raises(HostError, match=r"computes with testbed 0\.1\+old, and this is"):
        run([1], Means(elsewhere, Points(tmp_path)))
    assert not list(tmp_path.iterdir()) and points.code_version() != "0.1+old"


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write which share of how many"):
        read_shard(text)


def test_a_share_is_written_as_it_is_read() -> None:
    assert read_shard(" 3/8 ") == Shard(3, 8) and str(Shard(3, 8)) == "3/8"
