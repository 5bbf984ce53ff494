"""Faults that are mended by giving an object back what it was like while it was well.

Simulated nodes make every pod ready, so what only its containers would feel is written to the pods' statuses as their
kubelet would. What is remembered is judged and packed by the code that does so in the operator.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.scenarios.network import reachable, selecting, unreachable
from apiserver.scenarios.scenario import KEEPERS, Scenario, Where
from apiserver.scenarios.workloads import BAD, GOOD, RESOURCES, runs, settled, staying, wedged, workload
from kubernaut.actions import pods
from kubernaut.actions.knowngood import health
from kubernaut.api.names import LABEL_REMEMBER
from kubernaut.core.ports import Manifest
from kubernaut.core.probing import Answer
from kubernaut.engine.remembering import Remembering

# Declared and not needed by the action: what changes is small, and no secret.
_KEEPING: Final = ("create secrets", "get secrets", KEEPERS)
_LABELS: Final = {LABEL_REMEMBER: "true"}
DB: Final = Where("apps/v1", "deployments", "db")
API: Final = Where("v1", "services", "api")
SETTINGS: Final = Where("v1", "configmaps", "settings")
PROBE: Final[dict[str, Any]] = {"readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}}
LEVEL: Final[dict[str, Any]] = {
    "env": [{"name": "LEVEL", "value": "info"}, {"name": "PORT", "value": "8080"}]
}


def remembered(kind: str = "Deployment", **container: Any) -> Manifest:
    made = workload(kind, **container)
    return {**made, "metadata": {**made["metadata"], "labels": _LABELS}}


def fares(place: Place, where: Where = DB) -> health.Health:
    return health.judge(health.facts(where.read(place)), ()).health


def learn(place: Place, *things: Where) -> None:
    """Have these objects seen as the operator sees them, well and for long enough."""

    def now() -> datetime:
        return datetime.now(UTC)

    memory = Remembering(
        None,  # type: ignore[arg-type]  # nothing is watched: what is to be seen is shown
        place.known_good,
        timedelta(0),
        lambda: True,
        now,
    )
    for one in things:
        memory.observe("ADDED", one.read(place))


def well(kind: str = "Deployment", **container: Any) -> Callable[[Place], Manifest]:
    where = Where("apps/v1", RESOURCES[kind], "db")

    def healthy(place: Place) -> Manifest:
        place.create("apps/v1", RESOURCES[kind], remembered(kind, **container))
        await_true(lambda: fares(place, where) is health.Health.HEALTHY, f"{kind} db did not become well")
        learn(place, where)
        return where.read(place)

    return healthy


def spoilt(kind: str = "Deployment", image: str = GOOD, **container: Any) -> Callable[[Place], None]:
    """Another actor rolls a template out with which the containers can't do their work."""

    def fault(place: Place) -> None:
        template = workload(kind, image, **container)["spec"]["template"]
        place.patch("apps/v1", RESOURCES[kind], "db", {"spec": {"template": template}})
        await_true(lambda: settled(place, kind), f"{kind} db was not rolled out")
        wedged(place)

    return fault


def mended(**container: Any) -> Callable[[Place], None]:
    def happen(place: Place) -> None:
        template = workload("Deployment", **container)["spec"]["template"]
        place.patch("apps/v1", "deployments", "db", {"spec": {"template": template}})
        await_true(lambda: fares(place) is health.Health.HEALTHY, "Deployment db did not become well")

    return happen


def unwell_with(shows: Callable[[Place], bool]) -> Callable[[Place], bool]:
    """Return whether something shows while the Deployment says that it is not well."""

    def symptom(place: Place) -> bool:
        return shows(place) and fares(place) is health.Health.UNHEALTHY

    return symptom


def container_has(field: str, value: Any) -> Callable[[Place], bool]:
    def shows(place: Place) -> bool:
        return any(pod["spec"]["containers"][0].get(field) == value for pod in staying(place))

    return shows


def lost(place: Place) -> None:
    """The pods are to run on nodes that do not exist."""
    selector = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "gone"}}}}}
    place.patch("apps/v1", "deployments", "db", selector)


