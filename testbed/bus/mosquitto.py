"""A real broker for labs that several machines or people share: mosquitto, with TLS, users, and what each user may do.

Everything of it stands in one directory: a certificate authority of its own, the server's key, hashed passwords, the access
list, and for each user a file with `user:password` that only its owner can read. Who runs an agent or a controller elsewhere
copies `ca.pem` and that one file. The process is found again by its id, its start time and its exact command line.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import pwd
import secrets
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from testbed.bus import websockets
from testbed.bus.messages import PREFIX, is_name
from testbed.bus.websockets import Websockets
from testbed.errors import DriverError, HostError, UsageError
from testbed.system import bounded_log

CONTROLLER = "controller"
READER = "reader"
_VALID_DAYS = 3650
_START_S = 10.0
_STOP_S = 5.0
_POLL_S = 0.02
_SYSTEM_USER = "mosquitto"
_FILES = (
    "ca.pem",
    "server.pem",
    "server.key",
    "passwords",
    "acl",
    "mosquitto.conf",
    "broker.log",
    "broker.log.1",
    "websockets",
    "pid",
)


@dataclass(frozen=True)
class Listener:
    """Where a broker listens, for browsers too if they may come, and the names under which clients may know it."""

    bind: str = "127.0.0.1"
    port: int = 8883
    names: tuple[str, ...] = ()
    websockets: Websockets | None = None

    @property
    def name(self) -> str:
        """The name by which clients are told to come."""
        return self.names[0] if self.names else "localhost"

    @property
    def page_url(self) -> str | None:
        """Where pages reach the broker; None if they do not."""
        return None if self.websockets is None else self.websockets.url(self.name)


def default_directory() -> Path:
    """Name the directory of the broker: `TESTBED_BROKER_DIR`, else one that stays over a restart of the machine."""
    if chosen := os.environ.get("TESTBED_BROKER_DIR"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/testbed/broker")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "testbed/broker"


def up(directory: Path, listener: Listener, agents: Sequence[str]) -> dict[str, str]:
    """Configure the broker and start it, or again if it runs; return the credentials file of each user.

    Keys and passwords that are there stay, so that those who have them keep them. Raises UsageError for a name that cannot
    be an agent's, HostError without mosquitto, DriverError if the broker does not come up.
    """
    for name in agents:
        if not is_name(name) or name in (CONTROLLER, READER):
            raise UsageError(f"--agent {name}: not a valid name for an agent")
    if listener.websockets is not None and listener.websockets.port == listener.port:
        raise UsageError(f"{websockets.OPTION}: port {listener.port} is that of the broker itself; choose another")
    broker = program()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = {user: _credentials(directory, user) for user in (CONTROLLER, READER, *agents)}
        _certify(directory, listener)
        _write(directory / "acl", access_list(agents))
        _hash_passwords(directory, users.values())
        template = (resources.files("testbed.containers") / "broker" / "mosquitto.conf").read_text()
        _write(
            directory / "mosquitto.conf",
            template.format(directory=directory, port=listener.port, bind=listener.bind)
            + (listener.websockets.settings(directory) if listener.websockets else ""),
        )
        _hand_over(directory)
    except OSError as error:
        raise DriverError(f"write {directory}", error.errno or 0) from error
    down(directory)
    _start(broker, directory, listener)
    if listener.page_url is not None:
        _write(directory / "websockets", f"{listener.page_url}\n")
    return {user: str(path) for user, path in users.items()}


def down(directory: Path) -> bool:
    """End the broker of a directory; return whether there was one. Its files stay."""
    process = running(directory)
    if process is None:
        return False
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return False
    try:
        # Asked again now that the process is pinned.
        if running(directory) != process:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], _STOP_S)[0]:
                break
    finally:
        os.close(descriptor)
    for name in ("pid", "websockets"):
        (directory / name).unlink(missing_ok=True)
    return True


def remove(directory: Path) -> bool:
    """End the broker and remove what `up` wrote, keys and credentials included; foreign files stay."""
    was_there = down(directory)
    for path in [*(directory / name for name in _FILES), *directory.glob("*.credentials")]:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()
    return was_there


def websockets_url(directory: Path) -> str | None:
    """Return where pages reach the broker of a directory; None if it does not run, or not for them."""
    try:
        return (directory / "websockets").read_text().strip() if running(directory) is not None else None
    except FileNotFoundError:
        return None


def running(directory: Path) -> int | None:
    """Return the id of the broker's process; None when it does not run."""
    try:
        process = int((directory / "pid").read_text())
        arguments = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[:-1]
    except (OSError, ValueError):
        return None
    return process if arguments[1:] == [os.fsencode(part) for part in _arguments(directory)] else None


def access_list(agents: Sequence[str]) -> str:
    """Return who may do what: agents answer and tell, the controller commands, the reader only listens."""
    topics = ["+/+/+/telemetry", "+/+/live", "+/topology", "+/state", "+/events", "agents/+/status"]
    lines = [f"user {CONTROLLER}", f"topic read {PREFIX}/#", f"topic write {PREFIX}/+/+/command", ""]
    lines += [f"user {READER}", *(f"topic read {PREFIX}/{topic}" for topic in topics), ""]
    for agent in agents:
        told = ["+/+/+/telemetry", f"+/{agent}/live", "+/topology", "+/state", "+/events"]
        written = [f"+/{agent}/reply/+", *told, f"agents/{agent}/status"]
        # Its own status too, which it contradicts when the last will of an earlier session comes late, and what it told of labs,
        # which it takes back when they are gone.
        lines += [
            f"user {agent}",
            f"topic read {PREFIX}/+/{agent}/command",
            f"topic read {PREFIX}/agents/{agent}/status",
            f"topic read {PREFIX}/+/+/+/telemetry",
            f"topic read {PREFIX}/+/state",
            f"topic read {PREFIX}/+/topology",
        ]
        lines += [*(f"topic write {PREFIX}/{topic}" for topic in written), ""]
    return "\n".join(lines)


