"""Who imposes a link, what netem is asked for, and how its losses come into the report."""

import copy
import json
import threading
from typing import Any

import pytest

from testbed.agent.kernel_part import KernelPart
from testbed.drivers import emulation
from testbed.drivers.emulation import Backlog, Emulation
from testbed.errors import HostError
from testbed.optics.loss import Codewords
from testbed.system import netem
from testbed.system.netem import GilbertElliott

CODEWORDS = {"kind": "codewords", "per_second": 10.0, "burst_ps": 51_200, "rate_bps": 10**11}
BURSTS = {"kind": "gilbert-elliott", "enter": 0.01, "leave": 0.25, "loss_good": 0.0, "loss_bad": 1.0}


def make_plan(asked: str | None = None, **link: Any) -> dict[str, Any]:
    """Return two switches, and a link between them."""
    ports = [{"name": "eth1", "rate_bps": 10**11}]
    return {
        "lab": "two",
        "seed": 7,
        **({"emulation": asked} if asked else {}),
        "nodes": [{"name": name, "ports": ports} for name in "ab"],
        "links": [{"a": [0, 0], "b": [1, 0], "delay_ps": 400_000_000, "loss": [0.0, 0.0], "medium": "veth"} | link],
    }


def choose(plan: dict[str, Any], there: bool = True, dilation: int = 1000) -> Emulation:
    return emulation.choose(plan, dilation, lambda: there)[0]


def test_netem_is_taken_where_it_is_and_not_insisted_on() -> None:
    assert choose(make_plan()) == choose(make_plan("netem")) == Emulation("netem")
    assert choose(make_plan("native")).mode == "native"
    assert choose(make_plan(), there=False) == Emulation("native", "this kernel does not have sch_netem")
    with pytest.raises(HostError, match="sch_netem") as caught:
        choose(make_plan("netem"), there=False)
    assert caught.value.exit_code == 3


def test_a_kernel_is_not_probed_for_native_links() -> None:
    def probe() -> bool:
        raise AssertionError("nobody asked")

    assert emulation.choose(make_plan("native"), 1, probe)[0].mode == "native"


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ({"medium": "memory"}, "no interface"),
        ({"loss": [1e-11, 0.0]}, "quantum"),
        ({"loss": [0.0, 1e-11]}, "quantum"),
        ({"loss_process": [None, CODEWORDS]}, "codewords"),
        ({"delay_ps": 10**17}, "dilate"),
    ],
)
def test_what_netem_cannot_do_stays_native(link: dict[str, Any], reason: str) -> None:
    emulation = choose(make_plan("netem", **link))
    assert emulation.mode == "native" and reason in emulation.reason


def test_codewords_that_never_fail_do_not_matter() -> None:
    process = {**CODEWORDS, "per_second": 1e-20}
    plan = make_plan(loss_process=[process, process])
    assert choose(plan).mode == "netem"
    assert emulation.settings(plan, 0, 0, 1000).loss == 0.0


def test_the_longest_frame_decides_whether_codewords_matter() -> None:
    """An MTU of 4200 makes frames of 4218 bytes, of which a few more are lost than of those of 4200."""
    process = {**CODEWORDS, "per_second": 2.5773e-6}
    share = Codewords(process["per_second"], process["burst_ps"], process["rate_bps"]).frame_loss
    assert share(4200) < 1e-12 < share(4218)
    emulation = choose(make_plan("netem", loss_process=[process, None]))
    assert emulation.mode == "native" and "codewords" in emulation.reason


def test_the_wall_sees_nominal_times_stretched() -> None:
    settings = emulation.settings(make_plan(loss=[0.25, 0.5]), 0, 1, dilation=1000)
    assert (settings.delay_ns, settings.loss) == (400_000_000, 0.5)
    # 100 Mb/s of the wall for half a second, in smallest frames, and a thousand.
    assert settings.limit == 10**8 // 2 // (8 * 64) + 1 + 1000
    other = emulation.settings(make_plan(loss=[0.25, 0.5]), 0, 0, dilation=1000)
    assert other.loss == 0.25 and other.seed != settings.seed


