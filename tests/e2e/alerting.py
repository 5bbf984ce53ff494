"""An Alertmanager of the tests' own: it tells alerts as the real one does, and tells them again until it is heard."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from e2e.world import World
from kubernaut.core.ports import Manifest
from localrun.process import Operator, free_port

TOKEN = "a-token-of-the-tests-0123456789"


def alert(
    name: str = "Broken",
    *,
    minutes_ago: float = 1,
    ended_ago: float | None = None,
    labels: Mapping[str, str] | None = None,
    **more: str,
) -> Manifest:
    """Return an alert that fires since so many minutes, or was resolved so many ago."""
    now = datetime.now(UTC)
    all_of = {"alertname": name, **(labels or {}), **more}
    ended = None if ended_ago is None else now - timedelta(minutes=ended_ago)
    return {
        "status": "firing" if ended is None else "resolved",
        "labels": all_of,
        "annotations": {"summary": f"{name} in a test"},
        "startsAt": (now - timedelta(minutes=minutes_ago)).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z" if ended is None else ended.isoformat(),
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": hashlib.sha256(json.dumps(all_of, sort_keys=True).encode()).hexdigest()[:16],
    }


def payload(*alerts: Manifest, receiver: str = "kubernaut") -> Manifest:
    """Return a notification."""
    return {
        "version": "4",
        "groupKey": "{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": receiver,
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": list(alerts),
    }


class Teller:
    """Tells an operator of alerts."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/alerts"

    def post(self, body: bytes, token: str | None = TOKEN) -> tuple[int, Manifest]:
        """Send a request; return its status and answer, (0, {}) where nobody listens."""
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self._url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")
        except OSError:
            return 0, {}

    def tell(self, *alerts: Manifest, **more: Any) -> Manifest:
        """Tell alerts once, and have them taken."""
        status, answer = self.post(json.dumps(payload(*alerts, **more)).encode())
        assert status == 200, (status, answer)
        return answer

    def insist(self, *alerts: Manifest, seconds: float = 60) -> Manifest:
        """Tell alerts again and again until they are taken, as Alertmanager does after 5xx and without an answer."""
        body, deadline = json.dumps(payload(*alerts)).encode(), time.monotonic() + seconds
        while True:
            status, answer = self.post(body)
            if status == 200:
                return answer
            assert status in (0, 503), (status, answer)
            assert time.monotonic() < deadline, (status, answer)
            time.sleep(0.2)


@contextlib.contextmanager
def taking_alerts(world: World, **env: str) -> Iterator[tuple[Teller, Operator]]:
    """Have an operator take alerts in the stead of the usual one."""
    port, tokens = free_port(), world.folder / "alert-tokens"
    tokens.write_text(f"{TOKEN}\n")
    settings: Mapping[str, str] = {
        "KUBERNAUT_POLICY_CHECK": "1s",
        "KUBERNAUT_ALERTS_PORT": str(port),
        "KUBERNAUT_ALERTS_TOKENS": str(tokens),
        **env,
    }
    with world.other_operator(world.postgres.dsn, settings) as operator:
        yield Teller(port), operator
