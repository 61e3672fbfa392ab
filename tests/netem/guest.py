"""The first process inside user-mode Linux: prepare the system, run one program, say how it ended, and halt.

Stands alone: nothing but the standard library, so that a broken testbed still reports how it broke. Takes the path of
the exchange directory on the host. Reads job.json there; leaves stdout, stderr and outcome.json.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
from typing import Any

EXCHANGE = "/run/exchange"
SCRATCH = "/run/tmp"
MODULES = "/usr/lib/uml/modules"

_SYS_FINIT_MODULE = 313
_RB_POWER_OFF = 0x4321FEDC
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, operation: str) -> None:
    """Raise OSError for a libc call that failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{operation}: {os.strerror(number)}")


def mount(kind: str, target: str, data: str = "") -> None:
    """Mount a file system, on a new directory if there is none."""
    os.makedirs(target, exist_ok=True)
    check(_libc.mount(kind.encode(), target.encode(), kind.encode(), 0, data.encode()), f"mount {kind} on {target}")


def insert_module(path: str) -> None:
    """Load a kernel module from the tree of modules; one that is there already is fine."""
    module = os.open(f"{MODULES}/{os.uname().release}/kernel/{path}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(_libc.syscall(_SYS_FINIT_MODULE, module, b"", 0), f"insert {path}")
    except FileExistsError:
        return
    finally:
        os.close(module)


def bring_up_loopback() -> None:
    """Bring the loopback interface up; programs talk to each other over it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("=16sH14x", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def prepare(exchange: str, modules: list[str]) -> None:
    """Make the system one that programs can live in; the host's files stay read-only but for the exchange directory."""
    mount("proc", "/proc")
    mount("sysfs", "/sys")
    mount("tmpfs", "/run")
    mount("tmpfs", "/dev/shm")
    mount("hostfs", EXCHANGE, exchange)
    os.makedirs(SCRATCH)
    bring_up_loopback()
    for module in modules:
        insert_module(module)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the job's program and return how it ended."""
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
        **job["environment"],
    }
    started_ns = time.monotonic_ns()
    with open(f"{EXCHANGE}/stdout", "wb") as out, open(f"{EXCHANGE}/stderr", "wb") as err:
        program = subprocess.Popen(
            job["argv"], cwd=job["directory"], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        # The first process inherits orphans; whoever ends, only the program's end counts.
        while True:
            process, status = os.wait()
            if process == program.pid:
                break
    return {
        "status": os.waitstatus_to_exitcode(status),
        "booted_in_ns": started_ns,  # the monotonic clock begins with the kernel
        "ran_for_ns": time.monotonic_ns() - started_ns,
    }


def main() -> None:
    """Do all of it; whatever goes wrong is on the console, and the host sees that outcome.json is missing."""
    try:
        exchange = sys.argv[1]
        with open(f"{exchange}/job.json", encoding="utf-8") as file:
            job = json.load(file)
        prepare(exchange, job["modules"])
        outcome = run(job)
        with open(f"{EXCHANGE}/outcome.json", "w", encoding="utf-8") as file:
            json.dump(outcome, file)
        os.sync()
    except BaseException as error:  # noqa: BLE001  the last that anybody hears of it
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        _libc.reboot(_RB_POWER_OFF)


if __name__ == "__main__":
    main()