def test_a_frame_is_lost_if_either_says_so() -> None:
    plan = make_plan(loss=[0.5, 0.5], loss_process=[{"kind": "bernoulli", "probability": 0.5}, BURSTS])
    assert emulation.settings(plan, 0, 0, 1).loss == 0.75
    assert emulation.settings(plan, 0, 1, 1).loss == GilbertElliott(0.01, 0.25, 1.0, 0.5)


def test_the_data_plane_imposes_nothing_twice() -> None:
    plan = make_plan("auto", loss=[0.5, 0.0], loss_process=[BURSTS, None], carrier=True)
    before = copy.deepcopy(plan)
    reduced = emulation.for_netem(plan, [Emulation("netem")])
    assert plan == before and "emulation" not in reduced
    link = {"a": [0, 0], "b": [1, 0], "delay_ps": 0, "loss": [0.0, 0.0], "medium": "veth", "carrier": True}
    # Said as well, so that nominal time does not wait for the frames inside.
    assert reduced["links"] == [link | {"emulation": "netem"}]
    assert emulation.for_netem(plan, [Emulation("native")])["links"] == plan["links"]


def test_a_change_leaves_alone_what_it_does_not_name() -> None:
    start = emulation.settings(make_plan(loss=[0.25, 0.0]), 0, 0, 1000)
    late = emulation.changed(start, {"delay_ps": 800_000_000}, 1000)
    assert (late.delay_ns, late.loss, late.seed) == (800_000_000, 0.25, start.seed)
    assert late.limit >= netem.limit_for(10**8, 800_000_000, 64)
    shaky = emulation.changed(late, {"jitter_ps": 2_000_000}, 1000)
    assert (shaky.delay_ns, shaky.jitter_ns) == (801_000_000, 1_000_000)
    assert emulation.nominal(shaky, 1000) == {
        "delay_ps": 800_000_000, "jitter_ps": 2_000_000, "loss_process": {"kind": "bernoulli", "probability": 0.25},
    }  # fmt: skip
    again = emulation.changed(shaky, {"delay_ps": 0, "loss_process": BURSTS}, 1000)
    assert (again.delay_ns, again.jitter_ns, again.loss) == (1_000_000, 1_000_000, GilbertElliott(0.01, 0.25))
    assert emulation.nominal(again, 1000)["loss_process"] == BURSTS
    assert again.limit >= shaky.limit  # frames that the longer delay let in may be inside
    assert emulation.nominal(emulation.changed(again, {"loss_process": None}, 1000), 1000)["loss_process"] is None
    for bad in ({"rate_bps": 1}, {"loss_process": CODEWORDS}):
        with pytest.raises(ValueError, match="netem"):
            emulation.changed(start, bad, 1000)


# The report


def make_report(sent: int, arrived: int, pauses: tuple[int, int] = (0, 0), turned_away: int = 0) -> dict[str, Any]:
    """Return a report in which `a` sent frames and pauses, and `b` got as many as said."""

    def port(frames_tx: int, frames_rx: int, pause_tx: int, pause_rx: int) -> dict[str, Any]:
        counters = {"frames_tx": frames_tx, "frames_rx": frames_rx, "pause_tx": pause_tx, "pause_rx": pause_rx}
        return {"priorities": {"3": {**counters, "drops": {"link": 0}}}}

    return {
        "ports": {"a:eth1": port(sent, 0, pauses[0], 0), "b:eth1": port(0, arrived, 0, pauses[1])},
        "conservation": {"sent": sent, "delivered": arrived, "dropped": 0, "in_flight": 0},
        "drops": {"link": 0, "lossless": 0, "lossy": 0},
        "fidelity": {"turned_away": {"a:eth1": turned_away} if turned_away else {}},
    }


def merge(report: dict[str, Any], lost: int, queued: int = 0, lossy: tuple[str, ...] = ("a:eth1",)) -> dict[str, Any]:
    return emulation.merge(report, make_plan(), [Emulation("netem")], {"a:eth1": Backlog(lost, queued)}, lossy)


