"""What several programs say at once, line by line."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from types import TracebackType
from typing import IO


class Gathering:
    """Programs whose output is captured; a thread for each stream hands on its lines, one at a time.

    Left with an error, it ends those that run.
    """

    def __init__(self, write: Callable[[str, bytes], None]) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._write = write
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def add(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Hand on what a program says under a name."""
        self.processes.append(process)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                thread = threading.Thread(target=self._read, args=(name, stream), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _read(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                with self._lock:
                    self._write(name, line if line.endswith(b"\n") else line + b"\n")

    def __enter__(self) -> Gathering:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the last words."""
        for process in self.processes if kind is not None else ():
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join()
