"""Labs from Python: deploy one, work in it, impair its links, run collectives on it, and it is gone when the block ends.

    with Lab.deploy("two-dc", dilation=2000) as lab:
        lab.exec("a1", "ping", "-c", "1", "b1")
        lab.link("border-a:eth2").impair(delay="2ms", loss="1%")
        result = lab.run("all_reduce", minbytes="64K", maxbytes="64K")
        assert result.verdict.lossless

Without root, exact, and in this process is the same lab under the virtual clock:

    assert Lab.virtual("two-dc:length=8km").run("all_reduce", minbytes="1M").verdict.lossless

Underneath are the coroutines of `testbed.control.verbs`; who has an event loop of their own calls those.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
import warnings
from collections.abc import Coroutine, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from testbed.control import inspection, verbs
from testbed.control.verbs import Target
from testbed.errors import HostError, UsageError
from testbed.experiment.file import Experiment, new_experiment
from testbed.experiment.impairments import Direction
from testbed.lab import topology
from testbed.lab.endpoints import parse_endpoint
from testbed.machine import calibration
from testbed.run import result
from testbed.run.judgement import conclude
from testbed.run.provenance import Stopwatch
from testbed.run.result import RunResult
from testbed.run.trial import Trial, with_settings
from testbed.study import preflight
from testbed.virtual_lab import Described, VirtualLab, experiment_of, overrides, workload_settings

Document = dict[str, Any]
Result = TypeVar("Result")
# A wait without an end would not notice an interrupt that comes just before it begins.
NOTICE_S = 0.2


class ProgramFailed(HostError):
    """Say that a program in a node ended with a status other than 0; `done` has what it said."""

    def __init__(self, node: str, done: subprocess.CompletedProcess[str]) -> None:
        self.done = done
        printed = (done.stderr or done.stdout).strip()
        super().__init__(f"{node}: {' '.join(done.args)} ended with status {done.returncode}: {printed[-500:]}")


class Lab(Described):
    """A lab that is up under the real clock. Made by `deploy`; a context manager that destroys what it deployed."""

    def __init__(
        self, experiment: Experiment, described: topology.Lab, factor: int, target: Target, owned: bool
    ) -> None:
        self._experiment = experiment
        self._lab = described
        self._dilation = factor
        self._target = target
        self._owned = owned

    @classmethod
    def deploy(
        cls,
        spec: str | Path,
        *,
        driver: Literal["netns", "docker"] = "netns",
        dilation: int | Literal["auto"] = "auto",
        settings: Mapping[str, Any] | None = None,
        seed: int = 1,
        keep: bool = False,
        target: Target | None = None,
        name: str | None = None,
        exclusive: bool = False,
    ) -> Lab:
        """Bring a lab up: a file, or a name with parameters such as `two-dc:hosts=4,length=300km`.

        `settings` are those of an experiment, as with `--set`: {"lossless.pfc": False}. `dilation` is the wall seconds of one
        nominal second, by default as few as this machine can honour. A lab that is up already is used, changed where it
        differs, and stays when the block ends, as it does with `keep`. `target` names an agent on a broker; None is the local
        one. `name` is what the lab is called, if not as its file or generator has it. With `exclusive` a lab that is up already
        is somebody else's, and refused.

        Raises UsageError (and its TopologyError, ExperimentError) for what cannot be meant, HostError or DriverError for
        what this machine cannot.
        """
        return _wait(cls._made(spec, driver, dilation, settings, seed, keep, target or Target(), name, exclusive))

    @classmethod
    async def _made(
        cls,
        spec: str | Path,
        driver: Literal["netns", "docker"],
        dilation: int | Literal["auto"],
        settings: Mapping[str, Any] | None,
        seed: int,
        keep: bool,
        where: Target,
        name: str | None,
        exclusive: bool,
    ) -> Self:
        given = {"clock": "real", "driver": driver, "seed": seed, **(settings or {})}
        experiment = with_settings(new_experiment(str(spec), "all_reduce"), overrides(given))
        source = topology.lab_source(experiment.topology)
        if name is not None:
            source = topology.renamed(source, name)
        trial = Trial(experiment, topology.lab_from(source), written=source.data)
        preflight.check_lab(trial)
        running = await verbs.dilation_of(where, trial.lab.name) if dilation == "auto" else None
        if running is None:
            running = await asyncio.to_thread(calibration.resolve_dilation, dilation, trial.plan)
        factor: int = running
        answer = await verbs.deploy(where, trial, factor, exclusive=exclusive)
        return cls(experiment, trial.lab, factor, where, owned=not answer["stood_before"] and not keep)

    @staticmethod
    def virtual(
        spec: str | Path, *, settings: Mapping[str, Any] | None = None, seed: int = 1, name: str | None = None
    ) -> VirtualLab:
        """Return a lab under the virtual clock, in this process and without root. Arguments are those of `deploy`.

        Raises UsageError (and its TopologyError, ExperimentError) for what cannot be meant.
        """
        return VirtualLab(spec, settings=settings, seed=seed, name=name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._owned:
            self.destroy()

    @property
    def dilation(self) -> int:
        """Wall seconds of one nominal second."""
        return self._dilation

    def exec(
        self, node: str, *argv: str, check: bool = True, timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a node, without input; return its status and what it said.

        Raises ProgramFailed for a status other than 0, unless `check` is False, UsageError for a node that is not there,
        subprocess.TimeoutExpired after `timeout_s`. For labs on this machine.
        """
        if not argv:
            raise UsageError("exec: name a program to run")
        done = verbs.run_in(self.name, node, argv, timeout_s)
        if check and done.returncode != 0:
            raise ProgramFailed(node, done)
        return done

    def link(self, end: str) -> LinkHandle:
        """Return the link at a port, `node:port`. Raises UsageError if there is none."""
        try:
            place = parse_endpoint(end)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if place.port not in self._lab.ports.get(place.node, ()):
            raise UsageError(f"lab {self.name} has no port {end} with a link")
        return LinkHandle(self, place.node, place.port)

    def inspect(self) -> Document:
        """Return what `testbed inspect` says of the lab: state, nodes, addresses, links and counters of ports."""
        return _wait(inspection.inspect(self._target, self.name))[0]

    def run(self, what: str | Path = "all_reduce", *, pcap: Path | None = None, **workload: Any) -> RunResult:
        """Run a collective, or an experiment file, on this lab, and judge it.

        `workload` has the keys of an experiment's section of that name: `minbytes="1M"`, `iterations=3`. How the lab was
        deployed holds for the run too, so an experiment file may not say otherwise. Raises as `deploy` does.
        """
        return _wait(self._run(what, pcap, workload))

    async def _run(self, what: str | Path, pcap: Path | None, workload: Mapping[str, Any]) -> RunResult:
        given = workload_settings(workload)
        experiment = experiment_of(self._experiment, what, self._deployed(), given)
        trial = Trial(experiment, self._lab)
        preflight.check(trial, here=self._target.is_local)
        watch = Stopwatch()
        outcome = await verbs.run(self._target, trial, self._dilation, keep=True, pcap=pcap)
        if outcome.capture_fault is not None:
            warnings.warn(outcome.capture_fault, RuntimeWarning, stacklevel=3)
        arguments = ["run", str(what), "-t", experiment.topology, "--clock", "real", "--dilation", str(self._dilation)]
        arguments += [part for override in overrides({**self._deployed(), **given}) for part in ("--set", override)]
        replay = result.replay_command(arguments, experiment.seed)
        return conclude(trial, outcome, "real", self._dilation, replay).of(watch.provenance())

    def destroy(self) -> None:
        """Take the lab down; one that is gone already stays gone."""
        _wait(self._destroy())

    async def _destroy(self) -> None:
        await verbs.destroy(self._target, self.name)
        self._owned = False

    def _deployed(self) -> dict[str, Any]:
        """Return the settings that make the plan of the lab what it is."""
        data = self._experiment.data()
        return {key: data[key] for key in ("clock", "driver", "seed") if key in data}

    def _impair(self, end: tuple[str, str], action: str, direction: Direction, settings: Document) -> list[Document]:
        return _wait(verbs.impair(self._target, self.name, end, action, direction, settings))


