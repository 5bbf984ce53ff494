"""``notify_only``: say something, change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, JsonValue, StringConstraints

from kubernaut.actions.probing import NothingToSee
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.ports import Cluster, ObjectRef, Right


class NotifyOnlyParameters(ActionParameters):
    """Parameters of ``notify_only``."""

    message: Annotated[
        str,
        StringConstraints(min_length=1, max_length=1024),
        Field(
            description="What to say; a leading = makes it CEL, so that it can hold outputs of earlier steps."
        ),
    ]


class NotifyOnly(NothingToSee):
    """Puts a message into the step's record and outputs, for people and for what watches runs. No object is changed
    and no right is needed. Nothing is sent anywhere.
    """

    name: ClassVar = "notify_only"
    summary: ClassVar = "Put a message into the run's record; change nothing"
    risk: ClassVar = Risk.NONE
    idempotency: ClassVar = Idempotency.READ_ONLY
    parameters = NotifyOnlyParameters
    example: ClassVar = {"message": "=string(steps.diagnose.outputs.restarts) + ' restarts'"}
    outputs: ClassVar[Mapping[str, str]] = {"message": "The message as rendered."}

    def rights(self, target: ObjectRef | None, parameters: NotifyOnlyParameters) -> tuple[Right, ...]:
        """Return none."""
        return ()

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: NotifyOnlyParameters
    ) -> Mapping[str, JsonValue] | None:
        """Return None: there is nothing to pin."""
        return None

    async def perform(self, cluster: Cluster, context: StepContext, parameters: NotifyOnlyParameters) -> Done:
        """Return the message."""
        return Done(False, parameters.message, {"message": parameters.message})

    async def undo(self, cluster: Cluster, context: StepContext, parameters: NotifyOnlyParameters) -> Done:
        """Nothing was changed, so there is nothing to put back."""
        return Done(False, "nothing was changed")
