"""Which objects can be at a workload's trouble: those that block it, and came just before it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from kubernaut.actions.network.rules import Direction
from kubernaut.actions.newcomers.trouble import Trouble, Window, moment
from kubernaut.actions.nodes.node import KEEPS_AWAY
from kubernaut.actions.nodes.taint import THEIRS, plain, taint_text, taints_of
from kubernaut.core.managed_fields import managers
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.selectors import selects

_EXCEEDED: Final = re.compile(r"exceeded quota: ([a-z0-9.-]+), .*limited: (\S+)")
_FAILED: Final = re.compile(r"failed quota: ([a-z0-9.-]+): must specify")
_WEBHOOK: Final = re.compile(r'failed calling webhook "([^"]+)"')


class Blocker(StrEnum):
    """Kinds of objects that may block a workload."""

    NETWORK_POLICY = "NetworkPolicy"
    RESOURCE_QUOTA = "ResourceQuota"
    LIMIT_RANGE = "LimitRange"
    VALIDATING_WEBHOOK = "ValidatingWebhookConfiguration"
    MUTATING_WEBHOOK = "MutatingWebhookConfiguration"
    TAINT = "Taint"

    @property
    def kind(self) -> tuple[str, str]:
        """API version and kind of the object that has it."""
        return _KINDS[self]

    @property
    def namespaced(self) -> bool:
        """Whether it is in the run's namespace."""
        return self in (Blocker.NETWORK_POLICY, Blocker.RESOURCE_QUOTA, Blocker.LIMIT_RANGE)


_ADMISSION: Final = "admissionregistration.k8s.io/v1"
_KINDS: Final = {
    Blocker.NETWORK_POLICY: ("networking.k8s.io/v1", "NetworkPolicy"),
    Blocker.RESOURCE_QUOTA: ("v1", "ResourceQuota"),
    Blocker.LIMIT_RANGE: ("v1", "LimitRange"),
    Blocker.VALIDATING_WEBHOOK: (_ADMISSION, "ValidatingWebhookConfiguration"),
    Blocker.MUTATING_WEBHOOK: (_ADMISSION, "MutatingWebhookConfiguration"),
    Blocker.TAINT: ("v1", "Node"),
}


@dataclass(frozen=True, slots=True)
class Suspect:
    """An object that blocks the workload and came just before it was in trouble.

    Attributes:
        manifest: as read; of a taint its node.
        taint: where it is one.
        appeared: when it came.
        onset: when the trouble began that it is suspected of.
        why: what it does, in a part of a sentence.
    """

    manifest: Manifest
    appeared: datetime
    onset: datetime
    why: str
    taint: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        ref = str(ObjectRef.of(self.manifest))
        return ref if self.taint is None else f"taint {taint_text(self.taint)} of {ref}"

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it from any other: the object's UID, and which of its taints."""
        which = "" if self.taint is None else taint_text(self.taint)
        return self.manifest["metadata"]["uid"], which


def suspects(
    blocker: Blocker, objects: Sequence[Manifest], trouble: Trouble, window: Window
) -> Iterator[Suspect]:
    """Yield the suspects among objects of one kind."""
    if blocker is Blocker.TAINT:
        yield from _taints(objects, trouble, window)
        return
    for one in objects:
        appeared = moment(one["metadata"].get("creationTimestamp"))
        if appeared is None or one["metadata"].get("deletionTimestamp"):
            continue
        for why, times in _blocks(blocker, one, objects, trouble, window):
            onset = window.fits(appeared, times)
            if onset is not None:
                yield Suspect(one, appeared, onset, why)
                break


def _blocks(
    blocker: Blocker, one: Manifest, objects: Sequence[Manifest], trouble: Trouble, window: Window
) -> Iterator[tuple[str, Sequence[datetime]]]:
    """Yield how an object blocks the workload, and since when that shows."""
    if blocker is Blocker.NETWORK_POLICY:
        yield from _isolates(one, objects, trouble, window)
        return
    reads = {Blocker.RESOURCE_QUOTA: _quota, Blocker.LIMIT_RANGE: _limits}
    read = reads.get(blocker, _webhook)
    for refusal in trouble.refusals:
        why = read(one, refusal.message)
        if why:
            yield why, [refusal.at]


def _quota(quota: Manifest, message: str) -> str:
    name, hard = quota["metadata"]["name"], quota.get("spec", {}).get("hard") or {}
    exceeded = _EXCEEDED.search(message)
    if exceeded is not None and exceeded[1] == name:
        limited = dict(part.partition("=")[::2] for part in exceeded[2].split(","))
        # A quota that was widened since is not what the message speaks of any more.
        if any(str(hard.get(resource)) == value for resource, value in limited.items()):
            return f"pods are refused: it is exceeded (at most {exceeded[2]})"
    failed = _FAILED.search(message)
    if failed is not None and failed[1] == name:
        return "pods are refused: it demands what they do not specify"
    return ""


