"""The Docker engine of this machine: containers that are nodes of labs, recognised by their labels.

A container gets no network of the engine's, no capability but those that ping and tcpdump need, and no way to gain
more; what joins it to others is put into its namespace from outside (`machine.py`).
"""

from __future__ import annotations

import errno
import ipaddress
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.drivers import setup
from testbed.drivers.layout import Contained, Node
from testbed.errors import DriverError, HostError
from testbed.health import HEALTHY, Health
from testbed.plan.addressing import NETWORK
from testbed.progress import BuildProgress
from testbed.system.namespaces import NETWORK_SETTINGS, namespace_path

if TYPE_CHECKING:
    from docker.models.containers import Container

LAB_LABEL = "testbed.lab"
NODE_LABEL = "testbed.node"
_SOCKET = Path("/var/run/docker.sock")
_ADDRESS_VARIABLE = "DOCKER_HOST"
_PARALLEL = 8
_TIMEOUT_S = 60
_PROCESSES = 512
_BEGIN_S = 30.0
_BEGIN_POLL_S = 0.002
# Frames as they are, and becoming a user with fewer rights who goes on writing his file, as tcpdump insists on doing.
_CAPABILITIES = ("CHOWN", "NET_RAW", "SETGID", "SETUID")


class Engine:
    """The engine that `DOCKER_HOST` names, else the one at its usual place. It has to be on this machine.

    Nothing is asked of it before it is needed. What it refuses, and its absence, raise HostError or DriverError.
    """

    def is_present(self) -> bool:
        """Return whether there is an engine to ask; one that does not answer counts."""
        return _ADDRESS_VARIABLE in os.environ or _SOCKET.exists()

    def create(self, lab: str, nodes: Sequence[Node], progress: BuildProgress) -> list[tuple[str, int]]:
        """Start a container for each node, several at a time; return (node, process id) in the order given.

        Raises HostError if an image is missing, DriverError (EEXIST) if somebody else's container has a name. What was
        made before that stays, for `remove`.
        """
        progress.begin("containers", len(nodes))

        def start(node: Node) -> int:
            process = _start(client, lab, node)
            progress.advance()
            return process

        self.require_images({_container(node).image for node in nodes})
        with connected() as client, ThreadPoolExecutor(_PARALLEL, thread_name_prefix="container") as pool:
            started = list(pool.map(start, nodes))
        return [(node.name, process) for node, process in zip(nodes, started, strict=True)]

    def require_images(self, images: Collection[str]) -> None:
        """Raise HostError for an image that is not there."""
        with connected() as client:
            for image in sorted(images):
                _require_image(client, image)

    def require_running(self, lab: str) -> None:
        """Raise HostError for a container of a lab that has ended, saying how."""
        with connected() as client:
            for container in _ours(client, lab):
                if container.status == "exited":
                    raise _ended(container)

    def remove(self, lab: str | None, nodes: Collection[str] | None = None) -> dict[str, list[str]]:
        """Remove the containers of a lab, or of all labs, running or not, or those of some nodes; return the nodes of each."""
        if not self.is_present() or nodes == set():
            return {}
        with connected() as client:
            containers = [each for each in _ours(client, lab) if nodes is None or each.labels[NODE_LABEL] in nodes]
            with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="container") as pool:
                list(pool.map(_remove, containers))
        return _by_lab(containers)

    def processes(self, lab: str) -> dict[str, int]:
        """Return the id of the first process of each container of a lab that runs, by node."""
        with connected() as client:
            pids = {
                container.labels[NODE_LABEL]: int(container.attrs["State"]["Pid"]) for container in _ours(client, lab)
            }
        return {node: process for node, process in pids.items() if process}

    def states(self, lab: str | None) -> dict[str, dict[str, tuple[str, str]]]:
        """Return the state and the image of each container, by lab and node."""
        if not self.is_present():
            return {}
        states: dict[str, dict[str, tuple[str, str]]] = {}
        with connected() as client:
            for container in _ours(client, lab):
                labels = container.labels
                state = (container.status, str(container.attrs["Config"]["Image"]))
                states.setdefault(labels[LAB_LABEL], {})[labels[NODE_LABEL]] = state
        return states

    def health(self, lab: str) -> dict[str, Health]:
        """Return how each container of a lab is, by node: it runs, and passes its HEALTHCHECK if it has one."""
        if not self.is_present():
            return {}
        with connected() as client:
            return {container.labels[NODE_LABEL]: health_of(container) for container in _ours(client, lab)}

    def begin(self, lab: str, nodes: Sequence[Node]) -> None:
        """Run the commands of nodes whose links are up, and let ports of the machine lead to theirs; raises what `setup` does."""
        asked = [(node.name, made.setup) for node in nodes if (made := node.container) and made.setup]
        with connected() as client:
            for node, given in asked:
                setup.run_commands(client.containers.get(container_name(lab, node)), node, given["exec"])
                setup.publish(namespace_path(lab, node), node, given["ports"])

    def introduce(self, lab: str, hosts: Mapping[str, Mapping[str, str]]) -> None:
        """Give the hosts file of each container of a lab its present hosts. `hosts`: addresses by name, by node.

        The file is the engine's own, outside of the container, and stays the same one, for it is mounted there.
        """
        with connected() as client:
            for container in _ours(client, lab):
                path = Path(str(container.attrs.get("HostsPath", "")))
                if (wanted := hosts.get(container.labels[NODE_LABEL])) and path.is_file():
                    path.write_text(hosts_file(path.read_text(), wanted))


