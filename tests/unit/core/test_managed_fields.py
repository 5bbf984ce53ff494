"""Who wrote which field, from managedFields as a real API server wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.core.fields import parse, render
from kubernaut.core.managed_fields import managers

CONTAINERS: dict[str, Any] = {
    'k:{"name":"app"}': {
        ".": {},
        "f:image": {},
        "f:name": {},
        "f:ports": {".": {}, 'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
    }
}
APPLIED = {
    "manager": "argocd-controller",
    "operation": "Apply",
    "apiVersion": "apps/v1",
    "time": "2026-03-01T10:00:00Z",
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": CONTAINERS}}}},
}
SCALED = {
    "manager": "kubectl-scale",
    "operation": "Update",
    "time": "2026-03-01T11:00:00Z",
    "fieldsV1": {"f:metadata": {"f:finalizers": {".": {}, 'v:"a/b"': {}}}, "f:spec": {"f:replicas": {}}},
}
STATUS = {
    "manager": "kube-controller-manager",
    "operation": "Update",
    "time": "2026-03-01T09:00:00Z",
    "subresource": "status",
    "fieldsV1": {"f:status": {"f:replicas": {}}},
}


def an_object(*entries: Any) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries)}}


def test_writers_are_told_newest_first_with_their_fields() -> None:
    found = managers(an_object(STATUS, APPLIED, SCALED))
    assert [(one.name, one.operation, one.subresource) for one in found] == [
        ("kubectl-scale", "Update", ""),
        ("argocd-controller", "Apply", ""),
        ("kube-controller-manager", "Update", "status"),
    ]
    assert [render(path) for path in found[0].fields] == ['metadata.finalizers["a/b"]', "spec.replicas"]
    base = "spec.template.spec.containers[name=app]"
    assert [render(path) for path in found[1].fields] == [
        f"{base}.image",
        f"{base}.name",
        f"{base}.ports[containerPort=80].containerPort",
    ]


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("spec.replicas", "kubectl-scale"),
        ("spec.template.spec.containers[name=app].image", "argocd-controller"),
        ("spec.template", "argocd-controller"),
        ("spec.template.spec.containers[name=other].image", None),
        ("spec.paused", None),
    ],
)
def test_the_owner_of_a_field_is_found(path: str, owner: str | None) -> None:
    found = [one.name for one in managers(an_object(APPLIED, SCALED)) if one.owns(parse(path))]
    assert found == ([owner] if owner else [])


def test_a_field_that_is_owned_as_a_whole_is_owned_in_all_its_parts() -> None:
    whole = {**SCALED, "fieldsV1": {"f:data": {"f:settings": {}}}}
    assert managers(an_object(whole))[0].owns(parse("data.settings.inner"))


@pytest.mark.parametrize(
    "entry", [{}, {"fieldsV1": None}, {"fieldsV1": {"x:y": {}, "k:{": {}, "f:spec": None}}]
)
def test_what_can_not_be_read_is_no_error(entry: dict[str, Any]) -> None:
    assert managers(an_object(entry))[0].name == ""
    assert managers({"metadata": {}}) == []
