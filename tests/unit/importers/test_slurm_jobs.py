"""Host lists and blocks of jobs, written and read again."""

from __future__ import annotations

import random

import pytest

from testbed.errors import TopologyError
from testbed.importers.slurm import expand
from testbed.importers.slurm_jobs import host_list, rank_list, read_jobs, write_jobs
from testbed.importers.text import Text


def text(content: str) -> Text:
    return Text("placement.conf", content)


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["s1", "s2", "s3"], "s[1-3]"),
        (["s1", "s3", "s2"], "s[1,3,2]"),
        (["n08", "n09", "n10", "n7"], "n[08-10,7]"),
        (["a1", "b1", "b2", "x"], "a1,b[1-2],x"),
        (["x", "x1"], "x,x1"),
        (["r1n1", "r1n2", "r2n1"], "r1n[1-2],r2n1"),
        (["leaf"], "leaf"),
        ([], ""),
    ],
)
def test_a_host_list_keeps_names_in_their_order(names: list[str], written: str) -> None:
    assert host_list(names) == written
    assert not names or list(expand(text(""), 1, written)) == names


@pytest.mark.parametrize(
    ("ranks", "written"),
    [
        (["s1/0", "s1/1", "s2/0", "s2/1"], "s[1-2]/[0-1]"),
        (["s1/0", "s2/0", "s3/0", "s1/1", "s2/1"], "s[1-3]/0,s[1-2]/1"),
        (["s1/3", "s1/0", "s4/2"], "s1/[3,0],s4/2"),
        (["a1/0", "b1/0"], "a1/0,b1/0"),
        (["h1", "h2"], "h[1-2]"),
        (["h2", "s1/0"], "h2,s1/0"),
    ],
)
def test_a_list_of_ranks_keeps_them_in_their_order(ranks: list[str], written: str) -> None:
    assert rank_list(ranks) == written
    assert list(expand(text(""), 1, written)) == ranks


def test_any_ranks_are_read_as_they_were_written() -> None:
    luck = random.Random(7)
    every = [f"{name}{host}/{number}" for name in ("s", "d2-s") for host in range(1, 12) for number in range(4)]
    for _ in range(200):
        jobs = {f"job-{job}": tuple(luck.sample(every, luck.randint(1, 20))) for job in range(3)}
        assert read_jobs(text(write_jobs(jobs))) == jobs


def test_hosts_that_are_whole_need_no_comment() -> None:
    assert write_jobs({"train": ["h1", "h2"]}) == "BlockName=train Nodes=h[1-2]\n"
    assert write_jobs({"a": ["s1/0"]}) == "BlockName=a Nodes=s1 # ranks s1/0\n"


def test_blocks_switches_and_jobs_of_slurm_are_read() -> None:
    jobs = read_jobs(
        text(
            "# by hand\nBlockName=train Nodes=s[1-2]\nSwitchName=serve Nodes=s3,s5 LinkSpeed=400\nBlockSizes=4\n"
            "JobId=7 JobName=probe \\\n NodeList=s[08-09]\nSwitchName=top Switches=leaf[0-1]\n"
        )
    )
    assert jobs == {"train": ("s1", "s2"), "serve": ("s3", "s5"), "probe": ("s08", "s09")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("BlockName=a Nodes=s[1-\n", r"placement\.conf:1: .*bracket without its other half"),
        ("BlockName=a Nodes=s1\nBlockName=a Nodes=s2\n", r'placement\.conf:2: "a" is named twice'),
        ("BlockName=a Nodes=s1 # ranks s[3-1]\n", r'placement\.conf:1: "3-1" is not a number or a range'),
        ("SwitchName=top Switches=leaf0\n", "no line with the name of a job and its nodes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(content: str, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        read_jobs(text(content))
