"""The values of the chart: what values.yaml says of each, and its bounds; the schema and the chart's README of both.

A comment ``# -- text`` describes the value below it. That every value has a description and bounds, and that nothing
is bounded which does not exist, is demanded when the files are generated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import yaml

import chart_roles
from kubernaut import __version__
from kubernaut.api.duration import format_duration
from kubernaut.config import Settings

VALUES: Final = Path(__file__).resolve().parent.parent / "charts" / "kubernaut" / "values.yaml"
Schema = dict[str, Any]

_DURATION: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
_NAMESPACE: Final = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
_NAME: Final = {"type": "string", "pattern": "^$|^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"}
_KEY: Final = {"type": "string", "pattern": "^[-._a-zA-Z0-9]{1,253}$"}
_QUANTITY: Final = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"}
_PORT: Final = {"type": "integer", "minimum": 1, "maximum": 65535}
_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_OBJECT: Final = {"type": "object"}
_OBJECTS: Final = {"type": "array", "items": {"type": "object"}}
_RESOURCES: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {name: {"type": "object"} for name in ("requests", "limits", "claims")},
}
_IMAGE: Final[Schema] = {
    "repository": {"type": "string", "minLength": 1},
    "tag": {"type": "string", "pattern": "^$|^[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}$"},
    "digest": {"type": "string", "pattern": "^$|^sha256:[0-9a-f]{64}$"},
}
_POD: Final[Schema] = {
    "extraEnv": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "value": {"type": "string"}, "valueFrom": _OBJECT},
            "additionalProperties": False,
        },
    },
    "extraVolumes": _OBJECTS,
    "extraVolumeMounts": _OBJECTS,
    "resources": _RESOURCES,
    "podAnnotations": _TEXTS,
    "podLabels": _TEXTS,
    "nodeSelector": _TEXTS,
    "tolerations": _OBJECTS,
    "affinity": _OBJECT,
    "priorityClassName": _NAME,
}
_PLACING: Final = ("nodeSelector", "tolerations", "affinity", "priorityClassName")
# What other values, or the chart itself, decide.
OWNED: Final = (
    *("kubeconfig", "namespace", "dsn", "bind", "port", "state_dir", "encryption_keys", "identity", "shards"),
    *("remember", "watch_namespaces", "proposals_url", "traces"),
    *("alerts_port", "alerts_bind", "alerts_tokens", "alerts_certificate", "alerts_key", "alerts_client_ca"),
    "alerts_receivers",
    *(name for name in Settings.model_fields if name.startswith("notify_")),
)


def camel(name: str) -> str:
    """Return a setting's name as it is written in values."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _settings() -> Schema:
    names = [name for name in Settings.model_fields if name not in OWNED]
    one = {"type": ["string", "number", "boolean"]}
    properties = {
        camel(name): {**one, "description": Settings.model_fields[name].description} for name in names
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _tenants() -> Schema:
    families = {"type": "array", "items": {"enum": list(chart_roles.families())}, "uniqueItems": True}
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["namespace"],
            "additionalProperties": False,
            "properties": {
                "namespace": {**_NAMESPACE, "description": "Where Workflows may act; it must exist."},
                "serviceAccount": {
                    **_NAMESPACE,
                    "description": "Account they act as; kubernaut-repair by default.",
                },
                "createServiceAccount": {
                    "type": "boolean",
                    "description": "Whether it is made; true by default.",
                },
                "families": {
                    **families,
                    "description": "Families of actions whose rights it gets; common, workloads and diagnosis by "
                    "default. An empty list gives it none: bind what `kubernaut rbac` prints.",
                },
                "beforeImages": {
                    "type": "boolean",
                    "description": "Whether it may keep former values in Secrets, and so read every Secret of the "
                    "namespace; false by default.",
                },
            },
        },
    }


def _postgres() -> dict[str, Schema]:
    return {
        "postgres.mode": {"enum": ["none", "external", "cloudnativepg", "embedded"]},
        "postgres.external.existingSecret": _NAME,
        "postgres.external.key": _KEY,
        "postgres.external.port": _PORT,
        "postgres.cloudnativepg.instances": {"type": "integer", "minimum": 1, "maximum": 9},
        "postgres.cloudnativepg.imageName": {"type": "string"},
        "postgres.cloudnativepg.size": _QUANTITY,
        "postgres.cloudnativepg.storageClassName": _NAME,
        "postgres.cloudnativepg.resources": _RESOURCES,
        **{f"postgres.embedded.image.{name}": one for name, one in _IMAGE.items()},
        "postgres.embedded.runAsUser": {"type": "integer", "minimum": 1},
        "postgres.embedded.password": {"type": "string"},
        "postgres.embedded.size": _QUANTITY,
        "postgres.embedded.resources": _RESOURCES,
        "postgres.embedded.storageClassName": _NAME,
        **{f"postgres.embedded.{name}": _POD[name] for name in _PLACING},
    }


