"""Who is notified, on this machine: a webhook, Slack's incoming webhook and a mail server; all real servers."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from localrun.process import free_port


class Hook:
    """A server that takes what is posted; it is not there until it is started."""

    def __init__(self) -> None:
        self.port = free_port()
        self.taken: list[tuple[str, Any]] = []
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        taken = self.taken

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                taken.append((self.headers["Idempotency-Key"], body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def keys(self, uid: str) -> list[str]:
        """Return the keys of what came about a run, without its UID."""
        return [key.removeprefix(f"{uid}/") for key, _ in self.taken if key.startswith(uid)]

    def last(self, uid: str, key: str) -> dict[str, Any]:
        """Return what came last under a key about a run: people are told of other runs too."""
        found: dict[str, Any] = [body for one, body in self.taken if one == f"{uid}/{key}"][-1]
        return found


class Box:
    """A mailbox behind a mail server."""

    def __init__(self) -> None:
        self.letters: list[str] = []
        self._server = Controller(self, hostname="127.0.0.1", port=free_port())

    @property
    def port(self) -> int:
        return int(self._server.port)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    async def handle_DATA(self, _: Any, __: Any, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content or b""
        self.letters.append(content.decode() if isinstance(content, bytes) else content)
        return "250 OK"

    def keys(self, uid: str) -> list[str]:
        """Return the keys of what came about a run, without its UID."""
        mark = f"X-Kubernaut-Key: {uid}/"
        lines = (line for letter in self.letters for line in letter.splitlines())
        return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


class Notified:
    """All of them."""

    def __init__(self, folder: Path) -> None:
        self.webhook, self.slack, self.email = Hook(), Hook(), Box()
        self._folder = folder

    def env(self) -> dict[str, str]:
        """Return the settings of an operator that tells them; what is secret is in files."""
        secrets = {
            "KUBERNAUT_NOTIFY_WEBHOOK_URL": f"http://127.0.0.1:{self.webhook.port}/secret-path-canary",
            "KUBERNAUT_NOTIFY_WEBHOOK_TOKEN": "token-canary-0123456789",
            "KUBERNAUT_NOTIFY_SLACK_URL": f"http://127.0.0.1:{self.slack.port}/services/slack-canary",
        }
        found = {
            "KUBERNAUT_NOTIFY_EMAIL_SERVER": f"127.0.0.1:{self.email.port}",
            "KUBERNAUT_NOTIFY_EMAIL_SECURITY": "none",
            "KUBERNAUT_NOTIFY_EMAIL_FROM": "kubernaut@example.com",
            "KUBERNAUT_NOTIFY_EMAIL_TO": "sre@example.com",
            "KUBERNAUT_NOTIFY_LINK": "https://console.example.com/{namespace}/{run}",
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, text in secrets.items():
            path = self._folder / name.lower()
            path.write_text(f"{text}\n")
            found[name] = str(path)
        return found

    def keys(self, uid: str) -> list[list[str]]:
        """Return the keys of what came about a run, by channel."""
        return [one.keys(uid) for one in (self.webhook, self.slack, self.email)]


@contextlib.contextmanager
def notified(folder: Path) -> Iterator[Notified]:
    """Have somebody who is notified; Slack is away until it is started."""
    made = Notified(folder)
    made.webhook.start()
    made.email.start()
    try:
        yield made
    finally:
        made.webhook.stop()
        made.slack.stop()
        made.email.stop()
