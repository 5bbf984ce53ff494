"""Servers outside the cluster, on this machine: a queue with a webhook, and an Alertmanager.

The Alertmanager is none but speaks the part of its documented API v2 that concerns silences and alerts: it gives a
silence its ID, keeps expired ones, and tells of an alert which silences hold for it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernaut.core.ports import HttpAnswer, HttpRequest
from kubernaut.outside.client import HttpClient
from kubernaut.outside.hosts import Hosts

Answer = tuple[int, Any]


class Served:
    """Serves on a free port of this machine, until it is stopped."""

    def __init__(self, answer: Callable[[str, str, dict[str, str], bytes], Answer]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, document = answer(self.command, self.path, headers, body)
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _handle  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Queue:
    """A queue that is resumed by a webhook with a token; it heeds the key of a request."""

    token: str
    paused: bool = False
    resumed: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("authorization") != f"Bearer {self.token}":
            return 401, {}
        if (method, path) != ("POST", "/resume") or json.loads(body) != {"by": "kubernaut"}:
            return 404, {}
        key = headers["idempotency-key"]
        if key not in self.answers:
            self.paused = False
            self.resumed += 1
            self.answers[key] = (200, {"queue": {"resumed": self.resumed}})
        return self.answers[key]


@dataclass
class Alertmanager:
    """Alerts and silences."""

    alerts: list[dict[str, str]] = field(default_factory=list)
    silences: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        if method == "GET" and parts.path == "/api/v2/silences":
            wanted = parse_qs(parts.query).get("filter", [])
            return 200, [one for one in self.silences if set(wanted) <= set(map(_text, one["matchers"]))]
        if method == "POST" and parts.path == "/api/v2/silences":
            silence = json.loads(body)
            name = f"silence-{len(self.silences)}"
            self.silences.append({"id": name, "status": {"state": "active"}, **silence})
            return 200, {"silenceID": name}
        if method == "DELETE" and parts.path.startswith("/api/v2/silence/"):
            found = [one for one in self.silences if one["id"] == parts.path.rpartition("/")[2]]
            for one in found:
                one["status"] = {"state": "expired"}
            return (200, {}) if found else (404, {})
        return 404, {}

    def firing(self) -> list[dict[str, str]]:
        """Return the alerts that somebody is told of."""
        active = [one for one in self.silences if one["status"]["state"] == "active"]
        return [alert for alert in self.alerts if not any(_holds(one, alert) for one in active)]


def _text(matcher: dict[str, Any]) -> str:
    return f"{matcher['name']}={json.dumps(matcher['value'])}"


def _holds(silence: dict[str, Any], alert: dict[str, str]) -> bool:
    def matches(one: dict[str, Any]) -> bool:
        value = alert.get(one["name"], "")
        same = bool(re.fullmatch(one["value"], value)) if one["isRegex"] else value == one["value"]
        return same is one["isEqual"]

    return all(map(matches, silence["matchers"]))


class ThisMachine:
    """The way out as the operator has it, with leave to reach this machine; its Alertmanager is named later."""

    def __init__(self) -> None:
        self.alertmanager = ""
        self._client = HttpClient(Hosts.parse("127.0.0.1"), "https://127.0.0.1:1")

    async def send(self, request: HttpRequest) -> HttpAnswer:
        return await self._client.send(request)