def link_drops(report: dict[str, Any]) -> dict[str, int]:
    priorities = report["ports"]["a:eth1"]["priorities"]
    return {priority: counters["drops"]["link"] for priority, counters in priorities.items()}


def test_what_netem_lost_stands_at_the_port_that_sent_it() -> None:
    before = make_report(100, 97, pauses=(5, 4))
    report = merge(before, lost=4)
    assert link_drops(report) == {"3": 4} and report["drops"]["link"] == 4
    assert report["conservation"] == {"sent": 100, "delivered": 97, "dropped": 3, "in_flight": 0}
    assert report["fidelity"]["netem_overflow"] == 0
    assert report["fidelity"]["links"] == [{"ends": ["a:eth1", "b:eth1"], "emulation": "netem"}]
    assert before == make_report(100, 97, pauses=(5, 4))


def test_what_a_kernel_sent_and_netem_lost_is_lossy_traffic() -> None:
    report = merge(make_report(100, 99), lost=6)
    assert link_drops(report) == {"3": 1, "0": 5} and report["conservation"]["dropped"] == 1


def test_what_was_turned_away_and_sent_again_is_not_lost() -> None:
    report = merge(make_report(100, 98, turned_away=7), lost=9)
    assert link_drops(report) == {"3": 2}
    assert report["fidelity"]["netem_overflow"] == 7


def test_a_loss_without_an_impairment_is_overflow() -> None:
    assert merge(make_report(100, 98), lost=2, lossy=())["fidelity"]["netem_overflow"] == 2


def test_what_is_missing_and_not_lost_stays_missing() -> None:
    report = merge(make_report(100, 90), lost=2, queued=3)
    assert report["conservation"] == {"sent": 100, "delivered": 90, "dropped": 2, "in_flight": 3}


# The end of a workload


class Script:
    """Reports and counters that go on by one entry a look, the last one for ever."""

    def __init__(self, arrived: list[int], backlogs: list[Backlog]) -> None:
        self.arrived, self.backlogs, self.looks = arrived, backlogs, 0

    def report(self) -> str:
        self.looks += 1
        return json.dumps(make_report(100, self.arrived[min(self.looks, len(self.arrived)) - 1]))

    def read(self) -> dict[str, Backlog]:
        return {"a:eth1": self.backlogs[min(self.looks, len(self.backlogs)) - 1]}

    def close(self) -> None:
        """Nothing is open."""


def settle(script: Script) -> int:
    """Return how many looks it takes until a workload counts as over."""
    KernelPart(make_plan(), 1, [Emulation("netem")], script).settle(script, threading.Event())
    return script.looks


def test_frames_inside_netem_are_waited_for() -> None:
    assert settle(Script([100], [Backlog(0, 0)])) == 1
    assert settle(Script([98, 99, 100], [Backlog(0, 2), Backlog(0, 1), Backlog(0, 0)])) == 3


def test_lost_frames_are_not_waited_for() -> None:
    assert settle(Script([98], [Backlog(1, 1), Backlog(2, 0)])) == 3


class Losing:
    """The counters of a netem that loses on request."""

    def __init__(self) -> None:
        self.lost = 0

    def read(self) -> dict[str, Backlog]:
        return {"a:eth1": Backlog(self.lost, 0), "b:eth1": Backlog(0, 0)}

    def close(self) -> None: ...


def test_what_netem_lost_before_a_run_is_none_of_its_losses() -> None:
    counters = Losing()
    part = KernelPart(make_plan(loss=[0.1, 0.0]), 1, [Emulation("netem")], counters)
    counters.lost = 7
    part.begin_span()
    counters.lost = 9
    merged = part.complete(make_report(sent=100, arrived=98))
    assert merged["drops"]["link"] == 2 and link_drops(merged)["3"] == 2
    counters.lost = 12
    part.begin_span()
    assert part.complete(make_report(sent=100, arrived=100))["drops"]["link"] == 0