def hosts_file(text: str, hosts: Mapping[str, str]) -> str:
    """Return a hosts file with what is not of a lab's network as it is, and these hosts in the place of what is."""
    kept = [line for line in text.splitlines() if not _is_of_lab(line)]
    return "".join(f"{line}\n" for line in [*kept, *(f"{ip}\t{name}" for name, ip in hosts.items())])


def _is_of_lab(line: str) -> bool:
    try:
        return ipaddress.ip_address((line.split() or [""])[0]) in NETWORK
    except ValueError:
        return False


def container_name(lab: str, node: str) -> str:
    """Return the name of the container of a node."""
    return f"testbed-{lab}-{node}"


@contextmanager
def connected() -> Iterator[Any]:
    """Yield a client of the engine; turn what goes wrong into an error of ours."""
    # Slow to import, and most labs need none of it.
    import docker
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    address = os.environ.get(_ADDRESS_VARIABLE, f"unix://{_SOCKET}")
    if not address.startswith("unix://"):
        raise HostError(f"{_ADDRESS_VARIABLE}={address}: the engine must be on this machine: unix:///…")
    try:
        client = docker.DockerClient(base_url=address, timeout=_TIMEOUT_S, max_pool_size=_PARALLEL)
    except DockerException as error:
        raise HostError(f"the Docker engine at {address} does not answer: {error}; start it, then repeat") from None
    try:
        yield client
    except APIError as error:
        raise DriverError("docker", 0, str(error.explanation or error)) from error
    except (DockerException, RequestException) as error:
        raise HostError(f"the Docker engine at {address} was lost: {error}") from error
    finally:
        client.close()


def _container(node: Node) -> Contained:
    if node.container is None:
        raise DriverError(f"start node {node.name}", errno.EINVAL, "the plan has no container for it")
    return node.container


def _require_image(client: Any, image: str) -> None:
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        raise HostError(
            f"no image {image} on this machine; `testbed images build` makes those of the testbed"
        ) from None


