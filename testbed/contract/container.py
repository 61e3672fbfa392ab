"""What a node is made of where nodes are containers: the part of a plan that drivers alone read."""

# Annotations are evaluated here: of strings a TypedDict cannot tell which keys are required.
from typing import Annotated, NotRequired, TypedDict


class Bind(TypedDict):
    """A file or directory of the machine that the container sees."""

    source: Annotated[str, "absolute path on the machine"]
    target: Annotated[str, "absolute path in the container"]
    read_only: Annotated[bool, "true: nothing can be written there"]


class Published(TypedDict):
    """A TCP port of the container that is reached at the machine."""

    address: Annotated[str, "IP address of the machine"]
    port: Annotated[int, "port of the machine"]
    target: Annotated[int, "port of the container"]


class Healthcheck(TypedDict):
    """How the engine tells whether the container is healthy."""

    test: Annotated[list[str], "CMD or CMD-SHELL and what is run, or NONE"]
    interval_s: Annotated[int, "seconds between two tests"]
    timeout_s: Annotated[int, "seconds after which a test has failed"]
    start_period_s: Annotated[int, "seconds from the start in which failing tests do not count"]
    retries: Annotated[int, "failing tests in succession that make it unhealthy"]


class Setup(TypedDict):
    """What the container is given beside an image and limits."""

    binds: Annotated[list[Bind], "what of the machine it sees"]
    env: Annotated[dict[str, str], "environment of its programs"]
    exec: Annotated[list[list[str]], "commands run in it once the lab is up"]
    cmd: Annotated[list[str] | None, "its command; null: that of the image"]
    entrypoint: Annotated[list[str] | None, "what the command is given to; null: that of the image"]
    ports: Annotated[list[Published], "ports that are reached at the machine"]
    sysctls: Annotated[dict[str, str], "settings of its network stack"]
    cap_add: Annotated[list[str], "capabilities beside those that all containers have"]
    startup_config: Annotated[
        str | None, "absolute path of the file that its image reads as its configuration; null: none"
    ]
    healthcheck: Annotated[Healthcheck | None, "how it is told to be healthy; null: as the image says"]


class Container(TypedDict):
    """What a node is made of where nodes are containers. For drivers."""

    image: Annotated[str, "name of the image"]
    cpu_millis: Annotated[int, "thousandths of a processor; 0: no limit"]
    memory_bytes: Annotated[int, "bytes of memory; 0: no limit"]
    setup: NotRequired[Annotated[Setup | None, "what else it is given; absent: nothing"]]
