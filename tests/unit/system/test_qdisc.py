"""What is asked of the kernel so that an interface has a queueing discipline, given what it has."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import cast

from pyroute2.netlink.rtnl import RTM_DELQDISC, RTM_NEWQDISC, RTM_NEWTCLASS, TC_H_ROOT  # type: ignore[import-untyped]

from testbed.system import netem, qdisc
from testbed.system.netlink import Message, Netlink, attribute

INDEX = 101


class Interface:
    """A netlink socket in a namespace whose one interface has these disciplines: (kind, handle, parent)."""

    def __init__(self, *there: tuple[str, int, int]) -> None:
        self.there = there
        self.asked: list[int] = []

    def query(self, _message: Message) -> list[tuple[int, bytes]]:
        return [
            (RTM_NEWQDISC, struct.pack("=BxxxiIII", 0, INDEX, handle, parent, 0) + attribute(1, kind.encode() + b"\0"))
            for kind, handle, parent in self.there
        ]

    def apply(self, messages: Sequence[Message]) -> None:
        self.asked += [struct.unpack_from("=IH", message.data)[1] for message in messages]

    def set(self, wanted: qdisc.Qdisc) -> list[int]:
        qdisc.set_qdisc(cast(Netlink, self), INDEX, wanted)
        return self.asked


NETEM = (netem.KIND, netem.HANDLE, TC_H_ROOT)
SHAPER = qdisc.htb(1_000_000, 1500)


def test_a_netem_that_is_there_keeps_the_frames_inside() -> None:
    assert Interface(NETEM).set(netem.qdisc(netem.Netem(delay_ns=7))) == [RTM_NEWQDISC]


def test_a_shaper_below_a_netem_keeps_what_waits() -> None:
    below = ("htb", qdisc.SHAPER_HANDLE, netem.HANDLE | 1)
    asked = Interface(NETEM, below).set(netem.qdisc(netem.Netem(delay_ns=7), SHAPER))
    assert asked == [RTM_NEWQDISC, RTM_NEWTCLASS, RTM_NEWQDISC]


def test_another_kind_takes_the_place_of_what_is_there() -> None:
    assert Interface(("htb", qdisc.SHAPER_HANDLE, TC_H_ROOT)).set(netem.qdisc(netem.Netem()))[0] == RTM_DELQDISC
    assert Interface(("noqueue", 0, TC_H_ROOT)).set(netem.qdisc(netem.Netem())) == [RTM_NEWQDISC]
