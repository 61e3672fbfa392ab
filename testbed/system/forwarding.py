"""Signals that this process gets while it waits for programs, and which are meant for these."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

# si_code of what the kernel sends by itself, as for ^C on a terminal (asm-generic/siginfo.h).
_SI_KERNEL = 0x80
# A signal may be taken by another thread; then this one is not woken, and looks after so long.
_LOOK_S = 0.5


class Deputy(subprocess.Popen[bytes]):
    """A command that stands for a program elsewhere, which hears nothing of this process's terminal; `send_signal` reaches it."""


def wait(start: Callable[[], Sequence[subprocess.Popen[bytes]]]) -> list[int]:
    """Start programs, wait for the end of all and return their statuses; TERM, HUP and INT are sent on, from before they start.

    ^C on the terminal reaches programs by itself, and is not sent again. In a thread that is not the main one no signal comes
    by, and none is sent on.
    """
    if threading.current_thread() is not threading.main_thread():
        return [process.wait() for process in start()]
    with _received() as early:
        processes = start()
        # Only now, since a program inherits what is blocked where it is started.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
        try:
            while running := [process for process in processes if process.poll() is None]:
                while early:
                    _send(running, early.pop(0))
                received = signal.sigtimedwait({*FORWARDED, signal.SIGCHLD}, _LOOK_S)
                if received is None or received.si_signo == signal.SIGCHLD:
                    continue
                by_terminal = received.si_signo == signal.SIGINT and received.si_code == _SI_KERNEL
                _send([each for each in running if isinstance(each, Deputy) or not by_terminal], received.si_signo)
            return [process.wait() for process in processes]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _received() -> Iterator[list[int]]:
    """Yield the numbers of signals that come meanwhile, instead of what they would do."""
    received: list[int] = []

    def receive(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, receive) for number in FORWARDED}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(processes: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
