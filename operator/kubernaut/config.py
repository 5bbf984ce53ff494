"""Settings, from the environment (``KUBERNAUT_*``); every one has a default that works on a laptop."""

from __future__ import annotations

import os
import re
import socket
from datetime import timedelta
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kubernaut.api.duration import parse_duration
from kubernaut.api.names import SYSTEM_NAMESPACE
from kubernaut.outside.hosts import Hosts

#: what the link of a notification may name
LINK_FIELDS = ("namespace", "run", "uid", "workflow", "step")


def _span(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _days(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"[1-9][0-9]{0,4}d", value):
        raise ValueError(f"{value!r} is not a number of days; write it as in 400d")
    return timedelta(days=int(value[:-1]))


def _hosts(text: str) -> str:
    Hosts.parse(text)
    return text


def _names(text: str) -> str:
    for name in text.split(",") if text else ():
        if not re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
            raise ValueError(f"{name!r} is not the name of a namespace; write them as in shop,payments")
    return text


def _addresses(text: str) -> str:
    for address in text.split(",") if text else ():
        if not re.fullmatch(r"[^@\s<>,\"]+@[^@\s<>,\"]+", address.strip()):
            raise ValueError(
                f"{address!r} is no e-mail address; write them as in sre@example.com,ops@example.com"
            )
    return text


def _link(template: str) -> str:
    for _, name, form, conversion in Formatter().parse(template):
        if name is not None and (name not in LINK_FIELDS or form or conversion):
            allowed = ", ".join(f"{{{one}}}" for one in LINK_FIELDS)
            raise ValueError(f"{{{name}}} can't be filled in; there are {allowed}")
    return template


Span = Annotated[timedelta, BeforeValidator(_span)]
Days = Annotated[timedelta, BeforeValidator(_days)]


def _state_dir() -> Path:
    return Path.home() / ".local" / "state" / "kubernaut" / "operator"


class Settings(BaseSettings):
    """What the operator can be told."""

    model_config = SettingsConfigDict(env_prefix="KUBERNAUT_", extra="ignore", frozen=True)

    kubeconfig: Path | None = Field(None, description="kubeconfig file; unset: in-cluster, else $KUBECONFIG")
    namespace: str = Field(SYSTEM_NAMESPACE, description="where the switch and the signing key live")
    watch_namespaces: Annotated[str, AfterValidator(_names)] = Field(
        "",
        description="namespaces to work in, separated by commas; unset: all. The operator then asks for nothing "
        "of others, and needs no right there",
    )
    dsn: SecretStr | None = Field(
        None, description="Postgres DSN of the history; unset: no history, said aloud"
    )
    retention: Days | None = Field(
        None,
        description="how long the history is kept, as in 400d; then whole months are dropped; unset: for ever",
    )
    remember: bool = Field(
        False,
        description="whether it is remembered what objects with the label kubernaut.io/remember are like while they "
        "are well; needs a history, a key to encrypt it with (KUBERNAUT_ENCRYPTION_KEYS) and the rights of "
        "manifests/remember",
    )
    remember_after: Span = Field(
        timedelta(minutes=1), description="how long such an object has to be well without a break before that"
    )
    remember_keep: Days = Field(
        timedelta(days=90), description="how long it is kept after an object was last seen so"
    )
    workers: int = Field(64, ge=1, le=1024, description="reconciliations under way at once")
    event_rate: float = Field(
        5.0,
        ge=0,
        description="Events of good runs a second, beyond 25 at once; of one that went wrong there always is one",
    )
    bind: str = Field("127.0.0.1", description="address of the metrics and health endpoint")
    port: int = Field(8080, ge=0, le=65535, description="its port; 0 takes a free one")
    state_dir: Path = Field(default_factory=_state_dir, description="disk spool")
    spool_bytes: int = Field(256 * 2**20, ge=0, description="most bytes of the disk spool")
    encryption_keys: Path | None = Field(
        None,
        description="file (of a mounted Secret) with the keys that diagnostics bundles and what is remembered of "
        "objects are encrypted with, 32 bytes in base64 a line: the first encrypts, all decrypt; unset: neither is "
        "kept",
    )
    bundle_bytes: int = Field(
        256 * 2**20, ge=0, description="most bytes of diagnostics bundles that wait on disk for Postgres"
    )
    outbox: int = Field(100_000, ge=1, description="most finished runs that wait for the history in memory")
    delete_grace: Span = Field(
        timedelta(minutes=10), description="how long a deletion may wait for the history"
    )
    relist: Span = Field(
        timedelta(seconds=15),
        description="how often live runs and Workflows are listed, lest a watch has died",
    )
    deaf_after: Span = Field(
        timedelta(minutes=3),
        description="how long no watch may bring what it has to, before liveness fails; each one that says nothing "
        "is begun anew after 150s at most",
    )
    resync: Span = Field(timedelta(minutes=10), description="how often everything is listed again")
    identity: str | None = Field(
        None,
        min_length=1,
        description="this replica's name: no other's, and kept over restarts; unset: HOSTNAME, else the host's",
    )
    shards: int = Field(
        8,
        ge=1,
        le=256,
        description="parts into which targets are divided among replicas; the same on all of them",
    )
    lease_duration: Span = Field(
        timedelta(seconds=6), description="how long a replica that is not heard of keeps its shards"
    )
    lease_renew: Span = Field(
        timedelta(seconds=2), description="how often a replica says that it lives; at most a third of that"
    )
    policy_check: Span = Field(
        timedelta(seconds=30), description="how often the admission policies are checked"
    )
    shutdown_grace: Span = Field(
        timedelta(seconds=10), description="how long effects under way may take to end"
    )
    breaker_failures: int = Field(
        10, ge=1, description="failures in a row after which the API server counts as away"
    )
    breaker_probe: Span = Field(
        timedelta(seconds=1), description="how often an API server that is away is tried again"
    )
    history_breaker_failures: int = Field(
        3, ge=1, description="failures in a row after which Postgres counts as away"
    )
    history_breaker_probe: Span = Field(
        timedelta(seconds=5), description="how often a Postgres that is away is tried again"
    )
    http_hosts: Annotated[str, AfterValidator(_hosts)] = Field(
        "",
        description="where HTTP requests of steps may go, separated by commas, as in "
        "alertmanager.monitoring.svc:9093,*.example.com; unset: anywhere but this machine, link-local addresses (the "
        "metadata of clouds) and the API server; of these only what is named by its address",
    )
    alertmanager_url: str | None = Field(
        None,
        pattern="^https?://",
        description="the Alertmanager that is asked whether the alert of a run still fires, that guards ask "
        "(stopWhileFiring), and where silence_alert makes its silences, as in http://alertmanager.monitoring:9093",
    )
    prometheus_url: str | None = Field(
        None,
        pattern="^https?://",
        description="the Prometheus (or what speaks its API) that is asked for the metrics upon which verdicts rest "
        "(verify.metrics), as in http://prometheus.monitoring:9090; unset: such verdicts are Inconclusive",
    )
    prometheus_namespace_parameter: str = Field(
        "",
        pattern="^$|^[a-zA-Z_][a-zA-Z0-9_]*$",
        description="parameter by which the namespace of a run is sent with its queries, as in namespace, for a "
        "prom-label-proxy or the like that restricts them to it; unset: a Workflow can ask for any metric there is",
    )
    prometheus_token: Path | None = Field(
        None, description="file (of a mounted Secret) with a bearer token for it, read each time"
    )
    prometheus_ca: Path | None = Field(
        None, description="certificates (PEM) of which one has to have signed its own; unset: the system's"
    )
    prometheus_breaker_failures: int = Field(
        3, ge=1, description="failures in a row after which Prometheus counts as away"
    )
    prometheus_breaker_probe: Span = Field(
        timedelta(seconds=5), description="how often a Prometheus that is away is tried again"
    )
    alerts_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port at which alerts are received (POST /alerts, as Alertmanager's webhook_configs send them); "
        "unset: alerts start nothing; 0 takes a free one",
    )
    alerts_bind: str = Field("127.0.0.1", description="its address")
    alerts_tokens: Path | None = Field(
        None,
        description="file (of a mounted Secret) with the bearer tokens of which Alertmanager has to send one, one a "
        "line, read anew when it changes",
    )
    alerts_certificate: Path | None = Field(
        None, description="the receiver's certificate (PEM, with its chain); unset: plain HTTP"
    )
    alerts_key: Path | None = Field(None, description="the key of that certificate (PEM)")
    alerts_client_ca: Path | None = Field(
        None,
        description="certificates (PEM) of which one has to have signed that of Alertmanager; unset: it needs none, "
        "and has to send a token",
    )
    alerts_receivers: str = Field(
        "",
        description="Alertmanager's receivers whose notifications are taken, separated by commas; unset: any",
    )
    alerts_namespace_label: str = Field(
        "namespace",
        pattern="^[a-zA-Z_][a-zA-Z0-9_]*$",
        description="label of alerts that names the namespace they are about, so whose Workflows they start; name "
        "none that a workload's own metrics can set",
    )
    alerts_bytes: int = Field(2**20, ge=1024, le=64 * 2**20, description="most bytes of one notification")
    argocd_namespace: str = Field(
        "argocd", description="where Argo CD keeps Applications whose tracking names no namespace"
    )
    proposals_url: SecretStr | None = Field(
        None,
        description="webhook that is told of changes which are proposed instead of made (guards.gitOps: Propose), "
        "from a Secret where its address is one",
    )
    notify_webhook_url: Path | None = Field(
        None,
        description="file (of a mounted Secret) with the URL that is told, as JSON by POST, when a run waits for a "
        "person; read each time, as all files of notifications",
    )
    notify_webhook_token: Path | None = Field(None, description="file with a bearer token for it")
    notify_slack_url: Path | None = Field(
        None, description="file with the URL of Slack's incoming webhook that is told so"
    )
    notify_email_server: str | None = Field(
        None,
        pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$",
        description="mail server that takes e-mails which say so, with its port, as in smtp.example.com:587",
    )
    notify_email_security: str = Field(
        "starttls",
        pattern="^(starttls|tls|none)$",
        description="how the connection to it is encrypted: starttls, tls (from the first byte) or none",
    )
    notify_email_from: Annotated[str, AfterValidator(_addresses)] = Field("", description="who they are from")
    notify_email_to: Annotated[str, AfterValidator(_addresses)] = Field(
        "", description="who they go to, separated by commas"
    )
    notify_email_username: str = Field("", description="user at the mail server; unset: it asks for none")
    notify_email_password: Path | None = Field(None, description="file with the user's password")
    notify_remind_after: Span | None = Field(
        None,
        description="time after which it is told again where nobody answered, then each time after twice as long; "
        "unset: never",
    )
    notify_resolved: bool = Field(
        True,
        description="whether those who were told are also told that the run does not wait any more, and why",
    )
    notify_link: Annotated[str, AfterValidator(_link)] = Field(
        "",
        description="link that notifications show; {namespace}, {run}, {uid}, {workflow} and {step} are filled in, "
        "as in https://console.example.com/{namespace}/{run}",
    )
    traces: bool = Field(
        False,
        description="whether runs are traced by OTLP over HTTP; where to, and how, is told by "
        "OTEL_EXPORTER_OTLP_ENDPOINT and the other variables of OpenTelemetry (docs/tracing.md); needs extra otlp",
    )
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: str = Field("json", pattern="^(json|text)$", description="json or text")

    @property
    def watched(self) -> tuple[str, ...]:
        """The namespaces to work in; empty means all."""
        return tuple(dict.fromkeys(self.watch_namespaces.split(","))) if self.watch_namespaces else ()

    @property
    def replica(self) -> str:
        """This replica's name."""
        return self.identity or os.environ.get("HOSTNAME") or socket.gethostname()

    @model_validator(mode="after")
    def _a_lease_outlives_two_lost_renewals(self) -> Self:
        if self.lease_duration < timedelta(seconds=1) or self.lease_renew * 3 > self.lease_duration:
            raise ValueError(
                "KUBERNAUT_LEASE_DURATION must be at least 1s, and at least three times KUBERNAUT_LEASE_RENEW"
            )
        return self

    @model_validator(mode="after")
    def _what_prometheus_needs(self) -> Self:
        if self.prometheus_namespace_parameter in (
            "query",
            "time",
            "timeout",
            "limit",
            "stats",
            "lookback_delta",
        ):
            raise ValueError(
                "KUBERNAUT_PROMETHEUS_NAMESPACE_PARAMETER names a parameter of Prometheus' own; "
                "name the one that restricts queries, as in namespace"
            )
        given = ("namespace_parameter", "token", "ca")
        without = [name for name in given if getattr(self, f"prometheus_{name}")]
        if without and self.prometheus_url is None:
            raise ValueError(f"KUBERNAUT_PROMETHEUS_{without[0].upper()} needs KUBERNAUT_PROMETHEUS_URL")
        return self

    @model_validator(mode="after")
    def _what_notifications_need(self) -> Self:
        if self.notify_webhook_token is not None and self.notify_webhook_url is None:
            raise ValueError("KUBERNAUT_NOTIFY_WEBHOOK_TOKEN needs KUBERNAUT_NOTIFY_WEBHOOK_URL")
        if self.notify_email_server is not None and not (self.notify_email_from and self.notify_email_to):
            raise ValueError(
                "KUBERNAUT_NOTIFY_EMAIL_SERVER needs KUBERNAUT_NOTIFY_EMAIL_FROM and KUBERNAUT_NOTIFY_EMAIL_TO"
            )
        if (self.notify_email_password is not None) is not bool(self.notify_email_username):
            raise ValueError(
                "KUBERNAUT_NOTIFY_EMAIL_USERNAME and KUBERNAUT_NOTIFY_EMAIL_PASSWORD go together"
            )
        if self.notify_email_password is not None and self.notify_email_security == "none":
            raise ValueError(
                "KUBERNAUT_NOTIFY_EMAIL_PASSWORD would be sent for anybody to read: set "
                "KUBERNAUT_NOTIFY_EMAIL_SECURITY to starttls or tls"
            )
        if self.notify_remind_after is not None and self.notify_remind_after < timedelta(seconds=1):
            raise ValueError("KUBERNAUT_NOTIFY_REMIND_AFTER must be at least 1s")
        return self
