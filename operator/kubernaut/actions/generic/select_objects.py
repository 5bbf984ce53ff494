"""``select_objects``: find objects by their labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, JsonValue, StringConstraints

from kubernaut.actions.objects import rights
from kubernaut.actions.probing import NothingToSee
from kubernaut.api.base import UNQUOTED
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import ApiVersion, KindName
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, ObjectRef, Right


class SelectObjectsParameters(ActionParameters):
    """Parameters of ``select_objects``."""

    api_version: Annotated[ApiVersion, Field(description="API version, as in v1.")]
    kind: Annotated[KindName, Field(description="Kind, as in Pod.")]
    label_selector: Annotated[
        str,
        StringConstraints(min_length=1, max_length=1024),
        Field(description="Label selector, as in app=web,tier!=test."),
    ]
    limit: Annotated[
        int, Field(ge=1, le=100, description="With more objects than this the step fails."), UNQUOTED
    ] = 100


class SelectObjects(NothingToSee):
    """Lists the objects of one kind in the run's namespace that a label selector matches, sorted by name; objects
    that are being deleted are among them. Nothing but name and UID of each is kept.

    More than `limit` fail the step, so that nobody acts on a part and takes it for all. Kinds that have no namespace
    are refused.
    """

    name: ClassVar = "select_objects"
    summary: ClassVar = "Find objects by their labels; change nothing"
    risk: ClassVar = Risk.NONE
    idempotency: ClassVar = Idempotency.READ_ONLY
    parameters = SelectObjectsParameters
    example: ClassVar = {"apiVersion": "v1", "kind": "Pod", "labelSelector": "app=web"}
    outputs: ClassVar[Mapping[str, str]] = {
        "items": "A list of `{name, uid}`, sorted by name.",
        "count": "How many there are.",
    }

    def rights(self, target: ObjectRef | None, parameters: SelectObjectsParameters) -> tuple[Right, ...]:
        """Return list on the kind."""
        return rights(("list",), parameters.api_version, parameters.kind, ())

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: SelectObjectsParameters
    ) -> Mapping[str, JsonValue] | None:
        """Return None: there is nothing to pin."""
        return None

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: SelectObjectsParameters
    ) -> Done:
        """List the objects.

        Raises:
            StepError: TooManyItems; InvalidParameters, where the kind has no namespace.
            ClusterError: as the API server answers.
        """
        what = f"{parameters.kind} with {parameters.label_selector}"
        found = await cluster.list(
            parameters.api_version,
            parameters.kind,
            context.namespace,
            label_selector=parameters.label_selector,
        )
        metas = [one["metadata"] for one in found]
        if any(meta.get("namespace") != context.namespace for meta in metas):
            raise StepError(
                f"{parameters.kind} ({parameters.api_version}) has no namespace; a step sees its own namespace only",
                reason=Reason.INVALID_PARAMETERS,
            )
        if len(metas) > parameters.limit:
            raise StepError(
                f"{len(metas)} objects match ({what} in {context.namespace}), at most {parameters.limit} are "
                "allowed; nothing was done: narrow the selector or raise the limit",
                reason=Reason.TOO_MANY_ITEMS,
            )
        items: list[JsonValue] = [
            {"name": meta["name"], "uid": meta["uid"]} for meta in sorted(metas, key=lambda one: one["name"])
        ]
        outputs: dict[str, JsonValue] = {"items": items, "count": len(items)}
        return Done(False, f"{len(items)} objects match: {what}", outputs)

    async def undo(self, cluster: Cluster, context: StepContext, parameters: SelectObjectsParameters) -> Done:
        """Nothing was changed, so there is nothing to put back."""
        return Done(False, "nothing was changed")
