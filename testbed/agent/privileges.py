"""What an agent keeps of root's powers, and how it lays down the others for good: for itself and for all that it starts."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

from testbed.errors import DriverError
from testbed.system.namespaces import check, libc

# Numbers of <linux/capability.h>, with what each is needed for.
KEPT: Mapping[str, int] = {
    "CAP_KILL": 5,  # programs in a node may be anybody's
    "CAP_NET_ADMIN": 12,  # links, addresses, shaping
    "CAP_NET_RAW": 13,  # packet sockets
    "CAP_SYS_PTRACE": 19,  # which namespace somebody else's process lives in
    "CAP_SYS_ADMIN": 21,  # entering and binding namespaces
}

SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Keeps libraries from starting threads when they are imported, which would keep every capability."""

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
_VERSION_3 = 0x20080522
_SET = struct.Struct("=6I")
_SETPCAP = 8


def lay_down() -> None:
    """Keep the capabilities of `KEPT`, as far as this thread has them, and gain no new ones, not by set-uid programs either.

    Threads have capabilities of their own: where some were started already, this program begins again without them. Raises
    DriverError.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        if SINGLE_THREADED.items() <= os.environ.items():
            raise DriverError("lay down capabilities", 0, "a library has started threads that would keep them")
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **SINGLE_THREADED})
    check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "renounce new privileges")
    held = _held()
    kept = sum(1 << bit for bit in KEPT.values())
    if held["CapEff"] >> _SETPCAP & 1:
        last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
        for bit in range(last + 1):
            if not kept >> bit & 1:
                check(libc.prctl(_PR_CAPBSET_DROP, bit, 0, 0, 0), f"drop capability {bit}")
    ambient = libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if ambient != 0 and ctypes.get_errno() != errno.EINVAL:  # which an older kernel says that has none
        raise DriverError("clear ambient capabilities", ctypes.get_errno())
    effective, permitted = held["CapEff"] & kept, held["CapPrm"] & kept
    header = struct.pack("=Ii", _VERSION_3, 0)
    low, high = 0xFFFFFFFF, 32
    sets = _SET.pack(effective & low, permitted & low, 0, effective >> high, permitted >> high, 0)
    check(libc.capset(header, sets), "lay down capabilities")


def _held() -> dict[str, int]:
    with open("/proc/thread-self/status", encoding="utf-8") as file:
        lines = (line.partition(":") for line in file)
        return {key: int(value, 16) for key, _, value in lines if key.startswith("Cap")}
