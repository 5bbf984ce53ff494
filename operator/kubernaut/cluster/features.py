"""Flags of single features, and capacities: entries of the stop switch's ConfigMap, read with it.

``feature.NAME`` is ``on`` or ``off`` and absent means on; ``capacity.RESOURCE`` is a whole number and absent means 1.
What is not understood is told and counted, and then the side is taken that changes less in the cluster (``FLAGS``).
While the ConfigMap can't be read, or is gone, what was read last stays; acting has stopped by then anyway.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubernaut.cluster.parts import Keeps
from kubernaut.core.errors import Conflict, UnknownOutcome
from kubernaut.core.features import Feature
from kubernaut.core.ports import ObjectRef
from kubernaut.metrics import FEATURE_ENABLED, FLAGS_INVALID

log = logging.getLogger(__name__)

ON: Final = "on"
OFF: Final = "off"
FEATURE_PREFIX: Final = "feature."
CAPACITY_PREFIX: Final = "capacity."
# The master switch, where somebody looks for it among the flags (see ``switch``).
ACTING: Final = "acting"
DEFAULT_CAPACITY: Final = 1
MAX_CAPACITY: Final = 1_000_000
_RESOURCE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Flag:
    """What a flag does.

    Attributes:
        off: what happens while it is off, a sentence.
        unclear: whether the feature is on where the flag's value is neither on nor off: whichever changes less.
    """

    off: str
    unclear: bool


FLAGS: Final[Mapping[Feature, Flag]] = {
    Feature.ROLLBACK: Flag("Nothing is put back: a run that would end rolled back fails as NotFixed.", False),
    Feature.RETRIES: Flag("A failed attempt of a step is its last.", False),
    Feature.SUBFLOWS: Flag("Steps that start another Workflow wait before they begin.", False),
    Feature.FOR_EACH: Flag("forEach steps wait before they begin.", False),
    Feature.HISTORY: Flag("Finished runs wait for the history as if Postgres were away.", True),
    Feature.EXPIRY: Flag("No finished run is deleted.", False),
    Feature.ETA: Flag("Runs tell no expected end.", True),
    Feature.EVENTS: Flag("No Kubernetes Events are written.", True),
    Feature.CAPACITIES: Flag("Steps do not wait for named resources.", True),
    Feature.PRIORITIES: Flag("Who waits longest goes first, whatever its priority.", True),
    Feature.DISCOVERY: Flag("No patterns are looked for; those that were found stay as they are.", True),
    Feature.REMEMBER: Flag("Nothing new is remembered of objects; what was can still be restored.", True),
    Feature.GITOPS: Flag("Nobody looks whose a field is; runs act, and others may undo it.", True),
    Feature.ALERTS: Flag(
        "Alertmanager is asked to send alerts again later; none starts a run until then.", True
    ),
    Feature.NOTIFICATIONS: Flag(
        "Nobody is notified that a person is waited for; who still is once it is on again is told then.", True
    ),
    Feature.METRICS: Flag(
        "Prometheus is not asked; a run whose verdict rests upon a metric ends as Inconclusive.", True
    ),
}


@dataclass(frozen=True, slots=True)
class Flags:
    """What the entries say; ``problems`` has one sentence for each that is not understood."""

    off: frozenset[Feature]
    capacities: Mapping[str, int]
    problems: tuple[str, ...] = ()


# Before anything was read, nothing is known.
UNREAD: Final = Flags(frozenset(feature for feature, flag in FLAGS.items() if not flag.unclear), {})


def read_flags(data: Mapping[str, Any]) -> Flags:
    """Read the ConfigMap's data; entries of other names than ours are passed over."""
    off: set[Feature] = set()
    capacities: dict[str, int] = {}
    problems: list[str] = []
    for key, value in sorted(data.items()):
        text = str(value).strip()
        if key.startswith(FEATURE_PREFIX):
            _read_feature(key, text, off, problems)
        elif key.startswith(CAPACITY_PREFIX):
            _read_capacity(key, text, capacities, problems)
    return Flags(frozenset(off), capacities, tuple(problems))


