"""A small REST client on one kept connection, fast enough for thousands of dry runs."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import yaml

MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: Any

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", "")) if isinstance(self.body, dict) else str(self.body)


# The API server closes a connection that nobody used for 90 s, which only the next request would notice.
_IDLE = 60.0


class Client:
    """One user's connection: the kubeconfig's own, or another one by impersonation."""

    def __init__(
        self, kubeconfig: Path, user: str = "", groups: tuple[str, ...] = (), *, token: str = ""
    ) -> None:
        self._kubeconfig = kubeconfig
        self._headers: list[tuple[str, str]] = [("Impersonate-User", user)] if user else []
        self._headers += [("Impersonate-Group", group) for group in groups]
        if token:
            self._headers.append(("Authorization", f"Bearer {token}"))
        config = yaml.safe_load(kubeconfig.read_text())
        address = urlsplit(config["clusters"][0]["cluster"]["server"])
        self._used = time.monotonic()
        self._connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, context=_context(config, certificate=not token), timeout=30
        )

    def acting_as(self, user: str, *groups: str) -> Client:
        """Return a client that acts as somebody else."""
        return Client(self._kubeconfig, user, groups)

    def bearing(self, token: str) -> Client:
        """Return a client that is who the token says, and nobody by impersonation."""
        return Client(self._kubeconfig, token=token)

    def account(self, namespace: str, name: str, *groups: str) -> Client:
        """Return a client that acts as a ServiceAccount."""
        own = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return self.acting_as(f"system:serviceaccount:{namespace}:{name}", *own, *groups)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        **query: str,
    ) -> Answer:
        """Send one request; a refusal is an answer like any other."""
        return self.send(method, path, body, query, (("Accept", accept),), content_type)

    def send(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, str],
        headers: Iterable[tuple[str, str]],
        content_type: str = "application/json",
    ) -> Answer:
        """Send one request with headers of its own."""
        target = f"{path}?{urlencode(query)}" if query else path
        data = json.dumps(body).encode() if body is not None else None
        if time.monotonic() - self._used > _IDLE:
            self._connection.close()
        try:
            return self._answer(method, target, headers, data, content_type)
        except (http.client.HTTPException, OSError):
            # Else every later request would be refused by a connection that waits for this one's answer.
            self._connection.close()
            raise

    def _answer(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        data: bytes | None,
        content_type: str,
    ) -> Answer:
        self._connection.putrequest(method, target)
        for name, value in (*self._headers, *headers):
            self._connection.putheader(name, value)
        if data is not None:
            self._connection.putheader("Content-Type", content_type)
            self._connection.putheader("Content-Length", str(len(data)))
        self._connection.endheaders(data)
        response = self._connection.getresponse()
        text = response.read()
        self._used = time.monotonic()
        return Answer(response.status, json.loads(text) if text.startswith(b"{") else text.decode())


def _context(config: dict[str, Any], *, certificate: bool = True) -> ssl.SSLContext:
    user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
    context = ssl.create_default_context(
        cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
    )
    if not certificate:
        return context
    with tempfile.NamedTemporaryFile() as file:
        # One file takes certificate and key; the standard library reads them from nowhere else.
        for part in ("client-certificate-data", "client-key-data"):
            file.write(base64.b64decode(user[part]))
        file.flush()
        context.load_cert_chain(file.name)
    return context
