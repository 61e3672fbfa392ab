"""What a job does to the links in an iteration: when it communicates, and which share of each link that takes. Pure.

The estimate is for a job alone: a step takes as long as its messages take one behind the other, each waiting for what it
requires and for its port, or as its busiest link where that is longer. Equal paths carry equal shares. In a run, messages that
leave by one port at a time share it, so that trees take longer than the estimate; pauses are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heappop, heappush

from testbed.errors import ExperimentError
from testbed.experiment import jobs as experiment_jobs
from testbed.experiment.file import Experiment
from testbed.lab.hosts import Host
from testbed.lab.ranks import Rank
from testbed.lab.topology import Link
from testbed.plan.jobs import all_ranks, plan_step
from testbed.plan.packets import Hop, alone_ps, paths_between, wire_bytes
from testbed.plan.queue_pairs import Ends, QueuePairs, Talk
from testbed.plan.routing import Routing
from testbed.plan.workload import queue_pairs_of
from testbed.scheduling.interface import Cluster, Request
from testbed.traffic import Send
from testbed.traffic.program import CHANNELS, Part, Step, channels_of_steps
from testbed.traffic.schedule import build_graph
from testbed.units import serialisation_ps

Wire = tuple[str, int]
"""One direction of a link: the node that sends, and its port."""


@dataclass(frozen=True)
class Burst:
    """Communication of an iteration, in ps from its start, and the share of each wire that it takes meanwhile."""

    start_ps: int
    end_ps: int
    shares: Mapping[Wire, float]


@dataclass(frozen=True)
class Rhythm:
    """The bursts of an iteration, and how long it takes alone. A trace has none: it is not analysed."""

    period_ps: int
    bursts: tuple[Burst, ...] = ()

    @property
    def communication_ps(self) -> int:
        """How long the bursts of an iteration are together."""
        return sum(burst.end_ps - burst.start_ps for burst in self.bursts)


def rhythms(cluster: Cluster, jobs: Sequence[Request]) -> list[Rhythm]:
    """Return the rhythm of each of some jobs, all of which have their ranks.

    Raises ExperimentError for ranks that have no path, and for a step that so many ranks cannot do.
    """
    return _Estimate(cluster, jobs).rhythms()


@dataclass(frozen=True)
class _Message:
    """A message between two ranks of the schedule, by its queue pair's channel, and its length."""

    source: int
    target: int
    channel: int
    length: int

    @property
    def talk(self) -> Talk:
        return Talk(min(self.source, self.target), max(self.source, self.target), self.channel)


