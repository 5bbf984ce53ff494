"""What every marked action has to keep, as one check."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.fields import apply_merge_patch
from kubernaut.core.ports import Manifest
from unit.actions.fake import FakeCluster, Lost


def content(manifest: Manifest) -> dict[str, Any]:
    """Return what a person declared: the object without what the API server keeps and without markers."""
    meta = manifest["metadata"]
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if "kubernaut.io/" not in k}
    declared = {key: value for key, value in manifest.items() if key not in ("metadata", "status")}
    return {**declared, "labels": meta.get("labels") or {}, "annotations": annotations}


async def check_once_and_undone(
    cluster: FakeCluster,
    action: Any,
    context: StepContext,
    parameters: Any,
    kind: str,
    name: str,
    namespace: str = "shop",
) -> Done:
    """Perform with a lost answer, twice, undo twice: one effect, one undo, the object as it was."""
    before = copy.deepcopy(content(cluster.find(kind, name, namespace)))
    cluster.troubles["patch"] = [Lost(landed=True)]
    first: Done = await action.perform(cluster, context, parameters)
    after = copy.deepcopy(content(cluster.find(kind, name, namespace)))
    again = await action.perform(cluster, context, parameters)
    assert first.acted
    assert again.acted
    assert first.changed == again.changed
    assert first.outputs == again.outputs
    assert len(cluster.writes) == 1
    assert after != before
    assert (await action.undo(cluster, context, parameters)).acted
    assert (await action.undo(cluster, context, parameters)).acted
    assert len(cluster.writes) == 2
    assert content(cluster.find(kind, name, namespace)) == before
    return first


async def check_undo_refuses(
    cluster: FakeCluster, action: Any, context: StepContext, parameters: Any, patch: Manifest
) -> None:
    """Perform, have someone else change the object, and see that undo leaves it alone."""
    await action.perform(cluster, context, parameters)
    key = next(key for key, one in cluster.objects.items() if (one.get("metadata") or {}).get("annotations"))
    cluster.edit(key[0], key[2], patch, key[1])
    left = copy.deepcopy(cluster.objects[key])
    with pytest.raises(StepError) as caught:
        await action.undo(cluster, context, parameters)
    assert caught.value.reason is Reason.CHANGED_SINCE
    assert cluster.objects[key] == left
    assert apply_merge_patch(left, patch) == left
