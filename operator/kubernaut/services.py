"""What the operator reaches beside the API server and Postgres, as the settings say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from kubernaut import tracing
from kubernaut.cluster.alertmanager import Alertmanager
from kubernaut.cluster.breaker import Breaker
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.prometheus import Access, Prometheus
from kubernaut.config import Settings
from kubernaut.core.errors import KubernautError
from kubernaut.engine.engine import Engine
from kubernaut.engine.guarding import NoAlerts
from kubernaut.engine.keys import RunKey
from kubernaut.engine.measuring import Metrics, NoMetrics
from kubernaut.engine.posting import Poster, host_of
from kubernaut.engine.proposing import Nobody, Webhook
from kubernaut.metrics import show_breaker
from kubernaut.notify.channels import Channel
from kubernaut.notify.channels import Webhook as WebhookChannel
from kubernaut.notify.ledger import Ledger
from kubernaut.notify.notifier import Notifier
from kubernaut.notify.waits import Policy, Waits
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


def traced(settings: Settings) -> Callable[[], None] | None:
    """Have runs traced, where that is wanted; return what sends the last spans, which blocks for some seconds.

    Raises:
        KubernautError: what it needs is not installed.
    """
    if not settings.traces:
        return None
    try:
        from kubernaut.otlp import Exporting
    except ImportError as error:
        told = f"KUBERNAUT_TRACES needs {error.name}: install kubernaut[otlp], or unset it"
        raise KubernautError(told) from None
    exporting = Exporting(settings.replica)
    end = tracing.take_by(exporting)

    def close() -> None:
        end()
        exporting.close()

    return close


def notifier_of(
    settings: Settings,
    connection: ApiConnection,
    clock: Callable[[], datetime],
    engine: Engine,
    on: Callable[[], bool],
) -> Notifier | None:
    """Return what tells people that they are waited for; None where no channel is set."""
    channels = [*_posting(settings, connection), *_mail(settings, connection, clock)]
    if not channels:
        return None
    policy = Policy(settings.notify_remind_after, settings.notify_resolved, settings.notify_link)
    known = engine.known
    waits = Waits(policy, clock, engine.finished, known.others.__contains__)
    return Notifier(channels, waits, Ledger(settings.state_dir), known.live.values, on)


def _posting(settings: Settings, connection: ApiConnection) -> Iterator[Channel]:
    def web(url: str) -> HttpClient:
        # The file may name another host each time it is read; that one alone may be reached then.
        return HttpClient(Hosts.parse(host_of(url)), connection.host)

    if settings.notify_webhook_url is not None:
        poster = Poster(web, _breaker("notify-webhook", "the webhook of notifications"))
        yield WebhookChannel(poster, settings.notify_webhook_url, settings.notify_webhook_token)
    if settings.notify_slack_url is not None:
        # Libraries that few need: together they take 8 MB.
        from kubernaut.notify.slack import Slack

        yield Slack(Poster(web, _breaker("notify-slack", "Slack")), settings.notify_slack_url)


def _mail(settings: Settings, connection: ApiConnection, clock: Callable[[], datetime]) -> Iterator[Channel]:
    if settings.notify_email_server is None:
        return
    from kubernaut.notify.mail import Mail, Security

    host, _, port = settings.notify_email_server.rpartition(":")
    client = HttpClient(Hosts.parse(settings.notify_email_server), connection.host)
    yield Mail(
        host.strip("[]"),
        int(port),
        Security(settings.notify_email_security),
        client.addresses,
        settings.notify_email_from,
        tuple(one.strip() for one in settings.notify_email_to.split(",")),
        _breaker("notify-email", "the mail server"),
        clock,
        settings.notify_email_username,
        settings.notify_email_password,
    )


def _breaker(service: str, told: str) -> Breaker:
    breaker = Breaker(told, fail_max=3, probe_every=1.0)
    show_breaker(service, lambda: breaker.state)
    return breaker


def alerts_of(settings: Settings, clock: Callable[[], datetime]) -> Alertmanager | NoAlerts:
    """Return who is asked for alerts, by guards and for verdicts."""
    if settings.alertmanager_url is None:
        return NoAlerts()
    source = Alertmanager(settings.alertmanager_url, clock)
    show_breaker("alertmanager", lambda: source.breaker.state)
    return source


def metrics_of(settings: Settings, clock: Callable[[], datetime], wake: Callable[[RunKey], None]) -> Metrics:
    """Return who is asked for the metrics of verdicts."""
    if settings.prometheus_url is None:
        return Metrics(NoMetrics(clock), wake)
    access = Access(
        settings.prometheus_url,
        settings.prometheus_namespace_parameter,
        settings.prometheus_token,
        settings.prometheus_ca,
    )
    breaker = Breaker(
        "Prometheus",
        fail_max=settings.prometheus_breaker_failures,
        probe_every=settings.prometheus_breaker_probe.total_seconds(),
    )
    show_breaker("prometheus", lambda: breaker.state)
    return Metrics(Prometheus(access, clock, breaker), wake)
