"""Whether what a run of ours changed was set back by another manager since, and by which. Pure.

The object tells: the run's mark holds what the field was made, ``managedFields`` say who wrote it last and when.
Times are those of the API server, to the second. A mark that a later run has tidied away tells nothing any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from kubernaut.api.guards import Oscillation
from kubernaut.api.names import MANAGER, MARKER_PREFIX
from kubernaut.core import fields
from kubernaut.core.errors import StepError
from kubernaut.core.fields import Path
from kubernaut.core.guards.levels import Level, moment, span
from kubernaut.core.managed_fields import Manager, managers
from kubernaut.core.marker import Signer, read_marker

#: where no level says anything
DEFAULT: Final = Oscillation()


@dataclass(frozen=True, slots=True)
class Undone:
    """A field that was set back.

    Attributes:
        by: the field manager.
        after: how long after the run's change that was.
        at: when.
    """

    run_uid: str
    path: Path
    by: str
    after: timedelta
    at: datetime


def terms(levels: Sequence[Level]) -> Oscillation:
    """Return what counts as undoing, and for how long: the longest of what all levels say."""
    said = [level.guards.oscillation for level in levels if level.guards.oscillation is not None]
    if not said:
        return DEFAULT
    return Oscillation(within=max(one.within for one in said), cooldown=max(one.cooldown for one in said))


def undone(
    manifest: Mapping[str, Any], signer: Signer, declared: Oscillation, now: datetime
) -> tuple[Undone, ...]:
    """Return which changes of ours another manager has undone soon after, and so lately that it still counts."""
    notes = manifest["metadata"].get("annotations") or {}
    runs = [key.removeprefix(MARKER_PREFIX) for key in notes if key.startswith(MARKER_PREFIX)]
    if not runs:
        return ()
    wrote = managers(manifest)
    ours = [when for one in wrote if one.name == MANAGER and (when := _time(one)) is not None]
    if not ours:
        return ()
    found: list[Undone] = []
    for run in runs:
        for path in _set_back(manifest, run, signer):
            other = next((one for one in wrote if one.name != MANAGER and one.owns(path)), None)
            at = _time(other) if other is not None else None
            if other is None or at is None:
                continue
            after = at - max(ours)
            if timedelta(0) <= after <= declared.within and now < at + declared.cooldown:
                found.append(Undone(run, path, other.name, after, at))
    return tuple(found)


def _set_back(manifest: Mapping[str, Any], run: str, signer: Signer) -> list[Path]:
    """Return the fields that are again as they were before a run's last change of them."""
    try:
        marker = read_marker(manifest, run, signer)
    except StepError:
        return []
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for mark in marker.steps.values():
        if mark.undone or mark.kept is not None:
            continue
        for text, value in mark.after.items():
            before.setdefault(text, mark.before.get(text))
            after[text] = value
    found = [fields.parse(text) for text in after]
    return [
        path
        for path in found
        if fields.same(now := fields.get(manifest, path), before[fields.render(path)])
        and not fields.same(now, after[fields.render(path)])
    ]


def stops(found: Sequence[Undone], run_uid: str, changed: Collection[Path]) -> Undone | None:
    """Return what keeps a change from being made: its own run's was undone, or one of the same fields."""
    for one in found:
        if one.run_uid == run_uid or any(
            path[: len(one.path)] == one.path or one.path[: len(path)] == path for path in changed
        ):
            return one
    return None


def refused(what: str, one: Undone, declared: Oscillation) -> str:
    """Say in one line why nothing is changed, and until when."""
    return (
        f"{what} was not sent: field manager {one.by} set {fields.render(one.path)} back {span(one.after)} after run "
        f"{one.run_uid} had changed it; to change it again would only be undone again, and is not tried until "
        f"{moment(one.at + declared.cooldown)}"
    )


def told(one: Undone) -> str:
    """Say in one line who has undone what a run changed."""
    what = f"set {fields.render(one.path)} back {span(one.after)} after this run had changed it"
    return f"Field manager {one.by} {what}."


def _time(one: Manager) -> datetime | None:
    try:
        return datetime.fromisoformat(one.time)
    except ValueError:
        return None
