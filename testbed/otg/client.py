"""The other end of a generator that is served, for what is not of its API: the switches of its lab."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from testbed.errors import HostError, UsageError
from testbed.otg.dut import Row, Table

_PATIENCE_S = 120.0
_MOST_BYTES = 2**24


class Dut:
    """A switch of a lab that `testbed otg` serves at a URL; the only one of the lab if none is named."""

    def __init__(self, server: str, switch: str | None = None) -> None:
        if not server.startswith(("http://", "https://")):
            raise UsageError(f"--server {server}: a URL, such as https://127.0.0.1:8443")
        self._server = server.rstrip("/")
        self._switch = switch

    def show(self, command: str) -> list[Row]:
        """Return the rows of what a command prints, `pfc counters`. Raises UsageError for one that is not known, or HostError."""
        return [row for table in self.tables(command) for row in table.rows]

    def tables(self, command: str) -> list[Table]:
        """Return the tables of what a command prints. Raises as `show` does."""
        body = {"command": command, **({"switch": self._switch} if self._switch else {})}
        answer = self._ask(json.dumps(body).encode())
        return [Table(each["title"], each["columns"], each["rows"]) for each in answer["tables"]]

    def _ask(self, body: bytes) -> Any:
        context = ssl.create_default_context()
        # Its certificate is made by the server itself, and signed by nobody.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = urllib.request.Request(f"{self._server}/testbed/show", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S, context=context) as answer:
                return json.loads(answer.read(_MOST_BYTES))
        except urllib.error.HTTPError as refused:
            with refused:
                said = refused.read(_MOST_BYTES)
            raise UsageError(_errors(said)) from None
        except (OSError, ValueError) as failed:
            raise HostError(f"{self._server}: {failed}") from None


def _errors(said: bytes) -> str:
    try:
        return "; ".join(str(each) for each in json.loads(said)["errors"])
    except (ValueError, KeyError, TypeError):
        return said[:200].decode(errors="replace")
