"""Faults of ConfigMaps and Secrets."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

from apiserver.acting import Place, deployment
from apiserver.scenarios.scenario import Scenario, Where
from kubernaut.core.ports import Manifest
from kubernaut.core.probing import Answer

GOOD: Final = {"level": "info", "page": "x" * 3000}
LEAKED: Final = base64.b64encode(b"in everybody's chat").decode()
_CONFIG: Final = Where("v1", "configmaps", "settings")
_SECRET: Final = Where("v1", "secrets", "session")
_API: Final = Where("apps/v1", "deployments", "api")


def config_map(name: str) -> Manifest:
    return {"metadata": {"name": name}, "data": GOOD}


def configured(place: Place) -> Manifest:
    place.create("v1", "configmaps", config_map("settings-good"))
    return place.create("v1", "configmaps", config_map("settings"))


def written(data: dict[str, Any]) -> Callable[[Place], None]:
    def happen(place: Place) -> None:
        place.patch("v1", "configmaps", "settings", {"data": data})

    return happen


def differs(place: Place) -> bool:
    return bool(_CONFIG.read(place).get("data") != GOOD)


def using(image: str = "kubernaut.local/pause:1") -> Manifest:
    api = deployment(image)
    source = {"valueFrom": {"secretKeyRef": {"name": "session", "key": "key"}}}
    api["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "SESSION_KEY", **source}]
    return api


def signed_in(place: Place) -> Manifest:
    secret = {"metadata": {"name": "session"}, "stringData": {"key": "known to few", "issuer": "shop"}}
    made = place.create("v1", "secrets", secret)
    place.create("apps/v1", "deployments", using())
    place.settled()
    return made


def leaked(place: Place) -> None:
    """The key that the pods took at their start is one that everybody knows."""
    pods = [pod["metadata"]["uid"] for pod in place.items("v1", "pods")]
    data = {"pods": " ".join(pods)}
    place.create("v1", "configmaps", {"metadata": {"name": "hold-the-leaked-key"}, "data": data})
    place.patch("v1", "secrets", "session", {"data": {"key": LEAKED}})


def known_to_everybody(place: Place) -> bool:
    """Whether the leaked key is in force, in the Secret or in a pod."""
    noted = [
        one for one in place.items("v1", "configmaps") if one["metadata"]["name"] == "hold-the-leaked-key"
    ]
    holders = noted[0]["data"]["pods"].split() if noted else []
    there = [pod["metadata"]["uid"] for pod in place.items("v1", "pods")]
    return _SECRET.read(place)["data"]["key"] == LEAKED or bool(set(holders) & set(there))


SCENARIOS: Final = (
    Scenario(
        "restore_configmap",
        {"from": "settings-good"},
        healthy=configured,
        fault=written({"level": "debug", "page": None, "extra": "yes"}),
        symptom=differs,
        changes=(_CONFIG,),
        mended=written({**GOOD, "extra": None}),
        # The before-image is more than an annotation takes.
        writes=2,
        told="from a copy",
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "restore_configmap",
        {"values": {"level": "info"}},
        healthy=configured,
        fault=written({"level": "debug"}),
        symptom=differs,
        changes=(_CONFIG,),
        mended=written(GOOD),
        told="single keys",
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "rotate_secrets",
        {"keys": ["key"], "restart": [{"name": "api"}]},
        healthy=signed_in,
        fault=leaked,
        symptom=known_to_everybody,
        changes=(_SECRET, _API),
        # The before-image, the dry run of the restart, the Secret, the restart.
        writes=4,
    ),
)
