"""Alerts told to what the chart installed by who shows a certificate, and by who does not."""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from apiserver.acting import await_true
from certificates import Authority, client
from chart_overlays import NAMESPACE
from localcluster import Cluster

SECRET = "alerts-tls"
VALUES = {"enabled": True, "tls": {"existingSecret": SECRET, "clientCertificates": True}}
Manifest = dict[str, Any]


class Certificates:
    """An authority that the operator takes certificates of, its own among them, and one that it does not know."""

    def __init__(self, folder: Path) -> None:
        self._ours = Authority(folder, "ours")
        certificate, key = self._ours.signed("receiver")
        parts = {"tls.crt": certificate, "tls.key": key, "ca.crt": self._ours.path}
        self.secret: Manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "data": {name: base64.b64encode(path.read_bytes()).decode() for name, path in parts.items()},
        }
        self.known = self._client(self._ours.signed("alertmanager"))
        self.nobody = self._client(None)
        self.stranger = self._client(Authority(folder, "theirs").signed("stranger"))

    def _client(self, shown: tuple[Path, Path] | None) -> ssl.SSLContext:
        context = client(self._ours, shown)
        context.check_hostname = True
        return context


def alert(namespace: str, status: str) -> bytes:
    """Return what Alertmanager tells of the alert that sample on-alert waits for."""
    told = {
        "status": status,
        "labels": {
            "alertname": "AppNotAnswering",
            "severity": "critical",
            "namespace": namespace,
            "deployment": "web",
        },
        "startsAt": "2026-11-28T11:21:00Z",
        "fingerprint": "5ef1f1e5c0ffee00",
    }
    if status == "resolved":
        told["endsAt"] = datetime.now(UTC).isoformat()
    return json.dumps({"version": "4", "receiver": "kubernaut", "status": status, "alerts": [told]}).encode()


def only_with_a_certificate(cluster: Cluster, certificates: Certificates, namespace: str) -> None:
    """Tell an alert with a certificate, which starts a run, and without one or with a wrong one, which is refused."""
    pod, tells = "pod/kubernaut-operator-0", alert(namespace, "firing")
    with forwarded(cluster, pod, 8080) as (metrics,):
        before = counted(metrics)
        for refused in (certificates.nobody, certificates.stranger):
            # One each: kubectl ends with a connection that is reset.
            with (
                forwarded(cluster, pod, 9095) as (port,),
                pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)),
            ):
                # A token is no certificate.
                post(port, refused, tells, {"Authorization": "Bearer a-token-0123456789"})
        assert counted(metrics) == {**before, "tls": before["tls"] + 2}
        with forwarded(cluster, pod, 9095) as (port,):
            answers = [post(port, certificates.known, tells)]
            # A run whose alert is over before it acts does nothing.
            look = (
                "get",
                "kwfe",
                "-n",
                namespace,
                "-l",
                "kubernaut.io/alert",
                "-o=jsonpath={.items[*].status.phase}",
            )
            await_true(lambda: cluster.run_kubectl(*look) == "Verifying", "the alert's run does not act")
            answers.append(post(port, certificates.known, alert(namespace, "resolved")))
        assert [answer["alerts"] for answer in answers] == [{"started": 1}, {"resolved": 1}]
        assert counted(metrics) == {**before, "tls": before["tls"] + 2, "200": before["200"] + 2}


def post(port: int, context: ssl.SSLContext, body: bytes, headers: dict[str, str] | None = None) -> Manifest:
    """Send a notification; raises what TLS has against it."""
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=30)
    try:
        connection.request("POST", "/alerts", body, headers or {})
        answer: Manifest = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


def counted(port: int) -> dict[str, float]:
    """Return how many requests got which answer."""
    connection = http.client.HTTPConnection("localhost", port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.findall(r'^kubernaut_alert_requests_total\{code="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {code: float(count) for code, count in found}


@contextmanager
def forwarded(cluster: Cluster, what: str, *ports: int) -> Iterator[list[int]]:
    """Have ports of a pod at ports of this machine meanwhile."""
    command = [str(cluster.kubectl), "port-forward", what, "-n", NAMESPACE, "--address=127.0.0.1"]
    with subprocess.Popen(
        [*command, *(f":{port}" for port in ports)],
        env=cluster.client_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout
            lines = [running.stdout.readline() for _ in ports]
            found = [re.search(r"127\.0\.0\.1:(\d+) -> ", line) for line in lines]
            assert all(found), lines
            yield [int(one[1]) for one in found if one]
        finally:
            running.terminate()