@dataclass(frozen=True)
class LinkHandle:
    """The link at one port of a lab that is up."""

    lab: Lab
    node: str
    port: str

    def impair(self, direction: Direction = "both", **settings: Any) -> list[Document]:
        """Change what is named of the link, now, and return how it is: one row a direction.

        `settings` are those of an experiment's timeline: `delay="2ms"`, `loss="1%"`, `rate="50G"`, `up=False`. `direction` is
        what the port sends (`out`), receives (`in`), or both. Raises UsageError for a value that cannot be meant.
        """
        said = {key.replace("_", "-"): value for key, value in settings.items()}
        return self.lab._impair((self.node, self.port), "set", direction, said)

    def show(self, direction: Direction = "both") -> list[Document]:
        """Return how the link is, as asked for, configured and measured: one row a direction."""
        return self.lab._impair((self.node, self.port), "show", direction, {})

    def reset(self, direction: Direction = "both") -> list[Document]:
        """Make the link as planned again, and return how it is."""
        return self.lab._impair((self.node, self.port), "reset", direction, {})


class AsyncLab:
    """A lab like `Lab`, with coroutines; an asynchronous context manager that destroys what it deployed."""

    def __init__(self, lab: Coroutine[Any, Any, Lab]) -> None:
        self._deploying: Coroutine[Any, Any, Lab] | None = lab
        self._lab: Lab | None = None

    @classmethod
    def deploy(
        cls,
        spec: str | Path,
        *,
        driver: Literal["netns", "docker"] = "netns",
        dilation: int | Literal["auto"] = "auto",
        settings: Mapping[str, Any] | None = None,
        seed: int = 1,
        keep: bool = False,
        target: Target | None = None,
        name: str | None = None,
        exclusive: bool = False,
    ) -> AsyncLab:
        """Bring a lab up when this is awaited, or entered with `async with`. Arguments and errors are those of `Lab.deploy`."""
        return cls(Lab._made(spec, driver, dilation, settings, seed, keep, target or Target(), name, exclusive))

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._up().__await__()

    async def _up(self) -> Self:
        if self._deploying is not None:
            deploying, self._deploying = self._deploying, None
            self._lab = await deploying
        return self

    async def __aenter__(self) -> Self:
        return await self._up()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self.lab._owned:
            await self.destroy()

    @property
    def lab(self) -> Lab:
        """The lab: its name, dilation, hosts and switches. Raises UsageError before it is up."""
        if self._lab is None:
            raise UsageError("the lab is not up yet: await it, or enter it with `async with`")
        return self._lab

    async def exec(
        self, node: str, *argv: str, check: bool = True, timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a node, as `Lab.exec`. Cancelled, it leaves the program to its end."""
        return await asyncio.to_thread(self.lab.exec, node, *argv, check=check, timeout_s=timeout_s)

    async def inspect(self) -> Document:
        """Return what `Lab.inspect` does."""
        return (await inspection.inspect(self.lab._target, self.lab.name))[0]

    async def run(self, what: str | Path = "all_reduce", *, pcap: Path | None = None, **workload: Any) -> RunResult:
        """Run a collective, or an experiment file, on this lab, and judge it, as `Lab.run`."""
        return await self.lab._run(what, pcap, workload)

    async def impair(self, end: str, direction: Direction = "both", **settings: Any) -> list[Document]:
        """Change what is named of the link at a port, as `LinkHandle.impair`; nothing named shows how it is."""
        place = self.lab.link(end)
        said = {key.replace("_", "-"): value for key, value in settings.items()}
        action = "set" if said else "show"
        return await verbs.impair(self.lab._target, self.lab.name, (place.node, place.port), action, direction, said)

    async def reset(self, end: str, direction: Direction = "both") -> list[Document]:
        """Make the link at a port as planned again, and return how it is."""
        place = self.lab.link(end)
        return await verbs.impair(self.lab._target, self.lab.name, (place.node, place.port), "reset", direction, {})

    async def destroy(self) -> None:
        """Take the lab down; one that is gone already stays gone."""
        await self.lab._destroy()


def _wait(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, in a thread of its own where this one is in the middle of an event loop.

    An interrupt cancels it, and is raised when it has cleaned up.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = Future()
    interrupted = threading.Event()

    async def followed() -> Result:
        begun.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        if interrupted.is_set():
            work.close()
            raise asyncio.CancelledError
        return await work

    def follow() -> Result:
        return asyncio.run(followed())

    with ThreadPoolExecutor(1, thread_name_prefix="lab") as thread:
        thread.submit(int).result()  # an interrupt while a thread starts would leave it, and its work, unattended
        try:
            following = thread.submit(follow)
            while not wait((following,), NOTICE_S).done:
                pass
            return following.result()
        except BaseException:  # an interrupt, or whatever else a handler of signals raises
            interrupted.set()
            if begun.done():
                loop, task = begun.result()
                with suppress(RuntimeError):  # it has ended meanwhile
                    loop.call_soon_threadsafe(task.cancel if task else lambda: None)
            raise
        finally:
            thread.shutdown()
            work.close()