def _start(client: Any, lab: str, node: Node) -> int:
    """Create and start the container of a node; return the id of its first process."""
    from docker.errors import APIError

    settings = _container(node)
    name = container_name(lab, node.name)
    try:
        container = client.containers.create(
            settings.image,
            name=name,
            hostname=node.name,
            labels={LAB_LABEL: lab, NODE_LABEL: node.name, "testbed.kind": node.kind},
            network_mode="none",
            extra_hosts=node.hosts.all(),
            init=True,
            # Keeps an image whose command is a shell from ending at once.
            tty=True,
            stdin_open=True,
            cap_drop=["ALL"],
            cap_add=[*_CAPABILITIES, *(settings.setup["cap_add"] if settings.setup else ())],
            security_opt=["no-new-privileges"],
            pids_limit=_PROCESSES,
            sysctls={**NETWORK_SETTINGS, **(settings.setup["sysctls"] if settings.setup else {})},
            mem_limit=settings.memory_bytes,
            memswap_limit=settings.memory_bytes,
            **({"nano_cpus": settings.cpu_millis * 1_000_000} if settings.cpu_millis else {}),
            **setup.creation(settings.setup, client.images.get(settings.image).labels if settings.setup else {}),
        )
    except APIError as error:
        if error.status_code == 409:
            detail = f"the name {name} is taken by a container that is not of this lab; remove it or rename the lab"
            raise DriverError(f"create container {name}", errno.EEXIST, detail) from error
        raise
    container.start()
    container.reload()
    process = int(container.attrs["State"]["Pid"])
    if process == 0 or not _has_begun(process):
        raise _ended(container)
    return process


def _has_begun(first: int) -> bool:
    """Wait until the command of a container runs; False if the container has ended instead.

    Its first process is the engine's own init, which runs all the while, and whose child becomes the command or fails to.
    Raises HostError when neither comes.
    """
    deadline = time.monotonic() + _BEGIN_S
    while time.monotonic() < deadline:
        try:
            init = os.stat(f"/proc/{first}/exe")
            children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return False
        for child in children:
            # One that has ended has no program any more.
            with suppress(FileNotFoundError, ProcessLookupError):
                if not os.path.samestat(os.stat(f"/proc/{child}/exe"), init):
                    return True
        time.sleep(_BEGIN_POLL_S)
    raise HostError(f"process {first}, a container's, does not start its command within {_BEGIN_S} s")


def _ended(container: Container) -> HostError:
    """Return the error that says how a container ended that should run: by what its command came to, whenever it is asked."""
    status = int(container.wait(timeout=_TIMEOUT_S)["StatusCode"])
    config = container.attrs["Config"]
    command = " ".join([*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())])
    why = {126: "cannot be executed", 127: "was not found"}.get(status)
    if why is None:
        said = container.logs(tail=3).decode(errors="replace").strip()
        why = f"ended at once with status {status}: {said or 'it said nothing'}"
    return HostError(f"container {container.name} of image {config['Image']}: its command {command!r} {why}")


def health_of(container: Container) -> Health:
    """Return how a container is, by its state and its HEALTHCHECK."""
    if container.status == "created":
        return Health("starting", "its container has not started yet")
    if container.status != "running":
        return Health("unhealthy", f"its container is {container.status}")
    check = container.attrs["State"].get("Health", {}).get("Status", "none")
    if check == "starting":
        return Health("starting", "its HEALTHCHECK has not passed yet")
    return Health("unhealthy", "its HEALTHCHECK fails") if check == "unhealthy" else HEALTHY


def _ours(client: Any, lab: str | None) -> list[Container]:
    wanted = LAB_LABEL if lab is None else f"{LAB_LABEL}={lab}"
    containers: list[Container] = client.containers.list(
        all=True, filters={"label": [wanted, NODE_LABEL]}, ignore_removed=True
    )
    return containers


def _remove(container: Container) -> None:
    from docker.errors import APIError, NotFound

    try:
        container.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # somebody else's removal of it is under way
            raise


def _by_lab(containers: Sequence[Container]) -> dict[str, list[str]]:
    labs: dict[str, list[str]] = {}
    for container in containers:
        labels: Mapping[str, str] = container.labels
        labs.setdefault(labels[LAB_LABEL], []).append(labels[NODE_LABEL])
    return {lab: sorted(nodes) for lab, nodes in sorted(labs.items())}
