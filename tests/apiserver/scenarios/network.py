"""Faults of Services and NetworkPolicies. Simulated nodes enforce no policy, so its symptom is what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from apiserver.acting import Place, await_true, deployment
from apiserver.scenarios.scenario import Scenario, Where
from kubernaut.core.ports import Manifest
from kubernaut.core.probing import Answer

_NETWORKING: Final = "networking.k8s.io/v1"
WEB: Final = {"podSelector": {"matchLabels": {"app": "web"}}}
PORT: Final = {"protocol": "TCP", "port": 8080}
FROM_WEB: Final = {"from": [WEB], "ports": [PORT]}
EVERYBODY: Final = {"ports": [PORT]}


def service() -> Manifest:
    return {
        "metadata": {"name": "api"},
        "spec": {"selector": {"app": "api"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


def reachable(place: Place) -> bool:
    """Whether the endpoints controller found a ready pod for the Service."""
    slices = place.items("discovery.k8s.io/v1", "endpointslices")
    return any(
        (endpoint.get("conditions") or {}).get("ready")
        for one in slices
        for endpoint in one.get("endpoints") or ()
    )


def unreachable(place: Place) -> bool:
    return not reachable(place)


def served(place: Place) -> Manifest:
    place.create("apps/v1", "deployments", deployment())
    place.create("v1", "services", service())
    place.settled()
    await_true(lambda: reachable(place), "Service api got no endpoints")
    return place.get("v1", "services", "api")


def selecting(**labels: str) -> Callable[[Place], None]:
    def happen(place: Place) -> None:
        place.patch("v1", "services", "api", {"spec": {"selector": labels}})

    return happen


def policy(*rules: Manifest) -> Manifest:
    spec = {"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Ingress"], "ingress": [*rules]}
    return {"metadata": {"name": "api"}, "spec": spec}


def guarded(*rules: Manifest) -> Callable[[Place], Manifest]:
    def healthy(place: Place) -> Manifest:
        return place.create(_NETWORKING, "networkpolicies", policy(*rules))

    return healthy


def ruled(*rules: Manifest) -> Callable[[Place], None]:
    def happen(place: Place) -> None:
        place.patch(_NETWORKING, "networkpolicies", "api", {"spec": {"ingress": [*rules]}})

    return happen


def _rules(place: Place) -> list[Any]:
    found = place.get(_NETWORKING, "networkpolicies", "api")["spec"].get("ingress") or []
    return list(found)


def web_is_kept_out(place: Place) -> bool:
    return FROM_WEB not in _rules(place) and EVERYBODY not in _rules(place)


def everybody_is_let_in(place: Place) -> bool:
    return any(not rule.get("from") for rule in _rules(place))


OTHER: Final = {"from": [{"podSelector": {"matchLabels": {"app": "jobs"}}}], "ports": [PORT]}

SCENARIOS: Final = (
    Scenario(
        "fix_service_selector",
        {"workload": {"name": "api"}},
        healthy=served,
        fault=selecting(app="apii"),
        symptom=unreachable,
        changes=(Where("v1", "services", "api"),),
        mended=selecting(app="api"),
    ),
    Scenario(
        "update_network_policy",
        {"operation": "Allow", "direction": "Ingress", "peer": {"podLabels": {"app": "web"}}}
        | {"ports": [{"port": 8080}]},
        healthy=guarded(OTHER, FROM_WEB),
        fault=ruled(OTHER),
        symptom=web_is_kept_out,
        changes=(Where(_NETWORKING, "networkpolicies", "api"),),
        mended=ruled(FROM_WEB, OTHER),
        told="that keeps a peer out",
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "update_network_policy",
        {"operation": "Disallow", "direction": "Ingress", "ports": [{"port": 8080}]},
        healthy=guarded(OTHER, FROM_WEB),
        fault=ruled(OTHER, EVERYBODY, FROM_WEB),
        symptom=everybody_is_let_in,
        changes=(Where(_NETWORKING, "networkpolicies", "api"),),
        mended=ruled(OTHER, FROM_WEB),
        told="that lets everybody in",
        helped=Answer.UNKNOWN,
    ),
)