@dataclass(frozen=True)
class _Estimate:
    """Jobs on a cluster, their steps, and the paths of their messages."""

    cluster: Cluster
    jobs: Sequence[Request]

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment as if these were its jobs."""
        jobs = [request.job.model_copy(update={"ranks": tuple(map(str, request.ranks))}) for request in self.jobs]
        return self.cluster.experiment.model_copy(update={"jobs": tuple(jobs), "placement": None})

    @cached_property
    def ranks(self) -> Mapping[Rank, int]:
        return {rank: number for number, rank in enumerate(all_ranks(request.ranks for request in self.jobs))}

    @cached_property
    def steps(self) -> list[list[Step]]:
        """The steps of each job, of lengths alone and their messages whole; none of a trace."""
        lengths = [replace(each, job=each.job.model_copy(update={"payload": False})) for each in self.jobs]
        return [
            [self._step(each, position, step) for position, step in enumerate(each.job.program)] for each in lengths
        ]

    def _step(self, request: Request, position: int, step: experiment_jobs.Step) -> Step:
        try:
            # There may be more slices than memory holds; whole messages do for an estimate.
            return plan_step(request.job, step.model_copy(update={"slice": None}), request.ranks)[0]
        except ValueError as error:
            experiment = self.cluster.experiment
            number = [job.name for job in experiment.jobs].index(request.name)
            raise ExperimentError([experiment.fault(("jobs", number, "program", position), str(error))]) from None

    @cached_property
    def channels(self) -> list[list[tuple[int, ...]]]:
        """The channels of each step of each job."""
        return [channels_of_steps(each.job.channels) for each in self.jobs]

    @cached_property
    def routing(self) -> Routing:
        return Routing(self.cluster.lab)

    @cached_property
    def hosts(self) -> Mapping[int, Host]:
        hosts = {host.name: host for host in self.cluster.lab.hosts}
        return {number: hosts[rank.host] for rank, number in self.ranks.items()}

    @cached_property
    def pairs(self) -> QueuePairs:
        talks = {
            message.talk
            for number, steps in enumerate(self.steps)
            for position, step in enumerate(steps)
            for part in step.parts
            for messages in self._messages(number, position, part)
            for message in messages.values()
        }
        return queue_pairs_of(self.cluster.lab, self.experiment, sorted(talks))

    def _messages(self, job: int, position: int, part: Part) -> Iterator[dict[int, _Message]]:
        """Yield for each rank of a part its messages, by the index of their op."""
        channels = self.channels[job][position]
        numbers = [self.ranks[self.jobs[job].ranks[member]] for member in part.ranks]
        for place, ranked in enumerate(part.schedule.ranks):
            yield {
                index: _Message(numbers[place], numbers[op.peer], job * CHANNELS + channels[op.channel], op.bytes)
                for index, op in enumerate(ranked.ops)
                if isinstance(op, Send)
            }

    def rhythms(self) -> list[Rhythm]:
        return [self._rhythm(number) for number in range(len(self.jobs))]

    def _rhythm(self, job: int) -> Rhythm:
        line, ends, bursts = 0, list[int](), list[Burst]()
        for position, step in enumerate(self.steps[job]):
            begin = line
            if step.after is not None:
                begin = max((ends[earlier] for earlier in step.after), default=0)
                begin = begin if step.parts or step.compute_ps is not None else max(line, begin)
            duration = step.compute_ps or 0
            if step.parts:
                burst = self._burst(job, position, begin)
                duration = burst.end_ps - begin
                bursts.append(burst)
            ends.append(begin + duration)
            line = line if step.beside else ends[-1]
        return Rhythm(max([line, *ends]), tuple(burst for burst in bursts if burst.end_ps > burst.start_ps))

    def _burst(self, job: int, position: int, begin: int) -> Burst:
        """Return the communication of one step, of all its groups together."""
        step = self.steps[job][position]
        loads: defaultdict[Wire, float] = defaultdict(float)
        rates: dict[Wire, int] = {}
        longest = flight = 0
        for part in step.parts:
            messages = list(self._messages(job, position, part))
            longest = max(longest, self._chain_ps(part, messages))
            for message in (each for group in messages for each in group.values()):
                length = wire_bytes(message.length, self.experiment.transport)
                for ends in filter(None, self._ends(message)):
                    for wire, (share, link) in self._wires(ends).items():
                        loads[wire] += share * length / self.pairs.each
                        rates[wire] = link.rate_bps
                flight = max(flight, self._flight_ps(message))
        busy = {wire: load * 8 * 10**12 / rates[wire] for wire, load in loads.items()}
        duration = max(longest, round(max(busy.values(), default=0)) + (flight if busy else 0))
        return Burst(begin, begin + duration, {wire: time / duration for wire, time in busy.items() if time})

    def _chain_ps(self, part: Part, messages: Sequence[Mapping[int, _Message]]) -> int:
        """Return how long a part takes where messages wait for what they require, and in turn for the port that they leave by."""
        graph = build_graph(part.schedule)
        places = [(rank, index) for rank, ranked in enumerate(part.schedule.ranks) for index in range(len(ranked.ops))]
        sent = [messages[rank].get(index) for rank, index in places]
        # Messages of one queue pair follow each other; that is what the port is for.
        waits = [
            [other for other in before if node < graph.total_ops or other < graph.total_ops]
            for node, before in enumerate(graph.before)
        ]
        after: list[list[int]] = [[] for _ in waits]
        for node, before in enumerate(waits):
            for other in before:
                after[other].append(node)
        missing = list(map(len, waits))
        due = [(0, node, False) for node, count in enumerate(missing) if count == 0]
        free: defaultdict[object, int] = defaultdict(int)
        last = 0
        while due:
            now, node, is_under_way = heappop(due)
            message = sent[node % graph.total_ops]
            if message is not None and not is_under_way:
                landing = node >= graph.total_ops
                ends = self._ends(message)[0]
                port = message.source if ends is None else ends.a
                begin = max(now, free[port]) if landing else now
                if landing:
                    free[port] = begin + self._line_ps(message)
                heappush(due, (begin + (self._alone_ps if landing else self._flight_ps)(message), node, True))
                continue
            last = now
            for follower in after[node]:
                missing[follower] -= 1
                if missing[follower] == 0:
                    heappush(due, (now, follower, False))
        return last

    def _ends(self, message: _Message) -> list[Ends | None]:
        """Return the ports of the queue pairs of a message, its source first."""
        pairs = (self.pairs.ends[number] for number in self.pairs.numbers[message.talk])
        turned = message.source > message.target
        return [Ends(ends.b, ends.a) if ends is not None and turned else ends for ends in pairs]

    def _path(self, message: _Message) -> Sequence[Hop] | None:
        ends = self._ends(message)[0]
        return None if ends is None else paths_between(self.routing, *ends)[0]

    def _alone_ps(self, message: _Message) -> int:
        path = self._path(message)
        if path is None:
            local = self.hosts[message.source].local
            assert local is not None
            return local.latency_ps + serialisation_ps(message.length, local.rate_bps)
        return alone_ps(message.length, path, self.experiment.transport)

    def _line_ps(self, message: _Message) -> int:
        path = self._path(message)
        if path is None:
            local = self.hosts[message.source].local
            assert local is not None
            return serialisation_ps(message.length, local.rate_bps)
        length = wire_bytes(message.length, self.experiment.transport)
        return serialisation_ps(length, min(hop.rate_bps for hop in path))

    def _flight_ps(self, message: _Message) -> int:
        """Return how long light takes on the path of a message, which an acknowledgement takes back."""
        return sum(hop.delay_ps for hop in self._path(message) or ())

    def _wires(self, ends: Ends) -> dict[Wire, tuple[float, Link]]:
        """Return the wires between two ports, each with the share of the traffic that it carries."""
        (host, port), (far, last_port) = ends
        first, last = self.routing.adjacent[host][port], self.routing.adjacent[far][last_port]
        wires: dict[Wire, tuple[float, Link]] = {(host, port): (1.0, first.link)}
        if first.link is last.link:
            return wires
        ways = self.routing.towards(ends.b)
        flow = defaultdict(float, {first.node: 1.0})
        # A switch comes after all that it forwards to.
        for node in reversed(ways):
            for way in ways[node] if flow[node] else ():
                share = flow[node] / len(ways[node])
                wires[node, way.port] = (share, way.link)
                flow[way.node] += share
        end = next(way.port for way in self.routing.adjacent[last.node] if way.link is last.link)
        wires[last.node, end] = (1.0, last.link)
        return wires
