"""What the operator reaches beside the API server and Postgres, as the settings say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from kubernaut.cluster.alertmanager import Alertmanager
from kubernaut.cluster.breaker import Breaker
from kubernaut.cluster.client import ApiConnection
from kubernaut.config import Settings
from kubernaut.engine.guarding import NoAlerts
from kubernaut.engine.proposing import Nobody, Webhook, host_of
from kubernaut.metrics import show_breaker
from kubernaut.outside.client import HttpClient
from kubernaut.outside.hosts import Hosts


def web_of(settings: Settings, connection: ApiConnection) -> HttpClient:
    """Return what steps send HTTP requests with."""
    return HttpClient(Hosts.parse(settings.http_hosts), connection.host, settings.alertmanager_url or "")


def proposals_of(settings: Settings, connection: ApiConnection) -> Webhook | Nobody:
    """Return what is told of proposed changes."""
    if settings.proposals_url is None:
        return Nobody()
    url = settings.proposals_url.get_secret_value()
    breaker = Breaker("the webhook of proposals", fail_max=3, probe_every=5.0)
    show_breaker("proposals", lambda: breaker.state)
    return Webhook(url, HttpClient(Hosts.parse(host_of(url)), connection.host), breaker)


def alerts_of(settings: Settings, clock: Callable[[], datetime]) -> Alertmanager | NoAlerts:
    """Return who is asked for alerts, by guards and for verdicts."""
    if settings.alertmanager_url is None:
        return NoAlerts()
    source = Alertmanager(settings.alertmanager_url, clock)
    show_breaker("alertmanager", lambda: source.breaker.state)
    return source
