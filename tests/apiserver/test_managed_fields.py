"""Who wrote which field, as a real API server keeps it."""

from __future__ import annotations

from apiserver.acting import Place, deployment
from apiserver.rest import MERGE_PATCH
from kubernaut.actions.registry import ActionRegistry
from kubernaut.core.fields import parse
from kubernaut.core.managed_fields import managers
from kubernaut.core.ports import Manifest

APPLY_PATCH = "application/apply-patch+yaml"


def written_by_two(place: Place) -> Manifest:
    """Return a Deployment that one manager applied, and another one scaled and gave another image."""
    path = place.path("apps/v1", "deployments", "api")
    applied = {"apiVersion": "apps/v1", "kind": "Deployment", **deployment()}
    del applied["spec"]["replicas"]
    first = place.admin.request("PATCH", path, applied, content_type=APPLY_PATCH, fieldManager="gitops")
    assert first.ok, first
    newer = deployment("kubernaut.local/pause:2")["spec"]["template"]
    patch = {"spec": {"replicas": 3, "template": newer}}
    second = place.admin.request("PATCH", path, patch, content_type=MERGE_PATCH, fieldManager="by-hand")
    assert second.ok, second
    return place.deployment()


def test_the_owner_of_each_field_is_found(place: Place) -> None:
    found = [one for one in managers(written_by_two(place)) if not one.subresource]

    def owners(path: str) -> set[str]:
        return {one.name for one in found if one.owns(parse(path))}

    assert owners("spec.replicas") == {"by-hand"}
    assert owners("spec.template.spec.containers[name=app].image") == {"by-hand"}
    assert owners("spec.selector") == {"gitops"}
    assert owners("spec.template.spec.containers[name=app].resources.limits.memory") == {"gitops"}
    assert {one.name: one.operation for one in found} == {"gitops": "Apply", "by-hand": "Update"}


async def test_a_diagnosis_tells_who_wrote_what(place: Place) -> None:
    target = written_by_two(place)
    action = ActionRegistry().get("collect_diagnostics")
    parameters = action.parameters.model_validate({"logs": False})
    context = place.context(target)
    account = place.account(action.rights(context.target, parameters))
    done = await action.perform(account, context, parameters)
    changes = done.outputs["changes"]
    assert isinstance(changes, list)
    told = {str(one).split()[1]: str(one) for one in changes}
    assert set(told) == {"gitops", "by-hand"}
    assert "spec.replicas" in told["by-hand"]
    assert "containers[name=app].image" in told["by-hand"]
