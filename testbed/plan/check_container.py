"""What of a plan says what a container is made of, as an agent accepts it: from whoever may send it one."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from testbed.lab.containers import SMALLEST_MEMORY_BYTES, Image
from testbed.lab.setup import HIGHEST_PORT, LOWEST_PORT, Capability, Sysctls, Variables


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise ValueError(f'"{path[:80]}" is not an absolute path')
    return path


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


Path = Annotated[str, Field(strict=True, max_length=4096), AfterValidator(_absolute)]
Words = Annotated[list[Annotated[str, Field(strict=True, max_length=4096)]], Field(min_length=1, max_length=4096)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=86400)]


class _Bind(_Part):
    source: Path
    target: Path
    read_only: Annotated[bool, Field(strict=True)]


class _Published(_Part):
    address: Annotated[str, Field(strict=True, max_length=64)]
    port: Annotated[int, Field(strict=True, ge=LOWEST_PORT, le=HIGHEST_PORT)]
    target: Annotated[int, Field(strict=True, ge=1, le=HIGHEST_PORT)]


class _Healthcheck(_Part):
    test: Words
    interval_s: Seconds
    timeout_s: Seconds
    start_period_s: Seconds
    retries: Annotated[int, Field(strict=True, ge=1, le=1000)]


class _Setup(_Part):
    binds: list[_Bind]
    env: Variables
    exec: list[Words]
    cmd: Words | None
    entrypoint: Words | None
    ports: list[_Published]
    sysctls: Sysctls
    cap_add: list[Capability]
    startup_config: Path | None
    healthcheck: _Healthcheck | None


class ContainerPart(_Part):
    """What a container is made of."""

    image: Image
    cpu_millis: Annotated[int, Field(strict=True, ge=0, le=1024_000)]
    memory_bytes: Annotated[int, Field(strict=True, ge=SMALLEST_MEMORY_BYTES, lt=2**62)]
    setup: _Setup | None = None
