"""Queue pairs of a schedule: which ranks talk, on which ports of their hosts, and what spreads them over equal paths.

A queue pair belongs to two ranks and a channel. Ranks of one host copy by memory where the host can; ranks of one domain
use its scale-up ports; all others use scale-out ports. Among those a rule chooses: the port at home with the rank, that of
the channel, one by a hash of the ports that reach the peer, or the ports that the experiment states.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from testbed.contract import workload as planned
from testbed.errors import ExperimentError
from testbed.experiment.file import Experiment
from testbed.lab.hosts import Fabric, Host
from testbed.lab.paths import Target
from testbed.lab.ranks import Rank
from testbed.lab.topology import Lab
from testbed.plan.addressing import stable_hash
from testbed.plan.compile import dscp_of
from testbed.plan.routing import PathCosts
from testbed.schema.fields import AUTO
from testbed.traffic import Recv, Schedule, Send
from testbed.traffic.program import CHANNELS

FIRST_QPN = 17  # 0 and 1 are reserved, and small numbers are left to management as RDMA stacks do
MOST = 2**24 - FIRST_QPN  # a queue pair's number has 24 bits
FIRST_ENTROPY = 49_152  # the dynamic UDP ports, RFC 6335; RoCEv2 puts a flow's entropy in its source port
ENTROPY_PORTS = 16_384
_OWN_PRIORITY = 2**20  # more lanes than two ranks can have: above it channels name the priority of their flows


class Talk(NamedTuple):
    """Two ranks that exchange messages on a channel, the lower one first; of one direction, the sender first."""

    a: int
    b: int
    channel: int = 0


class Ends(NamedTuple):
    """The ports of a queue pair, of the host of either rank."""

    a: Target
    b: Target


def channel_of(lane: int, priority: int | None) -> int:
    """Return the channel of a lane of flows between two ranks that have a priority of their own, or that of the run."""
    return lane if priority is None else lane + (priority + 1) * _OWN_PRIORITY


def sends_of(schedule: Schedule) -> set[Talk]:
    """Return which rank sends to which on a channel."""
    talks = {Talk(*talk) for talk in schedule.talks}
    for rank, ranked in enumerate(schedule.ranks):
        for op in ranked.ops:
            if isinstance(op, Send):
                talks.add(Talk(rank, op.peer, op.channel))
            elif isinstance(op, Recv):
                talks.add(Talk(op.peer, rank, op.channel))
    return talks


def talks_of(sends: Iterable[Talk]) -> list[Talk]:
    """Return the pairs of ranks that exchange messages, by channel, in ascending order."""
    return sorted({_lower_first(talk) for talk in sends})


def _lower_first(talk: Talk) -> Talk:
    return Talk(min(talk.a, talk.b), max(talk.a, talk.b), talk.channel)


@dataclass(frozen=True)
class QueuePairs:
    """The queue pairs of ranks that talk, `transport.qps` for each two of them; `sends` says which sends to which.

    Raises ExperimentError, when asked, where two ranks have no path, or a port that was stated is not there.
    """

    lab: Lab
    experiment: Experiment
    ranks: Sequence[Rank]
    sends: Collection[Talk]
    costs: PathCosts
    _reach: dict[tuple[str, str, Fabric], list[Ends]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.talks) * self.each > MOST:
            message = f"{len(self.talks)} pairs of ranks talk"
            message += f", each by {self.each} queue pairs" if self.each > 1 else ""
            message += f"; a fabric numbers {MOST} queue pairs"
            raise ExperimentError([self.experiment.fault(("workload", "ranks"), message)])

    @cached_property
    def talks(self) -> list[Talk]:
        """The ranks that talk, each two of a channel once."""
        return talks_of(self.sends)

    @property
    def each(self) -> int:
        """The queue pairs of every two ranks that talk on a channel."""
        return self.experiment.transport.qps

    @cached_property
    def ends(self) -> list[Ends | None]:
        """The ports of each queue pair; None for two ranks that copy by memory."""
        return [self._choose(talk, number) for talk in self.talks for number in range(self.each)]

    @cached_property
    def numbers(self) -> Mapping[Talk, range]:
        """The indices of the queue pairs of every two ranks that talk."""
        return {talk: range(index * self.each, (index + 1) * self.each) for index, talk in enumerate(self.talks)}

    def flows(self) -> Iterator[Ends]:
        """Yield for each queue pair, and each direction in which data is sent, its ports, the sender's first."""
        for talk, numbers in self.numbers.items():
            for ends in filter(None, self.ends[numbers.start : numbers.stop]):
                if talk in self._sent:
                    yield ends
                if Talk(talk.b, talk.a, talk.channel) in self._sent:
                    yield Ends(ends.b, ends.a)

    @cached_property
    def _sent(self) -> frozenset[Talk]:
        return frozenset(self.sends)

    def compiled(self) -> list[planned.QueuePair]:
        """Return the queue pairs as a workload has them."""
        pairs: list[planned.QueuePair] = []
        each = [(talk, number) for talk in self.talks for number in range(self.each)]
        for index, ((talk, number), ends) in enumerate(zip(each, self.ends, strict=True)):
            entropy = self._entropy(talk, number)
            pair: planned.QueuePair = {"a": talk.a, "b": talk.b, "qpn": FIRST_QPN + index, "entropy": entropy}
            if ends is None:
                pair["local"] = True
            elif ends.a[1] or ends.b[1]:
                pair["ports"] = [ends.a[1], ends.b[1]]
            priority = self.priority_of(talk)
            if ends is not None and priority != self.experiment.lossless.priority:
                pair["priority"], pair["dscp"] = priority, dscp_of(self.lab, priority)
            pairs.append(pair)
        return pairs

    def priority_of(self, talk: Talk) -> int:
        """Return the priority of what two ranks say on a channel: that of its job or flow, or of the run."""
        jobs = self.experiment.jobs
        own = jobs[talk.channel // CHANNELS].priority if jobs else None
        if self.experiment.flows is not None and talk.channel >= _OWN_PRIORITY:
            own = talk.channel // _OWN_PRIORITY - 1
        return self.experiment.lossless.priority if own is None else own

    def _entropy(self, talk: Talk, number: int) -> int:
        listed = self.experiment.transport.entropy
        if not isinstance(listed, str):
            return listed[(talk.channel * self.each + number) % len(listed)]
        return FIRST_ENTROPY + self._hash("entropy", talk, number) % ENTROPY_PORTS

    def _hash(self, what: str, talk: Talk, number: int) -> int:
        further = (talk.channel, number) if number else (talk.channel,) if talk.channel else ()
        return stable_hash(what, self.experiment.seed, talk.a, talk.b, *further)

    def host(self, name: str) -> Host:
        """Return a host of the lab."""
        return self._hosts[name]

    def _host(self, rank: int) -> Host:
        return self._hosts[self.ranks[rank].host]

    @cached_property
    def _hosts(self) -> Mapping[str, Host]:
        return {host.name: host for host in self.lab.hosts}

    @cached_property
    def _channels(self) -> int:
        return 1 + max((talk.channel for talk in self.talks), default=0)

    def _choose(self, talk: Talk, number: int) -> Ends | None:
        hosts = a, b = self._host(talk.a), self._host(talk.b)
        if a is b and a.local is not None:
            return None
        inside = a.domain is not None and a.domain == b.domain and all(host.scale_up for host in hosts)
        fabric: Fabric = "scale-up" if inside else "scale-out"
        if any(not host.ports(fabric) for host in hosts):
            raise self._no_path(
                talk, f"{next(host.name for host in hosts if not host.ports(fabric))} has no {fabric} port"
            )
        rule = self.experiment.transport.port
        if fabric == "scale-out" and not isinstance(rule, str):
            return self._stated(talk, rule[number % len(rule)])
        if fabric == "scale-up":
            rule = "hash" if rule == "hash" else AUTO
        chosen = self._by_rule(str(rule), talk, fabric)
        if len(chosen) > 1:
            return chosen[self._hash("port", talk, number) % len(chosen)]
        return chosen[0]

    def _by_rule(self, rule: str, talk: Talk, fabric: Fabric) -> Sequence[Ends]:
        """Return the ports among which the hash decides; one, if the rule itself has."""
        hosts = self._host(talk.a), self._host(talk.b)
        counts = [len(host.ports(fabric)) for host in hosts]
        # Channels of jobs are for steps that run beside each other, not for rails, unless they are those of rings.
        of_rings = bool(self._rings(talk)) if self.experiment.jobs else self._channels > 1
        if rule == AUTO and fabric == "scale-out" and of_rings:
            rule = "channel"
        if rule == AUTO:
            agree = all(count == host.accelerators for count, host in zip(counts, hosts, strict=True))
            rule = "rail" if agree else "hash"
        if rule == "hash":
            return self._reached(talk, fabric)
        ranks = self.ranks[talk.a], self.ranks[talk.b]
        names = [host.home(rank.accelerator, fabric) for host, rank in zip(hosts, ranks, strict=True)]
        if rule == "channel":
            ring = self._rings(talk).get(talk.channel % CHANNELS, talk.channel)
            names = [host.ports(fabric)[ring % count] for host, count in zip(hosts, counts, strict=True)]
        wanted = Ends(*(self._target(host.name, name) for host, name in zip(hosts, names, strict=True)))
        if self.costs.between(*wanted) is not None:
            return [wanted]
        reached = self._reached(talk, fabric)
        return [ends for ends in reached if ends.a == wanted.a or ends.b == wanted.b] or reached

    def _rings(self, talk: Talk) -> Mapping[int, int]:
        """Return which ring the channels of a job are for; none where no step of it has several, and without jobs."""
        return self._rings_of_jobs[talk.channel // CHANNELS] if self.experiment.jobs else {}

    @cached_property
    def _rings_of_jobs(self) -> Sequence[Mapping[int, int]]:
        return [job.rings for job in self.experiment.jobs]

    def _reached(self, talk: Talk, fabric: Fabric) -> list[Ends]:
        """Return the ports of one fabric by which two hosts reach each other."""
        a, b = self._host(talk.a), self._host(talk.b)
        key = (a.name, b.name, fabric)
        if key not in self._reach:
            pairs = (
                Ends(self._target(a.name, one), self._target(b.name, other))
                for one in a.ports(fabric)
                for other in b.ports(fabric)
            )
            self._reach[key] = [ends for ends in pairs if ends.a != ends.b and self.costs.between(*ends) is not None]
        if not self._reach[key]:
            raise self._no_path(talk)
        return self._reach[key]

    def _stated(self, talk: Talk, port: str) -> Ends:
        hosts = self._host(talk.a), self._host(talk.b)
        for host in hosts:
            if port not in host.scale_out:
                message = f"{host.name} has no scale-out port {port}; it has {', '.join(host.scale_out)}"
                raise ExperimentError([self.experiment.fault(("transport", "port"), message)])
        ends = Ends(*(self._target(host.name, port) for host in hosts))
        if ends.a == ends.b or self.costs.between(*ends) is None:
            message = f"no path between {hosts[0].name}:{port} and {hosts[1].name}:{port}"
            raise ExperimentError([self.experiment.fault(("transport", "port"), message)])
        return ends

    def _target(self, host: str, port: str) -> Target:
        return host, self._port_numbers[host][port]

    @cached_property
    def _port_numbers(self) -> Mapping[str, Mapping[str, int]]:
        hosts: Iterable[str] = (host.name for host in self.lab.hosts)
        return {host: {port: number for number, port in enumerate(self.lab.ports[host])} for host in hosts}

    def _no_path(self, talk: Talk, why: str = "") -> ExperimentError:
        message = f"no path between {self.ranks[talk.a]} and {self.ranks[talk.b]}{why and f': {why}'}"
        return ExperimentError([self.experiment.fault(("workload",), message)])
