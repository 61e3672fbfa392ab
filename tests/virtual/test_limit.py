"""The nominal limit of a workload is one instant, the same on any number of cores: what ends then is complete."""

import pytest

from testbed.run.execution import Outcome
from testbed.run.perform import run_virtual
from tests.virtual.harness import make_trial

SLOW_SPAN = "two-dc:length=300km,rate=10M"
LENGTHS_ALONE = ("workload.payload=false", "workload.size=512M")


def run(*settings: str, lab: str = "two-dc", collective: str = "all_reduce", cores: int = 1) -> Outcome:
    return run_virtual(make_trial(lab, collective, *settings), None, lambda progress: None, cores)


def test_a_run_is_given_up_at_its_limit_on_any_number_of_cores() -> None:
    one, two = (run(*LENGTHS_ALONE, lab=SLOW_SPAN, collective="permutation", cores=cores) for cores in (1, 2))
    assert one == two
    (reason,) = one.reasons
    assert reason == (
        "permutation of 536870912 bytes: not finished after 60000 ms of nominal time, its limit"
        " (--set limit=TIME gives it more)"
    )
    assert one.report["now_ps"] == 60 * 10**12 and one.report["expired"] and not one.report["complete"]


@pytest.mark.parametrize("cores", [1, 2])
def test_a_workload_that_ends_at_its_limit_is_complete_and_one_that_ends_later_is_not(cores: int) -> None:
    size = "workload.size=256KiB"
    free = run(size, "workload.in-place=false")
    assert free.end_ps is not None and free.start_ps == 0
    at = run(size, "workload.in-place=false", f"limit={free.end_ps}ps", cores=cores)
    assert at.complete and at.rows == free.rows
    before = run(size, "workload.in-place=false", f"limit={free.end_ps - 1}ps", cores=cores)
    assert not before.complete and before.report["now_ps"] == free.end_ps - 1


def test_each_workload_of_a_run_has_its_own_limit() -> None:
    whole = run("workload.size=64KiB", "workload.iterations=5")
    assert whole.end_ps is not None
    limit = int(whole.rows[0]["time_us"] * 1.5 * 10**6)
    assert limit < whole.end_ps
    assert run("workload.size=64KiB", "workload.iterations=5", f"limit={limit}ps").complete