def program(name: str = "mosquitto") -> str:
    """Return where a program of mosquitto's is. Raises HostError where it is not installed."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise HostError(f"no {name} on this machine: install Debian's mosquitto")
    return path


def _arguments(directory: Path) -> list[str]:
    return ["-c", str(directory / "mosquitto.conf")]


def _credentials(directory: Path, user: str) -> Path:
    path = directory / f"{user}.credentials"
    if not path.exists():
        _write(path, f"{user}:{secrets.token_urlsafe(24)}\n")
    return path


def _write(path: Path, text: str | bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    staged = path.with_name(f".{path.name}.new")
    data = text.encode() if isinstance(text, str) else text
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    staged.replace(path)


def _hash_passwords(directory: Path, credentials: Iterable[Path]) -> None:
    """Write the hashed passwords. They go through a file, since arguments can be read by everybody."""
    plain = directory / ".passwords.plain"
    try:
        _write(plain, "".join(path.read_text() for path in credentials))
        done = subprocess.run(
            [program("mosquitto_passwd"), "-U", str(plain)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise DriverError("mosquitto_passwd", 0, done.stderr.strip())
        plain.replace(directory / "passwords")
    finally:
        plain.unlink(missing_ok=True)


def _certify(directory: Path, listener: Listener) -> None:
    """Make an authority and a server's certificate, unless those there are good for these names."""
    wanted = sorted({"localhost", "127.0.0.1", "::1", socket.gethostname(), *listener.names})
    certificate = directory / "server.pem"
    if certificate.exists() and _names(certificate) >= set(wanted):
        return
    now = datetime.datetime.now(datetime.UTC)
    key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "testbed broker authority")])
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted[-1][:64])])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        )

    root = builder(authority, key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    leaf = builder(server, server_key.public_key()).add_extension(
        x509.SubjectAlternativeName([_general_name(name) for name in wanted]), False
    )
    pem = serialization.Encoding.PEM
    _write(directory / "ca.pem", root.sign(key, hashes.SHA256()).public_bytes(pem))
    _write(
        directory / "server.key",
        server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    # Last: it is what tells that all three are there. The authority's own key is kept by nobody.
    _write(certificate, leaf.sign(key, hashes.SHA256()).public_bytes(pem))
    (directory / "ca.pem").chmod(0o644)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(certificate: Path) -> set[str]:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}


def _hand_over(directory: Path) -> None:
    """Let the user that mosquitto becomes when root starts it read what it needs, and nobody else."""
    if os.geteuid() != 0:
        return
    try:
        owner = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        return
    directory.chmod(0o710)
    os.chown(directory, 0, owner.pw_gid)
    for name in ("passwords", "acl", "server.key", "server.pem", "mosquitto.conf"):
        os.chown(directory / name, owner.pw_uid, owner.pw_gid)


def _start(program: str, directory: Path, listener: Listener) -> None:
    """Start the broker in a session of its own and wait until it answers wherever it listens."""
    log = directory / "broker.log"
    log.unlink(missing_ok=True)
    process, keeper = _spawn(program, directory, log)
    _write(directory / "pid", f"{process.pid}\n")
    deadline = time.monotonic() + _START_S
    while not _answers(directory, listener):
        # Somebody else's broker on this port answers too, but not under our authority.
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            keeper.wait()
            (directory / "pid").unlink(missing_ok=True)
            reason = "; ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
            places = f"{listener.bind}:{listener.port}"
            if listener.websockets is not None:
                places += f" and {listener.websockets.bind}:{listener.websockets.port}"
            raise DriverError(f"start mosquitto on {places}", 0, reason)
        time.sleep(_POLL_S)
    # They outlive this process on purpose, which therefore never waits for them.
    process.returncode = keeper.returncode = 0


def _spawn(program: str, directory: Path, log: Path) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """Start the broker, and what keeps its log within bounds until the broker ends."""
    command = [sys.executable, bounded_log.__file__, str(log)]
    nowhere = subprocess.DEVNULL
    keeper = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, cwd="/", start_new_session=True
    )
    assert keeper.stdin is not None
    with keeper.stdin as said:
        process = subprocess.Popen(
            [program, *_arguments(directory)],
            stdin=nowhere,
            stdout=nowhere,
            stderr=said,
            cwd="/",
            start_new_session=True,
        )
    return process, keeper


def _answers(directory: Path, listener: Listener) -> bool:
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    host = anywhere.get(listener.bind, listener.bind)
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    context.check_hostname = False
    try:
        with socket.create_connection((host, listener.port), timeout=1) as plain, context.wrap_socket(plain):
            pass
    except OSError:
        return False
    return listener.websockets is None or listener.websockets.answers(directory / "ca.pem")
