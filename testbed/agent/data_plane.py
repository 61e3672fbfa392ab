"""The data plane of a lab that stands in the system: opened for its plan, or led over to another one while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from testbed.agent.kernel_part import KernelPart
from testbed.agent.lab import Fabric, LabDriver, OwnedLab
from testbed.agent.link_desk import LinkDesk
from testbed.contract.plan import Attachment, Plan
from testbed.contract.report import Loss
from testbed.drivers import emulation
from testbed.drivers.emulation import Emulation
from testbed.errors import HostError
from testbed.lab.topology import Lab
from testbed.plan.placement import agents_of, part_of
from testbed.progress import BuildProgress

MakeFabric = Callable[[str, int, str], Fabric]
"""Opens a data plane for a plan, a dilation and attachments."""

REST_S = 10
"""How long frames under way are waited for, in seconds of wall time."""
_QUIESCE_POLL_MS = 200
"""Each look waits so long at most: milliseconds, that the lab may be looked at in between."""


def open_lab(
    driver: LabDriver,
    make_fabric: MakeFabric,
    plan: Plan,
    native: Sequence[int],
    dilation: int,
    lab: Lab | None,
    progress: BuildProgress,
    agent: str = "",
) -> OwnedLab:
    """Build what `agent` has of the lab of a plan and open its data plane, for what the kernel does not do itself.

    `lab`, without which its links cannot be changed later, is what the plan is of; of the links in `native` the data plane
    imposes all. On an error the data plane is closed; what was built stays.
    """
    here = part_of(plan, agent)
    built = emulation.with_native(here, native)
    emulations = driver.emulations(built, dilation)
    attachments = driver.deploy(built, dilation, progress)
    progress.begin("data plane", len(attachments))
    with ExitStack() as opened:
        part = _kernel_part(driver, here, dilation, emulations)
        opened.callback(part.close)
        fabric = make_fabric(_own(here, emulations), dilation, _places(attachments))
        opened.callback(fabric.close)
        present = OwnedLab(
            plan, dilation, fabric, part, agent=agent, beats_port=_listen(fabric, plan, agent), native=native
        )
        if lab is not None:
            present.links = LinkDesk(lab, fabric, driver, part, emulations, dilation, built)
        opened.pop_all()
    return present


def lead_over(
    driver: LabDriver,
    present: OwnedLab,
    plan: Plan,
    native: Sequence[int],
    lab: Lab | None,
    progress: BuildProgress,
) -> list[Loss]:
    """Make a lab with its data plane that of another plan. Links are as planned then, whatever was done to them by hand;
    where the plan is the same, and only the system differed from it, they are as they were asked for.

    Frames under way arrive first; return what was lost all the same: {"port" (None: inside), "cause", "frames"}. After an
    error the lab is neither the one nor the other.
    """
    dilation = present.dilation
    here = part_of(plan, present.agent)
    built = emulation.with_native(here, native)
    emulations = driver.emulations(built, dilation)
    handover = Handover(present.fabric, present.part, _own(here, emulations), progress)
    driver.reconcile(built, part_of(present.plan, present.agent), dilation, progress, handover)
    part = _kernel_part(driver, here, dilation, emulations)
    try:
        with _data_plane_errors():
            lost = [*handover.lost, *json.loads(present.fabric.resume())]
    except BaseException:
        part.close()
        raise
    present.part.close()
    same = plan == present.plan
    present.plan, present.part, present.native = plan, part, native
    present.beats_port = _listen(present.fabric, plan, present.agent)
    desk = None if lab is None else LinkDesk(lab, present.fabric, driver, part, emulations, dilation, built)
    if desk is not None and present.links is not None and same:
        desk.take_over(present.links)
    present.links = desk
    return lost


class Handover:
    """What a data plane carries while its lab becomes that of another plan; a driver calls it when it comes to that."""

    def __init__(self, fabric: Fabric, part: KernelPart, plan: str, progress: BuildProgress) -> None:
        self.lost: list[Loss] = []
        self._fabric = fabric
        self._part = part
        self._plan = plan
        self._progress = progress

    def quiesce(self, leaving: Collection[tuple[str, str]]) -> None:
        """Take in nothing more from hosts, and wait until all that is under way has arrived, at most ten seconds."""
        deadline = time.monotonic() + REST_S
        ends = json.dumps(sorted(leaving))
        empty_before = False
        while time.monotonic() < deadline:
            with _data_plane_errors():
                empty = self._fabric.quiesce(ends, _QUIESCE_POLL_MS)
            empty = empty and not self._part.holds_frames()
            # Once more: what has just left netem is on its way through a socket.
            if empty and empty_before:
                return
            empty_before = empty

    def lose(self, port: str, cause: str, frames: int) -> None:
        """Write frames down as lost at a port, if there are any."""
        if frames:
            self.lost.append({"port": port, "cause": cause, "frames": frames})

    def replace(self, attachments: Sequence[Attachment]) -> None:
        """Go on with the other plan at these ports; hosts are not heard yet."""
        self._progress.begin("data plane", len(attachments))
        with _data_plane_errors():
            self._fabric.replace(self._plan, _places(attachments))


@contextmanager
def _data_plane_errors() -> Iterator[None]:
    """Turn what the system refuses a data plane into an error of ours, in its words."""
    try:
        yield
    except OSError as error:
        raise HostError(f"data plane: {error}") from error


def _listen(fabric: Fabric, plan: Plan, agent: str) -> int | None:
    """Open the socket by which the agents of a lab keep step; None where there is one alone."""
    if not agents_of(plan):
        return None
    with _data_plane_errors():
        return fabric.listen(plan["machines"][agent])


def _kernel_part(driver: LabDriver, plan: Plan, dilation: int, emulations: Sequence[Emulation]) -> KernelPart:
    netem = any(link.mode == "netem" for link in emulations)
    return KernelPart(plan, dilation, emulations, driver.counters(str(plan["lab"])) if netem else None)


def _own(plan: Plan, emulations: Sequence[Emulation]) -> str:
    return json.dumps(emulation.for_netem(plan, emulations))


def _places(attachments: Sequence[Attachment]) -> str:
    return json.dumps(list(attachments))
