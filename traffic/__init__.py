"""What is sent: collectives as schedules of send, recv, reduce and calc. Imports nothing from testbed."""

from traffic.collective import Collective, Shape, count_wrong
from traffic.point_to_point import INCAST, PERMUTATION, permutation
from traffic.ring_all_reduce import RING_ALL_REDUCE
from traffic.schedule import Calc, RankSchedule, Recv, Reduce, Schedule, Send, simulate

COLLECTIVES: dict[str, Collective] = {
    collective.name: collective for collective in (RING_ALL_REDUCE, INCAST, PERMUTATION)
}
"""Every collective by its name on the command line."""

__all__ = [
    "COLLECTIVES",
    "Calc",
    "Collective",
    "RankSchedule",
    "Recv",
    "Reduce",
    "Schedule",
    "Send",
    "Shape",
    "count_wrong",
    "permutation",
    "simulate",
]