def _limits(limit_range: Manifest, message: str) -> str:
    for text in _limit_texts(limit_range):
        if re.search(rf"{re.escape(text)}(?![0-9A-Za-z])", message):
            return f"pods are refused: {text}"
    return ""


def _limit_texts(limit_range: Manifest) -> Iterator[str]:
    """Yield what the API server says of pods that one of the limits refuses."""
    for one in limit_range.get("spec", {}).get("limits") or ():
        kind = one.get("type", "")
        for resource, value in (one.get("max") or {}).items():
            yield f"maximum {resource} usage per {kind} is {value}"
        for resource, value in (one.get("min") or {}).items():
            yield f"minimum {resource} usage per {kind} is {value}"
        for resource, value in (one.get("maxLimitRequestRatio") or {}).items():
            yield f"{resource} max limit to request ratio per {kind} is {value}"
        for resource, value in (one.get("default") or {}).items():
            yield f"must be less than or equal to {resource} limit of {value}"


def _webhook(configuration: Manifest, message: str) -> str:
    failing = set(_WEBHOOK.findall(message))
    for hook in configuration.get("webhooks") or ():
        if hook.get("name") in failing and hook.get("failurePolicy", "Fail") == "Fail":
            return f"pods are refused: its webhook {hook['name']} can't be called"
    return ""


def _isolates(
    policy: Manifest, policies: Iterable[Manifest], trouble: Trouble, window: Window
) -> Iterator[tuple[str, Sequence[datetime]]]:
    """Yield how a policy cuts pods off.

    What any policy allows is allowed. So one more policy takes something away only where no other that was there
    before selects the same pods for the same direction.
    """
    if not _selects(policy, trouble):
        return
    for direction in Direction:
        if not _restricts(policy, direction):
            continue
        others = (one for one in policies if one is not policy and _selects(one, trouble))
        if any(_restricts(one, direction) and _earlier(one, policy) for one in others):
            continue
        rules = policy["spec"].get(direction.field) or []
        allowed = f"allows {len(rules)} rules only" if rules else "allows nothing"
        yield f"it selects the pods, and {allowed} for {direction.field}", trouble.unready


def _selects(policy: Manifest, trouble: Trouble) -> bool:
    selector = policy["spec"].get("podSelector") or {}
    return not selector or selects(selector, trouble.labels)


def _restricts(policy: Manifest, direction: Direction) -> bool:
    """Whether a policy restricts a direction; a rule without anything in it allows all."""
    spec = policy["spec"]
    if direction.value not in (spec.get("policyTypes") or ()):
        return False
    return not any(not rule for rule in spec.get(direction.field) or ())


def _earlier(one: Manifest, other: Manifest) -> bool:
    created = [moment(each["metadata"].get("creationTimestamp")) for each in (one, other)]
    return created[0] is not None and created[1] is not None and created[0] < created[1]


def _taints(nodes: Sequence[Manifest], trouble: Trouble, window: Window) -> Iterator[Suspect]:
    for node in nodes:
        for taint in taints_of(node):
            if taint["effect"] not in KEEPS_AWAY or THEIRS.search(taint["key"]):
                continue
            kept_off = [
                (pod, at)
                for pod, at in trouble.pending
                if _wants(pod, node) and not any(_tolerates(one, taint) for one in _tolerations(pod))
            ]
            appeared = _added(node, taint)
            if not kept_off or appeared is None:
                continue
            onset = window.fits(appeared, [at for _, at in kept_off])
            if onset is not None:
                name = kept_off[0][0]["metadata"]["name"]
                why = f"it keeps {len(kept_off)} pods off that do not tolerate it, such as {name}"
                yield Suspect(node, appeared, onset, why, plain(taint))


def _wants(pod: Manifest, node: Manifest) -> bool:
    labels = node["metadata"].get("labels") or {}
    wanted = pod["spec"].get("nodeSelector") or {}
    return all(labels.get(key) == value for key, value in wanted.items())


def _tolerations(pod: Manifest) -> Sequence[Mapping[str, Any]]:
    return pod["spec"].get("tolerations") or ()


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    same = (toleration.get("key"), toleration.get("value") or "")
    return same == (taint["key"], taint.get("value") or "")


def _added(node: Manifest, taint: Mapping[str, Any]) -> datetime | None:
    """Return when a taint came: by itself where it says so, else when the node's taints were last written."""
    own = moment(taint.get("timeAdded"))
    if own is not None:
        return own
    path = ("spec", "taints")
    times = [one.time for one in managers(node) if one.owns(path) and one.time]
    return moment(max(times)) if times else None
