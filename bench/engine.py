"""A real dockerd, started and ended by tests and benchmarks, with data and sockets of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import BenchError

START_S = 60
POLL_S = 0.05


class DockerEngine:
    """A dockerd that can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"unix://{home}/docker.sock"

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        command = [
            "dockerd",
            f"--host={self.address}",
            f"--data-root={self._home}/data",
            f"--exec-root={self._home}/exec",
        ]
        # Nothing of the machine's own network is touched: nodes have none but what the testbed gives them.
        command += [f"--pidfile={self._home}/pid", "--bridge=none", "--iptables=false", "--ip6tables=false"]
        with open(self._home / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while self._ask("version").returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"dockerd does not start: {self.log()}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        """Kill the engine without warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        # The containerd that it started lives on, and would keep the next one from starting its own.
        pid_file = self._home / "exec" / "containerd" / "containerd.pid"
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
        # Where nobody reaps it at once, its process id still seems alive, and the next engine would wait for it.
        pid_file.unlink()

    def stop(self) -> None:
        """End the engine, and with it every container."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=START_S)

    def docker(self, *arguments: str) -> str:
        """Run a docker command, insist on success, and return its output without the last newline."""
        done = self._ask(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def docker_in(self, data: bytes, *arguments: str) -> None:
        """Run a docker command with bytes on its standard input, and insist on success."""
        environment = {**os.environ, "DOCKER_HOST": self.address}
        subprocess.run(["docker", *arguments], env=environment, input=data, capture_output=True, check=True)

    def log(self) -> str:
        """Return the end of what the engine said."""
        return "\n".join((self._home / "log").read_text(errors="replace").splitlines()[-12:])

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": self.address}
        return subprocess.run(["docker", *arguments], env=environment, capture_output=True, text=True, check=False)


@contextmanager
def docker_engine() -> Iterator[DockerEngine]:
    """Run an engine; afterwards it is gone, data included."""
    # Short, since the path of a socket has at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="tb-docker-"))
    engine = DockerEngine(home)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(home, ignore_errors=True)
