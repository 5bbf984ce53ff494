"""A release of Helm whose newest revision is bad. Its records are written by the test, in the form of Helm's own."""

from __future__ import annotations

from typing import Any, Final

from apiserver.acting import Place, await_true, deployment
from apiserver.scenarios.scenario import KEEPERS, Scenario, Where
from kubernaut.core.ports import Manifest
from unit.actions.releases import revision

BAD: Final = "kubernaut.local/nowhere:1"
GOOD: Final = "kubernaut.local/pause:1"


def app(image: str) -> Manifest:
    return {"apiVersion": "apps/v1", "kind": "Deployment", **deployment(image)}


def record(place: Place, number: int, status: str, image: str) -> None:
    place.create("v1", "secrets", revision(number, status, [app(image)], namespace=place.namespace))


def installed(place: Place) -> Manifest:
    record(place, 1, "superseded", GOOD)
    place.create("apps/v1", "deployments", app(GOOD))
    return place.settled()


def upgraded(place: Place) -> None:
    """Another actor rolls out a revision with another image."""
    record(place, 2, "deployed", BAD)
    container: dict[str, Any] = {"name": "app", "image": BAD}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    path = place.path("apps/v1", "deployments", "api")
    answer = place.admin.request("PATCH", path, patch, content_type="application/strategic-merge-patch+json")
    assert answer.ok, answer
    place.settled()


def has_bad_pods(place: Place) -> bool:
    return any(pod["spec"]["containers"][0]["image"] == BAD for pod in place.items("v1", "pods"))


def upgraded_again(place: Place) -> None:
    """Another actor has gone back with Helm."""
    record(place, 3, "deployed", GOOD)
    meta = {"metadata": {"labels": {"status": "superseded"}}}
    place.patch("v1", "secrets", "sh.helm.release.v1.shop.v2", meta)
    spec = {"template": {"spec": app(GOOD)["spec"]["template"]["spec"]}}
    place.patch("apps/v1", "deployments", "api", {"spec": spec})
    place.settled()
    await_true(lambda: not has_bad_pods(place), "bad pods are left")


SCENARIOS: Final = (
    Scenario(
        "helm_rollback",
        {"release": "shop", "expectRevision": 2, "kinds": [{"apiVersion": "apps/v1", "kind": "Deployment"}]},
        healthy=installed,
        fault=upgraded,
        symptom=has_bad_pods,
        changes=(Where("apps/v1", "deployments", "api"),),
        mended=upgraded_again,
        later=(KEEPERS,),
        # The new record, the Deployment, the former record, the new one's end; and two dry runs before.
        writes=6,
    ),
)