def found_again(place: Place) -> None:
    selector = {"spec": {"template": {"spec": {"nodeSelector": None}}}}
    place.patch("apps/v1", "deployments", "db", selector)
    await_true(lambda: fares(place) is health.Health.HEALTHY, "Deployment db did not become well")


def without_a_node(place: Place) -> bool:
    return any(pods.condition(pod, "PodScheduled").get("status") == "False" for pod in staying(place))


def nowhere(place: Place) -> None:
    selector = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "gone"}}}}}
    place.patch("apps/v1", "daemonsets", "db", selector)


def on_no_node(place: Place) -> bool:
    where = Where("apps/v1", "daemonsets", "db")
    return not staying(place) and fares(place, where) is health.Health.IDLE


def asleep(place: Place) -> bool:
    return fares(place) is health.Health.IDLE


def scaled(replicas: int) -> Callable[[Place], None]:
    def happen(place: Place) -> None:
        place.patch("apps/v1", "deployments", "db", {"spec": {"replicas": replicas}})

    return happen


def served(place: Place) -> Manifest:
    well()(place)
    ports = [{"port": 80, "targetPort": 8080}]
    spec = {"selector": {"app": "db"}, "ports": ports}
    place.create("v1", "services", {"metadata": {"name": "api", "labels": _LABELS}, "spec": spec})
    await_true(lambda: reachable(place), "Service api got no endpoints")
    learn(place, DB, API)
    return API.read(place)


def configured(place: Place) -> Manifest:
    data = {"level": "info", "page": "large", "rest": "as ever"}
    place.create("v1", "configmaps", {"metadata": {"name": "settings", "labels": _LABELS}, "data": data})
    well(envFrom=[{"configMapRef": {"name": "settings"}}])(place)
    learn(place, DB, SETTINGS)
    return SETTINGS.read(place)


def written(data: Manifest) -> Callable[[Place], None]:
    """Another actor changes the settings, and the pods that use them can't do their work any more."""

    def happen(place: Place) -> None:
        place.patch("v1", "configmaps", "settings", {"data": data})
        wedged(place)

    return happen


def misconfigured(place: Place) -> bool:
    return SETTINGS.read(place)["data"].get("level") != "info" and fares(place) is health.Health.UNHEALTHY


POLICY: Final = Where("networking.k8s.io/v1", "networkpolicies", "db")
INGRESS: Final = Where("networking.k8s.io/v1", "ingresses", "db")
FROM_WEB: Final[Manifest] = {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}


def guarded(place: Place) -> Manifest:
    well()(place)
    selector = {"matchLabels": {"app": "db"}}
    spec = {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [FROM_WEB]}
    place.create(POLICY.base, POLICY.resource, {"metadata": {"name": "db", "labels": _LABELS}, "spec": spec})
    learn(place, DB, POLICY)
    return POLICY.read(place)


def ruled(rules: list[Manifest]) -> Callable[[Place], None]:
    """Another actor changes the rules, and the pods don't get what they need."""

    def happen(place: Place) -> None:
        place.patch(POLICY.base, POLICY.resource, "db", {"spec": {"ingress": rules}})
        wedged(place)

    return happen


def web_is_kept_out(place: Place) -> bool:
    kept_out = FROM_WEB not in (POLICY.read(place)["spec"].get("ingress") or [])
    return kept_out and fares(place) is health.Health.UNHEALTHY


def rule(service: str) -> list[Manifest]:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return [{"host": "db.example.com", "http": {"paths": [path]}}]


def routed(place: Place) -> Manifest:
    well()(place)
    notes = {"nginx.ingress.kubernetes.io/rewrite-target": "/"}
    meta = {"name": "db", "labels": _LABELS, "annotations": notes}
    place.create(INGRESS.base, INGRESS.resource, {"metadata": meta, "spec": {"rules": rule("api")}})
    learn(place, DB, INGRESS)
    return INGRESS.read(place)


