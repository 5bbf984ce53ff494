"""A few calls to an API server with the standard library: enough to see whether a cluster is up."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Api:
    """Client of ``server`` (an https URL) with the admin certificate out of ``pki``."""

    server: str
    pki: Path

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """HTTP status and decoded answer (text where it is not JSON); ``timeout`` of a call is 5 s.

        Raises:
            OSError: no connection.
        """
        address = urlsplit(self.server)
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, context=context, timeout=5
        )
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            is_json = "json" in (response.getheader("Content-Type") or "")
            return response.status, json.loads(text) if is_json else text
        except http.client.HTTPException as error:
            raise OSError(f"broken answer from {self.server}: {error!r}") from error
        finally:
            connection.close()

    def get(self, path: str) -> Any | None:
        """The object at ``path``, None if there is none or no server."""
        try:
            status, answer = self.call("GET", path)
        except OSError:
            return None
        return answer if status == 200 else None

    def exists(self, path: str) -> bool:
        return self.get(path) is not None

    def ready(self) -> bool:
        return self.exists("/readyz")


def wait_until(ready: Callable[[], bool], timeout: float, check: Callable[[], None]) -> bool:
    """Ask every 50 ms for ``timeout`` seconds; False if it never came true.

    ``check`` is called between, and may raise to give up when a process that all depends on has died.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        check()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
