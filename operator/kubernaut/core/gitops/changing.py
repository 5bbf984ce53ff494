"""Which fields a request would change, and what is said of their owners."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kubernaut.api.guards import GitOpsMode, PauseSync, Resume
from kubernaut.api.names import GROUP
from kubernaut.core import fields
from kubernaut.core.fields import FieldChange, Path
from kubernaut.core.gitops.owners import Owner
from kubernaut.core.guards.levels import Level

#: where no level says anything
DEFAULT: Final = GitOpsMode.REFUSE
_STRICTNESS: Final = {
    GitOpsMode.ACT: 0,
    GitOpsMode.PAUSE_SYNC: 1,
    GitOpsMode.PROPOSE: 2,
    GitOpsMode.REFUSE: 3,
}


def mode(levels: Sequence[Level]) -> tuple[GitOpsMode, Level | None]:
    """Return the strictest mode of all levels, and the level that has it; None where none says anything."""
    found: tuple[GitOpsMode, Level | None] = DEFAULT, None
    for level in levels:
        said = level.guards.git_ops
        if said is not None and (found[1] is None or _STRICTNESS[said] > _STRICTNESS[found[0]]):
            found = said, level
    return found


def pause_terms(levels: Sequence[Level]) -> PauseSync:
    """Return how a sync is paused: as briefly as any level says."""
    said = [level.guards.pause_sync for level in levels if level.guards.pause_sync is not None]
    if not said:
        return PauseSync()
    ends = any(one.resume is Resume.AT_RUN_END for one in said)
    shortest = min(one.expires_after for one in said)
    return PauseSync(expires_after=shortest, resume=Resume.AT_RUN_END if ends else Resume.AT_EXPIRY)


def by_patch(seen: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Return the fields that a merge patch changes on an object as read; our own annotations are nobody else's."""
    return _theirs(fields.diff(seen, fields.apply_merge_patch(seen, body)))


def by_apply(seen: Mapping[str, Any], manifest: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Return the fields that differ where an object is applied; what the manifest does not name is left alone."""
    return _theirs(fields.diff(seen, merged(seen, manifest)))


def merged(seen: Any, given: Any) -> Any:
    """Return an object as it is once a manifest was applied to it; lists of named elements are merged by name."""
    if isinstance(seen, Mapping) and isinstance(given, Mapping):
        return {**seen, **{key: merged(seen.get(key), value) for key, value in given.items()}}
    if not _named(seen) or not _named(given):
        return given
    wanted = {one["name"]: one for one in given}
    kept = [merged(one, wanted.pop(one["name"], one)) for one in seen]
    return [*kept, *wanted.values()]


def _named(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(one, Mapping) and "name" in one for one in items)


def _theirs(changes: Iterable[FieldChange]) -> tuple[FieldChange, ...]:
    return tuple(
        change
        for change in changes
        if change.path[0] not in ("apiVersion", "kind", "status")
        and (change.path[0] != "metadata" or change.path[1:2] in (("labels",), ("annotations",)))
        and not _own(change.path)
    )


def _own(path: Path) -> bool:
    key = path[2] if len(path) > 2 and path[0] == "metadata" and isinstance(path[2], str) else ""
    prefix = key.partition("/")[0]
    return "/" in key and (prefix == GROUP or prefix.endswith(f".{GROUP}"))


def refused(what: str, owner: Owner, found: GitOpsMode, level: Level | None, *, more: str = "") -> str:
    """Say in one line why a request was not sent: whose the fields are, and what can be done."""
    by = (
        f"guards.gitOps of {level} is {found}"
        if level is not None
        else f"guards.gitOps is {found} unless set"
    )
    guess = "" if owner.exact else " (which fields are in Git can't be told, so all count)"
    return (
        f"{what} was not sent: {owner.name} keeps {owner.told_fields}{guess} and would set it back "
        f"({owner.why}), and {by}{more}"
    )


def told(owner: Owner) -> str:
    """Say in one line that an owner may undo what was done."""
    when = "may set back" if owner.undoes else "is told to hold"
    return f"{owner.name} {when} {owner.told_fields} ({owner.why})"