def _tracing() -> dict[str, Schema]:
    samplers = ["always_on", "always_off", "traceidratio"]
    parents = [f"parentbased_{name}" for name in samplers]
    return {
        "tracing.endpoint": {"type": "string", "pattern": "^$|^https?://[^\\s]+$"},
        "tracing.headers.existingSecret": _NAME,
        "tracing.headers.key": _KEY,
        "tracing.sampler": {"enum": ["", *samplers, *parents]},
        "tracing.samplerArg": {"type": "string", "pattern": "^$|^(0(\\.[0-9]+)?|1(\\.0+)?)$"},
        "tracing.settings": {
            "type": "object",
            "propertyNames": {"pattern": "^OTEL_[A-Z0-9_]+$"},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
    }


def _notifications() -> dict[str, Schema]:
    address = '[^@\\s<>,"]+@[^@\\s<>,"]+'
    return {
        "notifications.webhook.existingSecret": _NAME,
        "notifications.webhook.urlKey": _KEY,
        "notifications.webhook.tokenKey": {"type": "string", "pattern": "^[-._a-zA-Z0-9]{0,253}$"},
        "notifications.slack.existingSecret": _NAME,
        "notifications.slack.urlKey": _KEY,
        "notifications.email.server": {
            "type": "string",
            "pattern": "^$|^(\\[[0-9a-fA-F:.]+\\]|[A-Za-z0-9._-]+):[0-9]{1,5}$",
        },
        "notifications.email.security": {"enum": ["starttls", "tls", "none"]},
        "notifications.email.from": {"type": "string", "pattern": f"^$|^{address}$"},
        "notifications.email.to": {
            "type": "array",
            "items": {"type": "string", "pattern": f"^{address}$"},
            "uniqueItems": True,
        },
        "notifications.email.username": {"type": "string"},
        "notifications.email.existingSecret": _NAME,
        "notifications.email.passwordKey": _KEY,
        "notifications.remindAfter": {"type": "string", "pattern": f"^$|{_DURATION}"},
        "notifications.link": {"type": "string"},
    }


def _network() -> dict[str, Schema]:
    return {
        "networkPolicy.metricsFrom": _OBJECTS,
        "networkPolicy.alertsFrom": _OBJECTS,
        "networkPolicy.dnsTo": _OBJECTS,
        "networkPolicy.dnsPorts": {"type": "array", "items": _PORT, "minItems": 1},
        "networkPolicy.apiServerPorts": {"type": "array", "items": _PORT, "minItems": 1},
        "networkPolicy.apiServerCIDRs": {
            "type": "array",
            "items": {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"},
        },
        "networkPolicy.postgresTo": _OBJECTS,
        "networkPolicy.notificationsTo": _OBJECTS,
        "networkPolicy.notificationsPorts": {"type": "array", "items": _PORT},
        "networkPolicy.tracingTo": _OBJECTS,
        "networkPolicy.alertmanagerTo": _OBJECTS,
        "networkPolicy.prometheusTo": _OBJECTS,
        "networkPolicy.extraEgress": _OBJECTS,
    }


def bounds() -> dict[str, Schema]:
    """Return the schema of each value by its path; of those that are true or false it goes without saying."""
    found: dict[str, Schema] = {
        "image.registry": {"type": "string", "pattern": "^$|^[a-z0-9.:/_-]*[a-z0-9]$"},
        "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        "image.pullSecrets": _OBJECTS,
        "watchNamespaces": {"type": "array", "items": _NAMESPACE, "uniqueItems": True},
        "operator.replicas": {"type": "integer", "minimum": 0, "maximum": 256},
        "operator.shards": {"type": "integer", "minimum": 1, "maximum": 256},
        "operator.bind": {"type": "string", "minLength": 1},
        "operator.settings": _settings(),
        "operator.spool.size": _QUANTITY,
        "operator.spool.storageClassName": _NAME,
        "operator.topologySpreadConstraints": _OBJECTS,
        "operator.podDisruptionBudget.maxUnavailable": {
            "type": ["integer", "string"],
            "minimum": 1,
            "pattern": "^[1-9][0-9]?%$|^100%$",
        },
        "analyst.interval": {"type": "string", "pattern": _DURATION},
        "encryptionKeys.existingSecret": _NAME,
        "encryptionKeys.key": _KEY,
        "alerts.port": _PORT,
        "alerts.tokens.existingSecret": _NAME,
        "alerts.tokens.key": _KEY,
        "alerts.tls.existingSecret": _NAME,
        "alerts.receivers": {"type": "array", "items": {"type": "string", "pattern": "^[^,]+$"}},
        "tenants": _tenants(),
        "metrics.serviceMonitor.interval": {"type": "string", "pattern": _DURATION},
        "metrics.serviceMonitor.labels": _TEXTS,
        "metrics.prometheusRule.labels": _TEXTS,
        "metrics.prometheusRule.runbookBase": {"type": "string", "minLength": 1},
        "metrics.prometheusRule.runbookSuffix": {"type": "string", "pattern": "^(\\.[a-z]+|/)?$"},
        "metrics.prometheusRule.stuckAfter": {"type": "string", "pattern": "^[1-9][0-9]*(m|h|d)$"},
        "metrics.dashboards.labels": _TEXTS,
        "metrics.dashboards.annotations": _TEXTS,
        "metrics.dashboards.folder": {"type": "string", "maxLength": 189},
        **_tracing(),
        **_notifications(),
        **_postgres(),
        **_network(),
    }
    for pod in ("operator", "analyst"):
        found |= {f"{pod}.image.{name}": one for name, one in _IMAGE.items()}
        found |= {f"{pod}.{name}": one for name, one in _POD.items()}
    return found


def described() -> dict[str, str]:
    """Return what values.yaml says of each value, by its path."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    said = ""
    for line in VALUES.read_text().splitlines():
        text = line.strip()
        if text.startswith("# -- "):
            said = text.removeprefix("# -- ")
        elif (key := re.match(r"( *)([a-zA-Z]+):", line)) is not None:
            depth = len(key[1])
            path = [(at, name) for at, name in path if at < depth] + [(depth, key[2])]
            if said:
                found[".".join(name for _, name in path)] = said
            said = ""
    return found


def _leaves(
    values: Mapping[str, Any], known: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and path not in known:
            yield from _leaves(value, known, f"{path}.")
        else:
            yield path, value


def _all() -> Iterator[tuple[str, Any, str, Schema]]:
    """Yield path, default, description and schema of each value.

    Raises:
        ValueError: one has none, or something is said of one that does not exist.
    """
    texts, limits = described(), bounds()
    values = dict(_leaves(yaml.safe_load(VALUES.read_text()), texts))
    if stray := (set(texts) | set(limits)) - set(values):
        raise ValueError(f"values.yaml has no {', '.join(sorted(stray))}")
    for path, default in values.items():
        schema = limits.get(path, {"type": "boolean"} if isinstance(default, bool) else {})
        if path not in texts or not schema:
            raise ValueError(f"{path} of values.yaml has no {'bounds' if path in texts else 'description'}")
        yield path, default, texts[path], schema


def schema() -> str:
    """Return values.schema.json: what is not a value is refused, and so is what is out of bounds."""
    root = _group("Values of the Kubernaut chart")
    for path, default, text, limits in _all():
        at = root
        *groups, name = path.split(".")
        for group in groups:
            at = at["properties"].setdefault(group, _group())
        at["properties"][name] = {"description": text, **limits, "default": default}
    # Helm gives these to a chart that is part of another: values for all, and its condition (`kubernaut.enabled`).
    root["properties"]["global"] = {"type": "object"}
    root["properties"]["enabled"] = {"type": "boolean"}
    head = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Generated by hack/chart_values.py from values.yaml and the bounds there; change it there.",
    }
    return json.dumps({**head, **root}, indent=2) + "\n"


def _group(title: str = "") -> Schema:
    head = {"title": title} if title else {}
    return {**head, "type": "object", "additionalProperties": False, "properties": {}}


_README: Final = """\
<!-- Generated by hack/chart_values.py from values.yaml and the bounds there; change it there. -->

# The Kubernaut chart, version {version}

Installs the operator, and if wanted the analyst, with CRDs, admission policies and rights. How to install, upgrade
and uninstall: [docs/install.md](../../docs/install.md).

Values that do not exist, or are out of bounds, are refused by `values.schema.json`; values that do not go together by
the chart, with what to do.

## Values

| Value | Type | Default | What it is |
|---|---|---|---|
{rows}

## An entry of `tenants`

| Field | Type | What it is |
|---|---|---|
{tenant}

## `operator.settings`

| Setting | Default | What it is |
|---|---|---|
{settings}
"""


def readme() -> str:
    """Return the chart's README."""
    rows = [
        f"| `{path}` | {_type(limits)} | {_shown(default)} | {_cell(text)} |"
        for path, default, text, limits in _all()
    ]
    tenant = _tenants()["items"]["properties"]
    fields = [
        f"| `{name}` | {_type(one)} | {_cell(str(one['description']))} |" for name, one in tenant.items()
    ]
    settings = [
        f"| `{camel(name)}` | {_default(field)} | {_cell(str(field.description))} |"
        for name, field in Settings.model_fields.items()
        if name not in OWNED
    ]
    tables = {"rows": rows, "tenant": fields, "settings": settings}
    return _README.format(version=__version__, **{name: "\n".join(lines) for name, lines in tables.items()})


def _default(field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    if default in (None, ""):
        return ""
    return f"`{format_duration(default) if isinstance(default, timedelta) else default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _shown(default: Any) -> str:
    return "`" + (json.dumps(default) if not isinstance(default, str) else default or '""') + "`"


def _type(limits: Schema) -> str:
    if "enum" in limits:
        return ", ".join(f"`{one}`" for one in limits["enum"])
    kinds = limits["type"] if isinstance(limits["type"], list) else [limits["type"]]
    names = {"object": "map", "array": "list"}
    text = " or ".join(str(names.get(kind, kind)) for kind in kinds)
    low, high = limits.get("minimum"), limits.get("maximum")
    return f"{text}, {low} to {high}" if high is not None else text
