"""Patterns as ``DiscoveredPattern`` objects: created once, written again only when a person would notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from kubernaut.api.base import ConditionStatus, ObjectMeta
from kubernaut.api.names import LABEL_MANAGED_BY, LABEL_PART_OF
from kubernaut.api.pattern import DiscoveredPattern, DiscoveredPatternStatus, SuccessRate
from kubernaut.api.reasons import Reason
from kubernaut.core.conditions import FEATURE_OFF, READY, merge
from kubernaut.core.errors import AlreadyExists, Conflict, NotFound, UnknownOutcome
from kubernaut.patterns.discovery import Discovery, FormerPattern
from kubernaut.patterns.signature import describe

_MANAGER = "kubernaut"
_SUPPORT_MOVED = 0.02
_SHARE_MOVED = 0.05


class PatternSink(Protocol):
    """Where ``DiscoveredPattern`` objects are kept. All methods raise ``core.errors.ClusterError`` kinds."""

    async def list(self) -> Sequence[DiscoveredPattern]:
        """Read all patterns of the analyst's namespace."""
        ...

    async def create(self, pattern: DiscoveredPattern) -> DiscoveredPattern:
        """Create an object, without status, and return it as stored. Raises AlreadyExists."""
        ...

    async def patch_status(self, pattern: DiscoveredPattern, status: dict[str, Any]) -> None:
        """Merge-patch the status of the object as read; its resourceVersion is the precondition."""
        ...


@dataclass
class Written:
    """What a publication wrote.

    Attributes:
        conflicts: objects that changed meanwhile, or whose answer was lost; the next round decides anew.
    """

    created: int = 0
    patched: int = 0
    unchanged: int = 0
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Retired:
    """A pattern that is no more; ``heir`` is the name of the pattern that has most of its runs, or ""."""

    name: str
    heir: str


def retired_of(discovery: Discovery, former: dict[str, FormerPattern]) -> list[Retired]:
    """Return the retired patterns of a discovery under the names of their objects."""
    return [Retired(former[id_].name, heir) for id_, heir in sorted(discovery.retired.items())]


async def publish(
    sink: PatternSink, present: dict[str, DiscoveredPatternStatus], retired: Sequence[Retired], now: datetime
) -> Written:
    """Bring the objects in line with the patterns.

    An object of a retired pattern stays, with Active=False: what people wrote into it (pins, notes) is
    theirs, and a pattern that comes back takes it up again. Whoever deletes it is not contradicted. An
    object of a present pattern that was deleted is made again. One that we made and know nothing of any more,
    because the history was lost or it retired long ago, is no more either.

    Args:
        sink: where the objects are.
        present: status by name, without conditions.
        retired: patterns that are no more.
        now: for the conditions.
    """
    written = Written()
    stored = {one.metadata.name: one for one in await sink.list()}
    for name, status in present.items():
        one = stored.get(name)
        if one is None:
            one = await _create(sink, name)
            written.created += one is not None
        if one is None:
            written.conflicts.append(name)
            continue
        status = _told(status, muted=one.spec.muted)
        await _update(sink, one, with_conditions(status, one, _active(), now), written)
    inactive = {gone.name: _inactive(gone) for gone in retired}
    for name, one in stored.items():
        if name in present or one.status is None:
            continue
        if name in inactive or one.metadata.labels.get(LABEL_MANAGED_BY) == _MANAGER:
            status = _told(one.status, muted=one.spec.muted)
            stance = inactive.get(name) or _unknown(one.status, name)
            await _update(sink, one, with_conditions(status, one, stance, now), written)
    return written


def _told(status: DiscoveredPatternStatus, *, muted: bool) -> DiscoveredPatternStatus:
    """Return what is told of a pattern: nothing is recommended from one that a person has muted."""
    if not muted or status.signature is None:
        return status.replace(recommended=None) if muted else status
    signature = describe(status.signature.features, status.support, None, muted=True)
    return status.replace(recommended=None, signature=signature)


async def publish_off(sink: PatternSink, now: datetime) -> Written:
    """Say of every pattern that nothing is learned of it while the feature is switched off."""
    written = Written()
    for one in await sink.list():
        if one.status is not None:
            await _update(sink, one, _switched_off(one, one.status, now), written)
    return written


