"""The data plane of a lab that stands in the system: opened for its plan, or led over to another one while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testbed import emulation
from testbed.emulation import Emulation
from testbed.kernel_part import KernelPart
from testbed.link_desk import LinkDesk
from testbed.owned import Document, Fabric, LabDriver, OwnedLab
from testbed.progress import BuildProgress
from testbed.topology import Lab

MakeFabric = Callable[[str, int, str], Fabric]
"""Opens a data plane for a plan, a dilation and attachments."""


def open_lab(
    driver: LabDriver,
    make_fabric: MakeFabric,
    plan: Document,
    native: Sequence[int],
    dilation: int,
    lab: Lab | None,
    progress: BuildProgress,
) -> OwnedLab:
    """Build the lab of a plan and open its data plane, for what the kernel does not do itself.

    `lab`, without which its links cannot be changed later, is what the plan is of; of the links in `native` the data plane
    imposes all. On an error the data plane is closed; what was built stays.
    """
    built = emulation.with_native(plan, native)
    emulations = driver.emulations(built, dilation)
    attachments = driver.deploy(built, dilation, progress)
    progress.begin("data plane", len(attachments))
    part = _kernel_part(driver, plan, dilation, emulations)
    try:
        fabric = make_fabric(_own(plan, emulations), dilation, _places(attachments))
        present = OwnedLab(plan, dilation, fabric, part)
        if lab is not None:
            present.links = LinkDesk(lab, fabric, driver, part, emulations, dilation)
        return present
    except BaseException:
        part.close()
        raise


def lead_over(
    driver: LabDriver,
    present: OwnedLab,
    plan: Document,
    native: Sequence[int],
    lab: Lab | None,
    progress: BuildProgress,
) -> None:
    """Make a lab with its data plane that of another plan. Links are as planned then, whatever was done to them by hand.

    After an error it is neither the one nor the other.
    """
    dilation = present.dilation
    built = emulation.with_native(plan, native)
    emulations = driver.emulations(built, dilation)
    attachments = driver.reconcile(built, present.plan, dilation, progress)
    progress.begin("data plane", len(attachments))
    part = _kernel_part(driver, plan, dilation, emulations)
    try:
        present.fabric.replace(_own(plan, emulations), _places(attachments))
    except BaseException:
        part.close()
        raise
    present.part.close()
    present.plan, present.part = plan, part
    desk = None if lab is None else LinkDesk(lab, present.fabric, driver, part, emulations, dilation)
    present.links = desk


def _kernel_part(driver: LabDriver, plan: Document, dilation: int, emulations: Sequence[Emulation]) -> KernelPart:
    netem = any(link.mode == "netem" for link in emulations)
    return KernelPart(plan, dilation, emulations, driver.counters(str(plan["lab"])) if netem else None)


def _own(plan: Document, emulations: Sequence[Emulation]) -> str:
    return json.dumps(emulation.for_netem(plan, emulations))


def _places(attachments: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(list(attachments))
