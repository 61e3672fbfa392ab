"""The data plane of a lab of namespaces, opened on the plan of a test without an agent."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testbed._dataplane import RealFabric
from testbed.drivers.netns import NetnsDriver


@contextmanager
def forwarding(plan: Any, dilation: int, shaped: int | None = None) -> Iterator[RealFabric]:
    """Deploy a lab and let its data plane forward; its kernels are shaped for a dilation of their own where one is given."""
    driver = NetnsDriver()
    attachments = driver.deploy(plan, shaped or dilation)
    try:
        fabric = RealFabric(json.dumps(plan), dilation, json.dumps(attachments))
        try:
            yield fabric
        finally:
            fabric.close()
    finally:
        driver.destroy(plan["lab"])