def _switched_off(
    one: DiscoveredPattern, status: DiscoveredPatternStatus, now: datetime
) -> DiscoveredPatternStatus:
    message = "Feature discovery is switched off: the status says what was learned until then."
    told = merge(
        status.conditions, [(FEATURE_OFF, True, Reason.FEATURE_OFF, message)], now, one.metadata.generation
    )
    others = [condition for condition in status.conditions if condition.type != FEATURE_OFF]
    return status.replace(conditions=[*others, *told])


async def _create(sink: PatternSink, name: str) -> DiscoveredPattern | None:
    labels = {LABEL_MANAGED_BY: _MANAGER, LABEL_PART_OF: "kubernaut"}
    try:
        return await sink.create(DiscoveredPattern(metadata=ObjectMeta(name=name, labels=labels)))
    except (AlreadyExists, UnknownOutcome):
        return None


async def _update(
    sink: PatternSink, one: DiscoveredPattern, status: DiscoveredPatternStatus, written: Written
) -> None:
    if not differs(one.status, status):
        written.unchanged += 1
        return
    body = _merge_patch(one.status.wire() if one.status else {}, status.wire())
    try:
        await sink.patch_status(one, body)
    except (Conflict, NotFound, UnknownOutcome):
        written.conflicts.append(one.metadata.name)
    else:
        written.patched += 1


def _merge_patch(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the merge patch (RFC 7386) that leaves nothing of ``before`` that ``after`` lacks."""
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        patch[name] = _merge_patch(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return patch


def with_conditions(
    status: DiscoveredPatternStatus, one: DiscoveredPattern, active: tuple[bool, str, str], now: datetime
) -> DiscoveredPatternStatus:
    """Return the status with conditions and observedGeneration; a condition that stays keeps its time."""
    generation = one.metadata.generation
    wanted = [
        (READY, True, "Learned", "The status says what the history holds."),
        ("Active", *active),
    ]
    former = one.status.conditions if one.status else []
    return status.replace(conditions=merge(former, wanted, now, generation), observed_generation=generation)


def _active() -> tuple[bool, str, str]:
    return True, "Recurring", "Runs of this kind are in the history."


def _inactive(gone: Retired) -> tuple[bool, str, str]:
    if gone.heir:
        return False, "Merged", f"Its runs now belong to DiscoveredPattern {gone.heir}."
    return False, "Vanished", "The history holds no runs of this kind any more."


def _unknown(status: DiscoveredPatternStatus, name: str) -> tuple[bool, str, str]:
    """What to say of a pattern that is neither present nor remembered: what was said, if that was its end."""
    for condition in status.conditions:
        if condition.type == "Active" and condition.status is ConditionStatus.FALSE:
            return False, condition.reason, condition.message
    return _inactive(Retired(name, ""))


def differs(before: DiscoveredPatternStatus | None, after: DiscoveredPatternStatus) -> bool:
    """Whether a person would notice: another version, signature, recommendation or condition, or moved numbers.

    Numbers have moved when the support did by 2 % or a share by 0.05; that the last run was just now, or
    that other runs are the exemplars, is told along with the next change.
    """
    if before is None or _stance(before) != _stance(after):
        return True
    if abs(after.support - before.support) > _SUPPORT_MOVED * before.support:
        return True
    shares = zip(_shares(before), _shares(after), strict=True)
    return any(abs(old - new) >= _SHARE_MOVED for old, new in shares)


def _stance(status: DiscoveredPatternStatus) -> tuple[object, ...]:
    return (
        status.observed_generation,
        status.version,
        status.algorithm,
        sorted(f.name for f in status.signature.features) if status.signature else None,
        status.recommended.workflow if status.recommended else None,
        status.success is None,
        [(c.type, c.status, c.reason, c.message, c.observed_generation) for c in status.conditions],
    )


def _shares(status: DiscoveredPatternStatus) -> list[float]:
    features = sorted(status.signature.features, key=lambda f: f.name) if status.signature else []
    shares = [value for feature in features for value in (feature.share, feature.elsewhere)]
    for success in (status.success, status.recommended.success if status.recommended else None):
        shares.extend(_rates(success))
    return shares


def _rates(success: SuccessRate | None) -> tuple[float, ...]:
    return (success.rate, success.interval.lower, success.interval.upper) if success else ()
