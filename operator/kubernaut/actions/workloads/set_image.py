"""``set_image``: have a container of a workload run another image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, Field, StringConstraints

from kubernaut.actions.fencing import fence
from kubernaut.actions.workloads.any_workload import (
    AnyWorkloadAction,
    ContainerParameters,
    container_of,
    reach,
)
from kubernaut.actions.workloads.workload import WorkloadParameters, require_rolling
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

# The grammar of references of the container registries (github.com/distribution/reference).
_PART: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST: Final = rf"(?:{_PART}(?:\.{_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_NAME: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_NAME}(?:/{_NAME})*)"
    r"(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?P<digest>@sha256:[a-f0-9]{64}|@sha512:[a-f0-9]{128})?",
    re.ASCII,
)
_MAX_NAME: Final = 255


def _reference(text: str) -> str:
    match = _REFERENCE.fullmatch(text)
    if match is None or len(match["name"]) > _MAX_NAME:
        raise ValueError(
            f"{text!r} is not an image reference; write one such as example.com/shop/api:1.4.2 or "
            "example.com/shop/api@sha256:… with 64 digits"
        )
    if match["tag"] is None and match["digest"] is None:
        raise ValueError(f"{text!r} names no version; add a tag or a digest")
    return text


Image = Annotated[str, StringConstraints(max_length=512), AfterValidator(_reference)]


class SetImageParameters(ContainerParameters):
    """Parameters of ``set_image``."""

    image: Annotated[Image, Field(description="The image, with a tag or a digest.")]
    expect: Annotated[
        str | None,
        Field(
            min_length=1, max_length=512, description="The image that must be there right before the change."
        ),
    ] = None


class SetImage(AnyWorkloadAction[None]):
    """Sets the image of one container, or init container, in the pod template of a Deployment, StatefulSet or
    DaemonSet, whose controller then replaces the pods by its own strategy. With `expect`, nothing is changed where
    the container is to run any other image than that one; where it is to run the wanted one already, there is
    nothing to do.

    The image has to name a version: without tag and digest it would be whatever is newest when a node pulls it.
    Whether it exists can't be known before a node pulls it. Refused while a Deployment is paused, and where the
    update strategy is `OnDelete`.

    A StatefulSet with `podManagementPolicy: OrderedReady` waits for a pod that is not ready, and does not replace it
    whatever the template says by then: let `restart_pod` follow for each such pod.
    """

    name: ClassVar = "set_image"
    summary: ClassVar = "Have a container of a Deployment, StatefulSet or DaemonSet run another image"
    parameters = SetImageParameters
    example: ClassVar = {"container": "app", "image": "example.com/shop/api:1.4.2"}
    outputs: ClassVar[Mapping[str, str]] = {
        "container": "The container that was changed.",
        "before": "The image before.",
        "image": "The image now.",
    }

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: WorkloadParameters, seen: Manifest
    ) -> None:
        return None

    def plan(
        self, seen: Manifest, evidence: None, parameters: SetImageParameters, context: StepContext
    ) -> fence.Change:
        require_rolling(seen)
        path, container = container_of(seen, parameters.container, init=True)
        where = f"container {container['name']} of {ObjectRef.of(seen)}"
        before, wanted = container.get("image"), parameters.image
        outputs = {"container": container["name"], "before": before, "image": wanted}
        if before == wanted:
            return fence.nothing(f"{where} has the image {wanted} already", outputs)
        if parameters.expect not in (None, before):
            raise StepError(
                f"{where} has the image {before}, but {parameters.expect} is expected; nothing was done",
                reason=Reason.PRECONDITION_FAILED,
            )
        desired = fields.put(seen, (*path, "image"), wanted)
        return fence.change(
            seen, desired, f"{where} is to run {wanted} instead of {before}{reach(seen)}", outputs
        )
