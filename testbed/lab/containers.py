"""What a node can be given for when it is a container: an image and limits, in containerlab's words. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from testbed.schema.fields import FileModel, Size

DEFAULT_IMAGES: Mapping[str, str] = {"host": "testbed-host", "switch": "testbed-switch"}
"""What `testbed images build` makes, by kind of node."""

DEFAULT_MEMORY_BYTES = 1 << 30
SMALLEST_MEMORY_BYTES = 6 << 20  # what the engine itself insists on

# [host[:port]/]path[:tag][@digest], as the distribution reference grammar has it; an option it can never be.
_REFERENCE = re.compile(r"[a-z0-9][a-zA-Z0-9._:/-]{0,254}(@sha256:[0-9a-f]{64})?")


def _reference(text: str) -> str:
    if _REFERENCE.fullmatch(text) is None:
        raise ValueError(f'"{text[:60]}" is not the name of an image, like testbed-host:latest')
    return text


Image = Annotated[str, AfterValidator(_reference)]


class ContainerSettings(FileModel):
    """What a container is made with. `cpu` counts processors; without it a node may use all there are."""

    image: Image | None = None
    """Image of the container; left out, testbed-host or testbed-switch."""
    cpu: Annotated[float, Field(gt=0, le=1024)] | None = None
    """Processors that the container may use, fractions allowed; left out, all there are."""
    memory: Annotated[Size, Field(ge=SMALLEST_MEMORY_BYTES)] | None = None
    """Bytes of memory that the container may use; left out, 1 GiB."""


class Container(BaseModel):
    """What a node is as a container, resolved; a CPU limit of 0 is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    image: str
    cpu_millis: int = 0
    memory_bytes: int = DEFAULT_MEMORY_BYTES


def container_of(kind: str, *layers: ContainerSettings) -> Container:
    """Return the container of a node of a kind, later layers winning."""
    settings: dict[str, Any] = {}
    for layer in layers:
        settings |= layer.model_dump(exclude_none=True, include=set(ContainerSettings.model_fields))
    return Container(
        image=settings.get("image", DEFAULT_IMAGES[kind]),
        cpu_millis=round(1000 * settings.get("cpu", 0)),
        memory_bytes=settings.get("memory", DEFAULT_MEMORY_BYTES),
    )
