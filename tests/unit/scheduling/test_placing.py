"""Where each policy places jobs: on labs of servers, leaves, rails, domains and sites."""

from __future__ import annotations

from collections import Counter

import pytest

from testbed.errors import ExperimentError
from testbed.experiment.file import experiment_from
from testbed.lab.topology import Lab, load_lab
from testbed.scheduling.schedule import scheduled
from testbed.schema.source import parse_yaml

RAILS = "rail:servers=4,accelerators=4,spines=1,domain=2"
CLOS = "clos:spines=1,leaves=3,hosts=4"
SITES = "multi-dc:sites=3,shape=chain,hosts=2"


def placed(lab: str | Lab, policy: str, *counts: int, seed: int = 1) -> list[list[str]]:
    """Return the ranks of jobs that ask for so many."""
    jobs = "".join(
        f"  - {{name: j{number}, ranks: {count}, program: [{{barrier: true}}]}}\n"
        for number, count in enumerate(counts)
    )
    text = f"topology: x\nseed: {seed}\nplacement: {policy}\njobs:\n{jobs}"
    loaded = load_lab(lab) if isinstance(lab, str) else lab
    experiment = scheduled(loaded, experiment_from(parse_yaml(text, "e.yaml", ExperimentError)))
    return [list(job.listed) for job in experiment.jobs]


def hosts(ranks: list[str]) -> Counter[str]:
    return Counter(rank.partition("/")[0] for rank in ranks)


def test_packed_takes_the_smallest_neighbourhood_with_room() -> None:
    # Four fill a server; six need both of a domain; three fit into what the six left of their servers, or a server of their own.
    four, six, two = placed(RAILS, "packed", 4, 6, 2)
    assert four == ["s1/0", "s1/1", "s1/2", "s1/3"]
    assert set(hosts(six)) == {"s3", "s4"}
    assert hosts(two) == {"s4": 2}, "the tightest server that has room"


def test_packed_keeps_to_a_leaf_where_there_are_no_domains() -> None:
    three, four, two = placed(CLOS, "packed", 3, 4, 2)
    assert [three, four, two] == [["h1", "h2", "h3"], ["h5", "h6", "h7", "h8"], ["h9", "h10"]]


def test_spread_takes_equal_shares_and_keeps_neighbours_in_their_order() -> None:
    six, three = placed(CLOS, "spread", 6, 3)
    assert six == ["h1", "h2", "h5", "h6", "h9", "h10"]
    assert three == ["h3", "h7", "h11"]
    (eight,) = placed(RAILS, "spread", 8)
    assert hosts(eight) == {"s1": 2, "s2": 2, "s3": 2, "s4": 2}


def test_round_robin_deals_neighbours_out_to_different_hosts() -> None:
    (six,) = placed(RAILS, "round-robin", 6)
    assert six == ["s1/0", "s2/0", "s3/0", "s4/0", "s1/1", "s2/1"]


def test_a_job_by_domain_leaves_the_others_whole() -> None:
    ten, six = placed(RAILS, "by-domain", 10, 6)
    assert hosts(ten) == {"s1": 4, "s2": 4, "s3": 2}
    assert hosts(six) == {"s3": 2, "s4": 4}
    small, large = placed(RAILS, "by-domain", 3, 8)
    assert hosts(small) == {"s1": 3} and hosts(large) == {"s3": 4, "s4": 4}


def test_a_job_by_rail_has_the_accelerators_of_one_number() -> None:
    four, eight = placed(RAILS, "by-rail", 4, 8)
    assert four == ["s1/0", "s2/0", "s3/0", "s4/0"]
    assert eight == [f"s{server}/{rail}" for rail in (1, 2) for server in range(1, 5)]


def test_random_places_follow_from_the_seed() -> None:
    one, again, other = (placed(RAILS, "random", 5, 7, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert len({rank for job in one for rank in job}) == 12


def test_a_job_that_no_site_holds_takes_the_nearest_ones() -> None:
    lab = load_lab("two-dc:hosts=4")
    three, four = placed(lab, "nearest-site", 3, 4)
    assert three == ["a1", "a2", "a3"] and four == ["b1", "b2", "b3", "b4"]
    (six,) = placed(lab, "nearest-site", 6)
    assert six == ["a1", "a2", "a3", "a4", "b1", "b2"]


def test_sites_in_a_chain_are_taken_by_their_distance() -> None:
    """The middle of a chain of four is one span from the first site, the last two."""
    lab = load_lab("multi-dc:sites=4,shape=chain,hosts=2,length=80km")
    taken, wide = placed(lab, "nearest-site", 2, 4)
    first = {host.name: host for host in lab.hosts}
    assert taken == list(first)[:2]
    assert wide == list(first)[2:6]


@pytest.mark.parametrize(
    "policy", ["packed", "spread", "round-robin", "random", "by-domain", "by-rail", "nearest-site"]
)
@pytest.mark.parametrize("lab", [RAILS, CLOS, "two-dc:hosts=6"])
def test_every_policy_fills_a_lab_with_jobs_that_share_nothing(policy: str, lab: str) -> None:
    jobs = placed(lab, policy, 5, 1, 4, 2)
    ranks = [rank for job in jobs for rank in job]
    assert list(map(len, jobs)) == [5, 1, 4, 2] and len(set(ranks)) == 12
