"""What a container is given beside its image, as containerlab writes it: binds, ports, commands, capabilities. Pure.

Nothing here reaches a shell: a command is split into words, and the program is its first.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from testbed.schema.fields import FileModel

LOOPBACK = "127.0.0.1"
LOWEST_PORT, HIGHEST_PORT = 1024, 65535
_MOST_TEXT = 4096
_SHELLS = ("CMD", "CMD-SHELL", "NONE")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYSCTL = re.compile(r"net(\.[A-Za-z0-9_-]+)+")
_PROTOCOL = "/tcp"

# What a container can be trusted with that shares a kernel with us: capabilities(7). What is not here gives it power over the
# machine, and has to be allowed by whoever deploys it.
HARMLESS = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "KILL",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
        "SYS_NICE",
        "SYS_PTRACE",
    }
)
POWERFUL = frozenset(
    {
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "DAC_READ_SEARCH",
        "IPC_OWNER",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "PERFMON",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_MODULE",
        "SYS_PACCT",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "SYSLOG",
        "WAKE_ALARM",
    }
)

Command = tuple[str, ...]
"""A program and its arguments."""


@dataclass(frozen=True)
class Bind:
    """A file or directory of the machine that a container sees at `target`."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Published:
    """A TCP port of a container, `target`, that is reached at an address and a port of the machine."""

    address: str
    port: int
    target: int


def parse_bind(value: object) -> object:
    """Read `SOURCE:TARGET[:ro|:rw]`."""
    if not isinstance(value, str):
        return value
    source, _, rest = value.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target.startswith("/") or mode not in ("", "ro", "rw") or "\0" in value:
        raise ValueError(
            f'"{value[:80]}" is not a bind: write SOURCE:/TARGET, and :ro behind it for one that is read only'
        )
    if ".." in target.split("/") or posixpath.normpath(target) == "/":
        raise ValueError(f'the target of "{value[:80]}" is not a place inside the container')
    return Bind(source=source, target=posixpath.normpath(target), read_only=mode == "ro")


def parse_published(value: object) -> object:
    """Read `[[ADDRESS:]PORT:]TARGET[/tcp]`; without a port it is that of the target, without an address loopback's."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    text = str(value).removesuffix(_PROTOCOL)
    parts = text.rsplit(":", 2)
    target = _port(parts[-1], value)
    port = _port(parts[-2], value) if len(parts) > 1 else target
    address = parts[0].strip("[]") if len(parts) > 2 else LOOPBACK
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(f'"{address[:60]}" is not an address of this machine, in the port "{value}"') from None
    if port < LOWEST_PORT:
        raise ValueError(f"port {port} of the machine is below {LOWEST_PORT}, which takes rights that an agent has not")
    return Published(address=address, port=port, target=target)


def _port(text: str, value: object) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= HIGHEST_PORT:
        raise ValueError(
            f'"{str(value)[:60]}" is not a port: write TARGET or PORT:TARGET, of TCP, from 1 to {HIGHEST_PORT}'
        )
    return int(text)


def parse_command(value: object) -> object:
    """Split a command into words as a shell would, without running one."""
    if not isinstance(value, str):
        return value
    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise ValueError(f'"{value[:80]}" cannot be split into words: {error}') from None
    if not words:
        raise ValueError("a command needs a program")
    if "\0" in value or len(value) > _MOST_TEXT:
        raise ValueError(f"a command has at most {_MOST_TEXT} characters, none of them NUL")
    return words


def _texts(value: object) -> object:
    """Write numbers and truths of a mapping as YAML does."""
    if not isinstance(value, dict):
        return value
    spelt = {True: "true", False: "false"}
    return {
        key: spelt[each] if isinstance(each, bool) else str(each) if isinstance(each, int | float) else each
        for key, each in value.items()
    }


def _named(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(mapping: dict[str, str]) -> dict[str, str]:
        for key, value in mapping.items():
            if pattern.fullmatch(key) is None:
                raise ValueError(f'"{key[:60]}" is not {what}')
            if "\0" in value or len(value) > _MOST_TEXT:
                raise ValueError(f"the value of {key} is not text of at most {_MOST_TEXT} characters")
        return mapping

    return AfterValidator(check)


def _capability(name: str) -> str:
    plain = name.removeprefix("CAP_")
    if plain not in HARMLESS | POWERFUL:
        raise ValueError(f'"{name[:40]}" is not a capability, like NET_ADMIN')
    return plain


_MAPPING = BeforeValidator(_texts)
Variables = Annotated[dict[str, str], _MAPPING, _named(_VARIABLE, "the name of a variable")]
Sysctls = Annotated[dict[str, str], _MAPPING, _named(_SYSCTL, "a setting of a network stack, like net.ipv4.ip_forward")]
Capability = Annotated[str, AfterValidator(_capability)]
_Seconds = Annotated[int, Field(ge=0, le=86400)]


class Healthcheck(FileModel):
    """How the engine tells whether a container is healthy, in containerlab's words: times in seconds."""

    test: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    """What is run: `CMD` and a program with its arguments, `CMD-SHELL` and a line for the container's shell, or `NONE`."""
    interval: Annotated[int, Field(ge=1, le=86400)] = 30
    """Seconds between two tests; left out, 30."""
    timeout: Annotated[int, Field(ge=1, le=86400)] = 30
    """Seconds after which a test has failed; left out, 30."""
    start_period: _Seconds = 0
    """Seconds from the start in which failing tests do not count; left out, 0."""
    retries: Annotated[int, Field(ge=1, le=1000)] = 3
    """Failing tests in succession that make the container unhealthy; left out, 3."""

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.test[0] not in _SHELLS or (self.test[0] != "NONE") != (len(self.test) > 1):
            raise ValueError("test begins with CMD or CMD-SHELL, with what is run behind it, or is [NONE]")
        return self
