"""``enable_debug_mode``: a container for people beside a pod's processes, for a while."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, Field, JsonValue

from kubernaut.actions.diagnosis import ephemeral
from kubernaut.actions.diagnosis.ephemeral import EphemeralParameters
from kubernaut.actions.workloads.choosing import NONE, choose, pinned
from kubernaut.api.base import Flag
from kubernaut.api.duration import Duration
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import StepError, Unfinished
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Look, Probed, Said, Sight

_WHAT: Final = "debug"
_NOBODY: Final[Mapping[str, JsonValue]] = {
    "pod": "",
    "uid": "",
    "container": "",
    "seesProcessesOf": "",
    "attach": "",
}


def _bounded(value: timedelta) -> timedelta:
    if not timedelta(minutes=1) <= value <= timedelta(hours=8):
        raise ValueError("expiresAfter must be from 1m to 8h")
    return value


class EnableDebugModeParameters(EphemeralParameters):
    """Parameters of ``enable_debug_mode``."""

    expires_after: Annotated[
        Duration,
        AfterValidator(_bounded),
        Field(description="How long after its start the container ends by itself, from 1m to 8h."),
    ] = timedelta(minutes=30)
    wait: Annotated[Flag, Field(description="Wait until it runs; the step fails where it can't start.")] = (
        True
    )


class EnableDebugMode:
    """Puts an ephemeral container into a running pod, beside the processes of one of its containers, for people to
    look at them: `attach` is the command that opens a shell in it. The pod is not restarted and its containers go on
    as they are. It is chosen as by `restart_pod`, and its UID stored before anything is sent; the container's name
    is the step's key, so it is put there once, whatever answer is lost.

    Expiry. The container's command is `sleep`, so it ends at its time by itself: the kubelet alone sees to that,
    also while the operator and the API server are away. Whoever is in a shell of it then is thrown out. The image
    must have `sleep` and a shell.

    What can't be undone. Kubernetes lets nobody remove an ephemeral container: what is left after its end is its
    entry in the pod's spec and status, until the pod is deleted. So this counts as high risk, though no container of
    the pod is touched.

    It is made as the Pod Security Standard `restricted` admits it: no privileges, no capabilities, no root, no token
    of a ServiceAccount, none of the pod's volumes. It sees the processes of `container` where that one runs, and
    only a process of the same user can be looked into; a container that is crash-looping has none to look at, and
    then it stands alone in the pod's network. Which images may run in a namespace is for its admission policies to
    say, which see ephemeral containers, too; here an image has to name its version.

    There is no parameter for a log level in an environment variable: changing it restarts the pods, which takes the
    state away that one wants to look at, and an expiry would hang on the operator being there to put it back.
    """

    name: ClassVar = "enable_debug_mode"
    summary: ClassVar = "Put a container for people beside a pod's processes, which ends by itself"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.PINNED
    halts: ClassVar = True
    parameters = EnableDebugModeParameters
    example: ClassVar = {"unhealthy": True, "image": "busybox:1.37", "expiresAfter": "30m"}
    outputs: ClassVar[Mapping[str, str]] = {
        "pod": "The name of the pod; empty where none was unhealthy.",
        "uid": "Its UID.",
        "container": "The name of the ephemeral container.",
        "seesProcessesOf": "The container whose processes it sees; empty where that one does not run.",
        "attach": "The command that opens a shell in it.",
    }

    def rights(self, target: ObjectRef | None, parameters: EnableDebugModeParameters) -> tuple[Right, ...]:
        """Return get on the pod, patch on its ephemeral containers, and what choosing it needs."""
        return ephemeral.needed_rights(target, parameters)

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: EnableDebugModeParameters
    ) -> Mapping[str, JsonValue] | None:
        """Choose the pod and return its name and UID; both are empty where no pod is unhealthy."""
        pod = await choose(cluster, context, parameters)
        if pod is None:
            return NONE
        ephemeral.demand_alive(pod)
        ephemeral.chosen(pod, parameters)
        return {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: EnableDebugModeParameters
    ) -> Done:
        """Put the container into the pinned pod, once, and wait until it runs.

        Raises:
            Unfinished: it has not been started yet.
            StepError: PreconditionFailed, where it can't start.
        """
        ref = pinned(context)
        if ref is None:
            return Done(False, f"no pod of {context.target} is unhealthy", _NOBODY)
        name = ephemeral.container_name(context, ref.uid, _WHAT)

        def make(seen: Manifest) -> Manifest:
            return self.plan(seen, name, parameters)

        pod = await ephemeral.put(cluster, ref, name, make)
        declared = ephemeral.find(pod, name) or {}
        told = f"{ref}: ephemeral container {name}: put there"
        outputs: dict[str, JsonValue] = {
            "pod": ref.name,
            "uid": ref.uid,
            "container": name,
            "seesProcessesOf": declared.get("targetContainerName", ""),
            "attach": f"kubectl exec -it -n {ref.namespace} {ref.name} -c {name} -- sh",
        }
        if parameters.wait:
            _demand_running(ephemeral.state(pod, name), told)
        until = int(parameters.expires_after.total_seconds())
        return Done(True, f"{told}; it ends {until} s after its start", outputs, (told,))

    def plan(self, seen: Manifest, name: str, parameters: EnableDebugModeParameters) -> Manifest:
        """Decide purely what is put into a pod.

        Raises:
            StepError: PreconditionFailed, where it has no such container.
        """
        chosen = ephemeral.chosen(seen, parameters)
        return ephemeral.container(
            name,
            parameters.image,
            ["sleep", str(int(parameters.expires_after.total_seconds()))],
            user=ephemeral.user_of(seen, chosen, parameters.run_as_user),
            beside=chosen["name"] if ephemeral.runs(seen, chosen["name"]) else None,
            env={},
        )

    def looks_at(self, context: StepContext, parameters: EnableDebugModeParameters) -> tuple[Look, ...]:
        """Return the pinned pod."""
        return ephemeral.looks_at(context)

    def probe(self, sight: Sight, context: StepContext, parameters: EnableDebugModeParameters) -> Probed:
        """It happened where the pod that was chosen has the step's ephemeral container, whose name is signed; with
        the pod that goes. It helped while the container runs, and no longer once it has ended.
        """
        return ephemeral.probed(sight, context, _WHAT, _of_use)

    async def undo(
        self, cluster: Cluster, context: StepContext, parameters: EnableDebugModeParameters
    ) -> Done:
        """Nothing is put back: an ephemeral container can't be removed. It ends by itself at its time, and is gone
        with the pod.
        """
        return Done(
            False, "an ephemeral container can't be removed; it ends by itself, and goes with its pod"
        )


def _of_use(state: ephemeral.State) -> Said:
    if state.running:
        return Said(Answer.YES, "it runs")
    if state.exit_code is not None:
        return Said(Answer.NO, f"it has ended with exit code {state.exit_code}")
    return Said(Answer.UNKNOWN, f"it does not run yet ({state.waiting or 'the kubelet has not said'})")


def _demand_running(state: ephemeral.State, told: str) -> None:
    """Raises Unfinished as long as it may start, StepError where it can't or has ended already."""
    if state.running:
        return
    if state.exit_code is None and not state.hopeless:
        now = state.waiting or "the kubelet has not said"
        raise Unfinished(f"{told}; it is not running yet ({now})", changed=(told,))
    if state.exit_code != 0:
        raise StepError(
            f"{told}, and can't run: {state.told or state.waiting}; it needs an image that can be had, with `sleep`",
            reason=Reason.PRECONDITION_FAILED,
        )