def _read_feature(key: str, text: str, off: set[Feature], problems: list[str]) -> None:
    name = key.removeprefix(FEATURE_PREFIX)
    if name == ACTING:
        return
    feature = named(name)
    if feature is None:
        problems.append(f"{key[:80]}: there is no such feature{hint(name)}; nothing is switched by it")
    elif text.lower() == OFF:
        off.add(feature)
    elif text.lower() != ON:
        state = ON if FLAGS[feature].unclear else OFF
        problems.append(f"{key}: {text[:40]!r} is neither on nor off; the feature is taken to be {state}")
        if state == OFF:
            off.add(feature)


def _read_capacity(key: str, text: str, capacities: dict[str, int], problems: list[str]) -> None:
    resource = key.removeprefix(CAPACITY_PREFIX)
    if not _RESOURCE.fullmatch(resource):
        problems.append(f"{key[:80]}: a resource is named like node-drain, in at most 40 characters")
    elif not re.fullmatch(r"[0-9]{1,7}", text) or int(text) > MAX_CAPACITY:
        problems.append(
            f"{key}: {text[:40]!r} is no whole number from 0 to {MAX_CAPACITY}; the capacity is taken to be "
            f"{DEFAULT_CAPACITY}"
        )
    else:
        capacities[resource] = int(text)


def named(name: str) -> Feature | None:
    """Return the feature of this name, in whatever case it is written; None where there is none."""
    try:
        return Feature(name.lower())
    except ValueError:
        return None


def hint(name: str) -> str:
    """Return the nearest name as a question, or all names."""
    near = difflib.get_close_matches(name.lower(), [feature.value for feature in Feature], n=1)
    return f" (did you mean {near[0]}?)" if near else f" (there are {', '.join(sorted(Feature))})"


class Features:
    """Which features are on, as last read. Cheap to ask; every answer is of this moment."""

    def __init__(self) -> None:
        self._flags = UNREAD
        self._read = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def off(self) -> frozenset[Feature]:
        """The features that are off: what core gets among its facts."""
        return self._flags.off

    @property
    def problems(self) -> tuple[str, ...]:
        """What is written there and not understood, a sentence each."""
        return self._flags.problems

    def on(self, feature: Feature) -> bool:
        """Whether a feature is on."""
        return feature not in self._flags.off

    def capacity(self, resource: str) -> int:
        """Return how much of a named resource there is; 0 means that nobody gets any."""
        return self._flags.capacities.get(resource, DEFAULT_CAPACITY)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have ``callback()`` called after each change of a flag or a capacity."""
        self._callbacks.append(callback)

    def see(self, data: Mapping[str, Any]) -> None:
        """Take what the ConfigMap's data says. Never raises."""
        new, old = read_flags(data), self._flags
        known = self._read
        if known and new == old:
            return
        self._flags, self._read = new, True
        for feature in Feature:
            FEATURE_ENABLED.labels(feature.value).set(0 if feature in new.off else 1)
        FLAGS_INVALID.set(len(new.problems))
        for problem in set(new.problems) - set(old.problems):
            log.warning("an entry of the switch's ConfigMap is not understood: %s", problem)
        if new.off != (old.off if known else frozenset()):
            log.warning("features switched off: %s", ", ".join(sorted(new.off)) or "none")
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                log.exception("a callback of the features failed")


async def set_flags(cluster: Keeps, ref: ObjectRef, changes: Mapping[str, str | None]) -> Flags:
    """Set entries of the ConfigMap with the rights of whoever calls; None takes one away. Return what holds then.

    Raises:
        NotFound: there is no such ConfigMap.
        ClusterError: it could not be written; nothing was changed, but for UnknownOutcome.
    """
    for left in reversed(range(_TRIES)):
        found = await cluster.get(ref)
        data: dict[str, Any] = dict(found.get("data") or {})
        # An entry of the same name in another case would still count.
        others: dict[str, str | None] = {
            key: None for key in data if key not in changes and key.lower() in changes
        }
        every = {**changes, **others}
        wanted = {key: value for key, value in {**data, **every}.items() if value is not None}
        if wanted == data:
            break  # also where an earlier try was lost on its way back
        try:
            version = found["metadata"]["resourceVersion"]
            await cluster.patch(ref, {"data": every}, resource_version=version)
        except (Conflict, UnknownOutcome):
            if not left:
                raise
            continue
        break
    return read_flags(wanted)
