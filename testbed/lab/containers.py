"""What a node can be given for when it is a container: an image, limits, files, settings, in containerlab's words. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from testbed.lab.setup import (
    Bind,
    Capability,
    Command,
    Healthcheck,
    Published,
    Sysctls,
    Variables,
    parse_bind,
    parse_command,
    parse_published,
)
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


def _text(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "examples": [example]})


Image = Annotated[str, AfterValidator(_reference)]
BindText = Annotated[Bind, BeforeValidator(parse_bind), _text("frr.conf:/etc/frr/frr.conf:ro")]
PublishedText = Annotated[
    Published,
    BeforeValidator(parse_published),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["8080:80"]}),
]
CommandText = Annotated[Command, BeforeValidator(parse_command), _text("ip route add 10.0.0.0/8 dev eth1")]


class ContainerSettings(FileModel):
    """What a node is made with. All but `pid` is for containers; of namespaces it is left out.

    `cpu` counts processors; without it a node may use all there are. Of `env` and `sysctls` a node has what `kinds` and
    `defaults` say too; any other list of its own takes the place of theirs.
    """

    image: Image | None = None
    """Image of the container; left out, testbed-host or testbed-switch."""
    cpu: Annotated[float, Field(gt=0, le=1024)] | None = None
    """Processors that the container may use, fractions allowed; left out, all there are."""
    memory: Annotated[Size, Field(ge=SMALLEST_MEMORY_BYTES)] | None = None
    """Bytes of memory that the container may use; left out, 1 GiB."""
    pid: Literal["private", "shared"] | None = None
    """Processes that a node sees where it is a namespace: `private`, or the machine's; left out, `shared`."""
    binds: tuple[BindText, ...] | None = None
    """Files and directories of the machine that the container sees, each `SOURCE:TARGET[:ro]`; left out, none."""
    env: Variables | None = None
    """Environment of the programs of the container, by name; left out, that of its image."""
    exec: tuple[CommandText, ...] | None = None
    """Commands run in the container once the lab is up, each without a shell; left out, none."""
    cmd: CommandText | None = None
    """Command of the container and its arguments, without a shell; left out, that of its image."""
    entrypoint: CommandText | None = None
    """Program that `cmd` is given to, without a shell; left out, that of the image."""
    publish: tuple[PublishedText, ...] | None = None
    """TCP ports reached at the machine's, each `[[ADDRESS:]PORT:]TARGET`; `ports` takes such a list too; left out, none."""
    sysctls: Sysctls | None = None
    """Settings of the container's own network stack, below `net.`, by name; left out, those that it begins with."""
    cap_add: tuple[Capability, ...] | None = None
    """Capabilities beside CHOWN, NET_RAW, SETGID and SETUID that programs of the container may have; left out, none."""
    startup_config: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """File that the container sees where its image looks for its configuration, read-only; left out, there is none."""
    healthcheck: Healthcheck | None = None
    """How the engine tells whether the container is healthy; left out, as its image says."""

    @model_validator(mode="before")
    @classmethod
    def _ports_to_publish(cls, data: Any) -> Any:
        """Take a list of `ports` for what containerlab means by it; those of a host's fabrics are a mapping."""
        if not isinstance(data, dict) or not isinstance(data.get("ports"), list) or "publish" in data:
            return data
        return {"publish" if key == "ports" else key: value for key, value in data.items()}


class Setup(BaseModel):
    """What a container is given beside an image and limits, resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    binds: tuple[Bind, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    exec: tuple[Command, ...] = ()
    cmd: Command | None = None
    entrypoint: Command | None = None
    publish: tuple[Published, ...] = ()
    sysctls: dict[str, str] = Field(default_factory=dict)
    cap_add: tuple[str, ...] = ()
    startup_config: str | None = None
    healthcheck: Healthcheck | None = None


class Container(BaseModel):
    """What a node is made of, resolved; a CPU limit of 0 is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    image: str
    cpu_millis: int = 0
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    private_pids: bool = False
    setup: Setup | None = None


def container_of(kind: str, *layers: ContainerSettings) -> Container:
    """Return the container of a node of a kind, later layers winning."""
    settings: dict[str, Any] = {}
    for layer in layers:
        for name in ContainerSettings.model_fields:
            value = getattr(layer, name)
            if value is not None:
                merged = name in ("env", "sysctls")
                settings[name] = {**settings.get(name, {}), **value} if merged else value
    setup = {name: settings[name] for name in Setup.model_fields if name in settings}
    return Container(
        image=settings.get("image", DEFAULT_IMAGES[kind]),
        cpu_millis=round(1000 * settings.get("cpu", 0)),
        memory_bytes=settings.get("memory", DEFAULT_MEMORY_BYTES),
        private_pids=settings.get("pid") == "private",
        setup=Setup(**setup) if setup else None,
    )