def rerouted(place: Place) -> None:
    """Another actor sends everybody elsewhere, and nothing in the namespace fares well any more."""
    notes = {"annotations": {"nginx.ingress.kubernetes.io/rewrite-target": "/lost"}}
    place.patch(INGRESS.base, INGRESS.resource, "db", {"metadata": notes, "spec": {"rules": rule("apii")}})
    wedged(place)


def leads_elsewhere(place: Place) -> bool:
    elsewhere = INGRESS.read(place)["spec"]["rules"] != rule("api")
    return elsewhere and fares(place) is health.Health.UNHEALTHY


BAD_PROBE: Final[dict[str, Any]] = {"readinessProbe": {"httpGet": {"path": "/nowhere", "port": 8080}}}
BAD_LEVEL: Final[dict[str, Any]] = {
    "env": [{"name": "LEVEL", "value": "loud"}, {"name": "EXTRA", "value": "yes"}]
}


def bad_probe(place: Place) -> bool:
    paths = [
        pod["spec"]["containers"][0].get("readinessProbe", {}).get("httpGet", {}).get("path")
        for pod in staying(place)
    ]
    return "/nowhere" in paths


SCENARIOS: Final = (
    Scenario(
        "restore_last_known_good",
        {},
        healthy=well(),
        fault=spoilt(image=BAD),
        symptom=unwell_with(runs(BAD)),
        changes=(DB,),
        mended=mended(),
        later=_KEEPING,
        told="after a bad image",
    ),
    Scenario(
        "restore_last_known_good",
        {},
        healthy=well(**LEVEL),
        fault=spoilt(**BAD_LEVEL),
        symptom=unwell_with(container_has("env", BAD_LEVEL["env"])),
        changes=(DB,),
        mended=mended(**LEVEL),
        # Former environment variables are kept in a Secret.
        writes=2,
        later=(KEEPERS,),
        told="after bad variables",
    ),
    Scenario(
        "restore_last_known_good",
        {},
        healthy=well(**PROBE),
        fault=spoilt(**BAD_PROBE),
        symptom=unwell_with(bad_probe),
        changes=(DB,),
        mended=mended(**PROBE),
        later=_KEEPING,
        told="after a bad probe",
    ),
    Scenario(
        "restore_last_known_good",
        {},
        healthy=well(),
        fault=lost,
        symptom=unwell_with(without_a_node),
        changes=(DB,),
        mended=found_again,
        later=_KEEPING,
        told="after a bad node selector",
    ),
    Scenario(
        "restore_last_known_good",
        {},
        healthy=well(),
        fault=scaled(0),
        symptom=asleep,
        changes=(DB,),
        mended=scaled(2),
        later=_KEEPING,
        told="after a scale to zero",
    ),
    Scenario(
        "restore_last_known_good",
        {"kind": "DaemonSet", "name": "db"},
        healthy=well("DaemonSet"),
        fault=nowhere,
        symptom=on_no_node,
        changes=(Where("apps/v1", "daemonsets", "db"),),
        later=_KEEPING,
        told="of a DaemonSet",
    ),
    Scenario(
        "restore_last_known_good",
        {},
        healthy=served,
        fault=selecting(app="dbb"),
        symptom=unreachable,
        changes=(API,),
        mended=selecting(app="db"),
        later=_KEEPING,
        told="after a bad selector of a Service",
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "restore_last_known_good",
        {"kind": "ConfigMap", "name": "settings"},
        healthy=configured,
        fault=written({"level": "loud", "page": None, "more": "yes"}),
        symptom=misconfigured,
        changes=(SETTINGS,),
        mended=written({"level": "info", "page": "large", "more": None}),
        later=_KEEPING,
        told="after bad settings",
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "restore_last_known_good",
        {},
        healthy=guarded,
        fault=ruled([]),
        symptom=web_is_kept_out,
        changes=(POLICY,),
        mended=ruled([FROM_WEB]),
        later=_KEEPING,
        told="after bad rules of a NetworkPolicy",
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "restore_last_known_good",
        {},
        healthy=routed,
        fault=rerouted,
        symptom=leads_elsewhere,
        changes=(INGRESS,),
        later=_KEEPING,
        told="after a bad route of an Ingress",
        helped=Answer.UNKNOWN,
    ),
)
