"""The HTTP server of a traffic generator: threads for connections, bounds for what they send, TLS with a key of its own."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import socket
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from testbed.errors import HostError, TestbedError, UsageError
from testbed.otg.api import Answer, Api, error

LONGEST_BODY_BYTES = 16 * 2**20
PATIENCE_S = 30.0
"""How long a client may take over a request."""
MOST_CONNECTIONS = 64
"""Connections at a time; one more is closed."""
_DAYS = 3650
_log = logging.getLogger(__name__)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "testbed"
    sys_version = ""
    timeout = PATIENCE_S
    server: Server

    def setup(self) -> None:
        # The handshake is made in the thread of the connection, where a client that says nothing keeps nobody waiting.
        self.request.settimeout(PATIENCE_S)
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.server.connections.add(self.request)
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.connections.discard(self.request)
            self.request.close()

    def _serve(self) -> None:
        body = self._body()
        if body is None:
            return
        try:
            answer = self.server.api.answer(self.command, self.path, body)
        except TestbedError as failed:
            answer = error(500, "internal", [str(failed)])
        except Exception as failed:  # noqa: BLE001
            # A fault of this server: the client is told so, and the generator goes on.
            _log.exception("%s %s", self.command, self.path)
            answer = error(500, "internal", [f"{type(failed).__name__}: {failed}"[:400]])
        self._send(answer)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

    def _body(self) -> bytes | None:
        """Return the body of a request, None where it is refused."""
        given = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (given.isascii() and given.isdecimal() and len(given) < 19):
            self._refuse(411, "a request states the length of its body")
        elif int(given) > LONGEST_BODY_BYTES:
            self._refuse(413, f"a body has {LONGEST_BODY_BYTES} bytes at most")
        else:
            body = self.rfile.read(int(given))
            if len(body) == int(given):
                return body
            self._refuse(400, "the body is shorter than its length")
        return None

    def _refuse(self, status: int, message: str) -> None:
        self.close_connection = True
        self._send(error(status, "validation", [message]))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that is no HTTP in the API's own form."""
        self.close_connection = True
        self._send(error(code, "validation", [message or "bad request"]))

    def log_message(self, format: str, *args: Any) -> None:
        """Log at a level that is not shown."""
        _log.debug(format, *args)


class Server(ThreadingHTTPServer):
    """A server of one generator. `address` is where it listens; `tls`, how it does if over HTTPS."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], api: Api, tls: ssl.SSLContext | None) -> None:
        self.api = api
        self.tls = tls
        self.connections: set[socket.socket] = set()
        self.threads: list[threading.Thread] = []
        try:
            super().__init__(address, _Handler)
        except OSError as refused:
            raise HostError(f"cannot listen on {address[0]}:{address[1]}: {refused.strerror}") from None

    @property
    def url(self) -> str:
        """What clients are given as the location."""
        host, port = self.server_address[:2]
        return f"{'http' if self.tls is None else 'https'}://{host!s}:{port}"

    def server_close(self) -> None:
        """Stop listening, and end the connections that clients keep open."""
        super().server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE_S)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self.threads = [each for each in self.threads if each.is_alive()]
        if len(self.threads) >= MOST_CONNECTIONS:
            self.shutdown_request(request)
            return
        self.threads.append(thread)
        thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what became of a connection that broke; the others go on."""
        _log.debug("connection of %s", client_address, exc_info=True)


def parse_listen(text: str) -> tuple[str, int]:
    """Read `address:port`. Raises UsageError."""
    host, _, port = text.rpartition(":")
    try:
        address = str(ipaddress.IPv4Address(host))
    except ValueError:
        raise UsageError(f"--listen {text}: an IPv4 address and a port, such as 127.0.0.1:8443") from None
    if not (port.isascii() and port.isdecimal() and int(port) < 2**16):
        raise UsageError(f"--listen {text}: a port from 0 to 65535; 0 takes any that is free")
    return address, int(port)


def tls_context(address: str) -> ssl.SSLContext:
    """Return TLS with a key and a certificate that are made here, for clients that do not verify it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "testbed otg")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory(prefix="testbed-otg-") as directory:
        path = Path(directory) / "certificate.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.touch(mode=0o600)
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(path)
    return context
