"""Run a program under a real Linux kernel that has netem: Debian's user-mode-linux on the host's own files.

The kernel is a process of the user who starts it; it needs no privileges and touches neither the host's network nor its
files: the root is mounted read-only, and only a temporary directory is shared both ways. Inside, the program is root.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = (
    "drivers/net/veth.ko",
    "net/sched/sch_netem.ko",
    "net/sched/sch_htb.ko",
)
KERNEL = "linux.uml"
MEMORY_BYTES = 768 << 20

_GUEST = ROOT / "tests" / "netem" / "guest.py"
_CONSOLE_TAIL = 4000


class BootError(Exception):
    """The kernel did not come as far as to run the program to its end; holds the tail of its console."""


@dataclass(frozen=True)
class Outcome:
    """How a program inside ended. `booted_in_ns`: from the kernel's start to the program's."""

    status: int
    stdout: str
    stderr: str
    console: str
    booted_in_ns: int
    ran_for_ns: int


def kernel_path() -> str:
    """Return where the kernel is. Raises BootError with what to install if it is nowhere."""
    path = shutil.which(KERNEL)
    if path is None:
        raise BootError(f"{KERNEL} not found: install Debian's package user-mode-linux")
    return path


def run(argv: Sequence[str], environment: Mapping[str, str] | None = None, timeout_s: float = 60) -> Outcome:
    """Boot, run one program in the checkout with the checkout's Python path, and return how it ended.

    `argv[0]` is a path or a name for the host's PATH. Raises BootError if the kernel panics, does not boot, or is not
    through after `timeout_s`; nothing of it runs then.
    """
    kernel = kernel_path()
    with tempfile.TemporaryDirectory(prefix="testbed-uml-") as directory:
        exchange = Path(directory).resolve()
        job = {
            "argv": list(argv),
            "directory": str(ROOT),
            "environment": {"PYTHONPATH": str(ROOT), **(environment or {})},
            "modules": MODULES,
        }
        (exchange / "job.json").write_text(json.dumps(job))
        console = _boot(kernel, exchange, timeout_s)
        outcome = exchange / "outcome.json"
        if not outcome.exists():
            raise BootError(f"the program did not run to its end; the console said:\n{console[-_CONSOLE_TAIL:]}")
        texts = [(exchange / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        return Outcome(stdout=texts[0], stderr=texts[1], console=console, **json.loads(outcome.read_text()))


def _boot(kernel: str, exchange: Path, timeout_s: float) -> str:
    """Run the kernel until it halts and return its console."""
    # It has one processor, and switches between itself and its programs at every system call: on one processor of ours that
    # takes a sixth of the time that it takes across two.
    command = [
        "taskset",
        "--cpu-list",
        str(max(os.sched_getaffinity(0))),
        kernel,
        f"mem={MEMORY_BYTES}",
        "root=/dev/root",
        "rootfstype=hostfs",
        "ro",
        "con=null",
        "con0=null,fd:1",
        "quiet",
        f"uml_dir={exchange}/uml",
        f"init={sys.executable}",
        "--",
        str(_GUEST),
        str(exchange),
    ]
    with (exchange / "console").open("w+b") as console:
        # Its helper processes stay in its group, so that one signal ends them all.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": _memory_directory(exchange)},
            start_new_session=True,
        )
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise BootError(f"not through after {timeout_s} s; the console said:\n{_tail(exchange)}") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return _tail(exchange)


def _memory_directory(otherwise: Path) -> str:
    """Return where the kernel shall keep the file that is its memory: in memory where that holds it, else on disk."""
    shared = "/dev/shm"
    if os.access(shared, os.W_OK):
        space = os.statvfs(shared)
        if space.f_bavail * space.f_frsize > MEMORY_BYTES:
            return shared
    return str(otherwise)


def _tail(exchange: Path) -> str:
    return (exchange / "console").read_text(errors="replace")[-_CONSOLE_TAIL:]
