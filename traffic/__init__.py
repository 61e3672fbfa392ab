"""What is sent: collectives as schedules of send, recv, reduce, copy and calc. Imports nothing from testbed."""

from testbed.traffic.collective import Collective, Shape, count_wrong
from testbed.traffic.double_tree import DOUBLE_TREE_ALL_REDUCE
from testbed.traffic.halving_doubling import HALVING_DOUBLING_ALL_REDUCE
from testbed.traffic.hierarchical import HIERARCHICAL_ALL_REDUCE
from testbed.traffic.neighbours import BARRIER, SENDRECV
from testbed.traffic.parts import ALL_GATHER, ALL_TO_ALL, REDUCE_SCATTER
from testbed.traffic.point_to_point import INCAST, PERMUTATION, permutation
from testbed.traffic.ring_all_reduce import RING_ALL_REDUCE
from testbed.traffic.rooted import GATHER, SCATTER
from testbed.traffic.schedule import Calc, Copy, RankSchedule, Recv, Reduce, Schedule, Send, simulate
from testbed.traffic.trees import BROADCAST, REDUCE

_ALL = (
    RING_ALL_REDUCE,
    HALVING_DOUBLING_ALL_REDUCE,
    DOUBLE_TREE_ALL_REDUCE,
    HIERARCHICAL_ALL_REDUCE,
    ALL_GATHER,
    REDUCE_SCATTER,
    ALL_TO_ALL,
    BROADCAST,
    REDUCE,
    GATHER,
    SCATTER,
    SENDRECV,
    BARRIER,
    INCAST,
    PERMUTATION,
)

ALGORITHMS: dict[str, dict[str, Collective]] = {}
"""Every collective by its name on the command line and that of its algorithm; the first algorithm is the usual one."""
for _collective in _ALL:
    ALGORITHMS.setdefault(_collective.name, {})[_collective.algorithm] = _collective

COLLECTIVES: dict[str, Collective] = {name: next(iter(algorithms.values())) for name, algorithms in ALGORITHMS.items()}
"""Every collective with its usual algorithm."""

__all__ = [
    "ALGORITHMS",
    "COLLECTIVES",
    "Calc",
    "Collective",
    "Copy",
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
