"""``create_heap_dump``: have a process of a pod write its heap to one of the pod's volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from kubernaut.actions.diagnosis import ephemeral
from kubernaut.actions.diagnosis.ephemeral import EphemeralParameters
from kubernaut.actions.workloads.choosing import NONE, choose, pinned
from kubernaut.api.base import UNQUOTED
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import EffectFailed, StepError, Unfinished
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Look, Probed, Said, Sight

_WHAT: Final = "heap-dump"
_NOBODY: Final[Mapping[str, JsonValue]] = {"pod": "", "uid": "", "container": "", "file": "", "volume": ""}
#: volumes that a dump may go to; what Secrets and the like are mounted from can't be written
_WRITABLE: Final = frozenset({"persistentVolumeClaim", "ephemeral", "emptyDir", "nfs", "csi"})
_TEXT: Final = StringConstraints(min_length=1, max_length=1024)


def _plain(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")[1:]):
        raise ValueError(f"{path}: write an absolute path without empty parts, . and .., as in /dumps")
    return path


class CreateHeapDumpParameters(EphemeralParameters):
    """Parameters of ``create_heap_dump``."""

    directory: Annotated[
        str,
        StringConstraints(pattern=r"^/[-a-zA-Z0-9._/]+$", max_length=512),
        AfterValidator(_plain),
        Field(description="Where the file goes, as the container sees it: on a volume that it mounts."),
    ]
    command: Annotated[
        tuple[Annotated[str, _TEXT], ...],
        Field(
            min_length=1,
            max_length=32,
            description="The tool: `$(PID)` stands for the process, `$(FILE)` for the file as that process sees "
            "it, `$(ROOT)` for that process's root as the tool sees it.",
        ),
    ]
    process: Annotated[
        int,
        Field(ge=1, le=4_194_304, description="The process, by the number that it has in its container."),
        UNQUOTED,
    ] = 1
    extension: Annotated[
        str,
        StringConstraints(pattern=r"^[a-zA-Z0-9]{1,16}$"),
        Field(description="What the file's name ends in."),
    ] = "hprof"


class CreateHeapDump:
    """Has a process of a pod write its heap to a file on one of the pod's volumes, by a tool in an ephemeral
    container that sees the processes of `container` and runs as the same user. The pod is chosen as by
    `restart_pod`, and its UID stored before anything is sent; container and file are named for the step's key, and
    Kubernetes starts an ephemeral container once and never again: one step makes one dump. (An exec could be sent
    twice, and nobody could tell whether it was.)

    The tool is one for the runtime, in an image of yours. One that asks the process to dump, as jattach does of a
    JVM, is given `$(PID)` and `$(FILE)`, for the process writes the file, whose path is its own; one that writes the
    file itself is given `$(ROOT)$(FILE)`. How it ended is the outcome of the step: an exit code other than 0 fails
    it, with the end of what the tool said.

    The file goes to a volume that the container mounts and may write, never into the run: on a PersistentVolumeClaim
    it outlives the pod, on an `emptyDir` it goes with it; `volume` says which. Refused is a directory on no volume
    (the dump would fill the node's disk, and be gone when the container restarts), on one of memory, and on one that
    can't be written. Whether there is room is not known here: a heap takes about as much as the process's memory.

    What to expect. The process stands still while it dumps, for a second or so a gigabyte: a liveness probe may
    restart the container. A heap holds whatever secrets the process holds, so who may read the volume may read them.
    A tool that hangs can't be stopped, but with its pod; when the step's `timeout` is over the step fails, and the
    tool may still end its work.
    """

    name: ClassVar = "create_heap_dump"
    summary: ClassVar = "Have a process of a pod write its heap to a volume, by a tool beside it"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.PINNED
    halts: ClassVar = True
    parameters = CreateHeapDumpParameters
    example: ClassVar = {
        "command": ["jattach", "$(PID)", "dumpheap", "$(FILE)"],
        "unhealthy": True,
        "image": "registry.example.com/tools/jattach:2.2",
        "directory": "/dumps",
    }
    outputs: ClassVar[Mapping[str, str]] = {
        "pod": "The name of the pod; empty where none was unhealthy.",
        "uid": "Its UID.",
        "container": "The name of the ephemeral container.",
        "file": "The file, as the looked-into container sees it.",
        "volume": "What it is on: the PersistentVolumeClaim as in claim/data, or the kind of volume and its name.",
    }

    def rights(self, target: ObjectRef | None, parameters: CreateHeapDumpParameters) -> tuple[Right, ...]:
        """Return get on the pod, patch on its ephemeral containers, and what choosing it needs."""
        return ephemeral.needed_rights(target, parameters)

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: CreateHeapDumpParameters
    ) -> Mapping[str, JsonValue] | None:
        """Choose the pod and return its name and UID; both are empty where no pod is unhealthy."""
        pod = await choose(cluster, context, parameters)
        if pod is None:
            return NONE
        ephemeral.demand_alive(pod)
        _volume(pod, ephemeral.chosen(pod, parameters), parameters.directory)
        return {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: CreateHeapDumpParameters
    ) -> Done:
        """Start the tool in the pinned pod, once, and wait for its end.

        Raises:
            Unfinished: it has not ended yet.
            EffectFailed: it failed, with the outputs.
            StepError: PreconditionFailed, where it can't be started.
        """
        ref = pinned(context)
        if ref is None:
            return Done(False, f"no pod of {context.target} is unhealthy", _NOBODY)
        name = ephemeral.container_name(context, ref.uid, _WHAT)
        file = f"{parameters.directory.rstrip('/')}/{name}.{parameters.extension}"

        def make(seen: Manifest) -> Manifest:
            return self.plan(seen, name, file, parameters)

        pod = await ephemeral.put(cluster, ref, name, make)
        volume = _volume(pod, ephemeral.chosen(pod, parameters), parameters.directory)
        outputs: dict[str, JsonValue] = {
            "pod": ref.name,
            "uid": ref.uid,
            "container": name,
            "file": file,
            "volume": volume,
        }
        told = f"{ref}: ephemeral container {name}: put there"
        _demand_done(ephemeral.state(pod, name), told, outputs)
        return Done(True, f"{ref}: its heap is in {file} on {volume}", outputs, (told,))

    def plan(self, seen: Manifest, name: str, file: str, parameters: CreateHeapDumpParameters) -> Manifest:
        """Decide purely what is put into a pod.

        Raises:
            StepError: PreconditionFailed, where the container does not run, or the file would be on no volume.
        """
        chosen = ephemeral.chosen(seen, parameters)
        _volume(seen, chosen, parameters.directory)
        if not ephemeral.runs(seen, chosen["name"]):
            raise StepError(
                f"{ObjectRef.of(seen)}: container {chosen['name']} does not run, so there is no heap to dump",
                reason=Reason.PRECONDITION_FAILED,
            )
        pid = str(parameters.process)
        return ephemeral.container(
            name,
            parameters.image,
            list(parameters.command),
            user=ephemeral.user_of(seen, chosen, parameters.run_as_user),
            beside=chosen["name"],
            env={"PID": pid, "FILE": file, "ROOT": f"/proc/{pid}/root"},
        )

    def looks_at(self, context: StepContext, parameters: CreateHeapDumpParameters) -> tuple[Look, ...]:
        """Return the pinned pod."""
        return ephemeral.looks_at(context)

    def probe(self, sight: Sight, context: StepContext, parameters: CreateHeapDumpParameters) -> Probed:
        """It happened where the pod that was chosen has the step's ephemeral container, whose name is signed; with
        the pod that goes. It helped where the container ended with exit code 0, and did not with any other; whether
        the file is still on its volume is not seen.
        """
        return ephemeral.probed(sight, context, _WHAT, _whole)

    async def undo(
        self, cluster: Cluster, context: StepContext, parameters: CreateHeapDumpParameters
    ) -> Done:
        """Nothing is put back: the file stays on its volume for who wants to read it, and an ephemeral container
        can't be removed.
        """
        return Done(False, "the dump is left where it is, and an ephemeral container can't be removed")


def _whole(state: ephemeral.State) -> Said:
    if state.exit_code is None:
        return Said(Answer.UNKNOWN, "the tool has not ended")
    answer = Answer.YES if state.exit_code == 0 else Answer.NO
    return Said(answer, f"the tool has ended with exit code {state.exit_code}")


def _demand_done(state: ephemeral.State, told: str, outputs: Mapping[str, Any]) -> None:
    """Raises Unfinished as long as the tool may end, StepError where it can't be started or failed."""
    if state.exit_code == 0:
        return
    if state.exit_code is not None:
        raise EffectFailed(
            f"{told}; the tool failed with exit code {state.exit_code}: {state.told}; there is no whole dump",
            reason=Reason.JOB_FAILED,
            outputs=outputs,
        )
    if state.hopeless:
        raise StepError(
            f"{told}, and can't run: {state.told or state.waiting}", reason=Reason.PRECONDITION_FAILED
        )
    now = "the tool is at work" if state.running else state.waiting or "the kubelet has not said"
    raise Unfinished(f"{told}; {now}", changed=(told,))


def _volume(pod: Mapping[str, Any], container: Mapping[str, Any], directory: str) -> str:
    """Return which volume a directory of a container is on.

    Raises:
        StepError: PreconditionFailed, where it is on none that a dump can go to.
    """
    ref = ObjectRef.of(pod)
    mounts = [one for one in container.get("volumeMounts") or () if _within(directory, str(one["mountPath"]))]
    mount = max(mounts, key=lambda one: len(one["mountPath"]), default=None)
    if mount is None:
        raise _unfit(ref, f"container {container['name']} mounts no volume at {directory}; mount one there")
    if mount.get("readOnly"):
        raise _unfit(ref, f"{directory} is mounted read-only")
    volumes = pod["spec"].get("volumes") or ()
    volume: Mapping[str, Any] = next((one for one in volumes if one["name"] == mount["name"]), {})
    kind = next((key for key in volume if key != "name"), "")
    if kind not in _WRITABLE:
        raise _unfit(ref, f"{directory} is on a volume of kind {kind or 'unknown'}, which can't be written")
    if (volume[kind] or {}).get("medium") == "Memory":
        raise _unfit(ref, f"{directory} is on an emptyDir of memory, which the pod's own limit counts")
    claim = (volume[kind] or {}).get("claimName")
    return f"claim/{claim}" if claim else f"{kind}/{volume['name']}"


def _within(directory: str, mount: str) -> bool:
    return directory == mount or directory.startswith(f"{mount.rstrip('/')}/")


def _unfit(ref: ObjectRef, why: str) -> StepError:
    return StepError(f"{ref}: {why}; nothing was done", reason=Reason.PRECONDITION_FAILED)
