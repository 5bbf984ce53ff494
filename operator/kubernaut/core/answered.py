"""Since when an answer to an approval step is there, as the API server keeps it.

Who answers is not believed the time, and an operator that was away has not seen it. The API server keeps a time with
the fields of each writer, which a later write of that writer moves: an answer is there since that time at the latest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from kubernaut.core.fields import Select
from kubernaut.core.managed_fields import managers

#: what the API server's times leave out
_SECOND: Final = timedelta(seconds=1)


def answered(manifest: Mapping[str, Any]) -> dict[str, datetime]:
    """Return by step when an answer of a run was there at the latest; without those of which it is not told."""
    control = (manifest.get("spec") or {}).get("control") or {}
    steps = [str(answer["step"]) for answer in control.get("approvals") or ()]
    if not steps:
        return {}
    found: dict[str, datetime] = {}
    for manager in managers(manifest):
        time = _time(manager.time)
        if time is None:
            continue
        for step in steps:
            owned = manager.owns(("spec", "control", "approvals", Select("step", step)))
            if owned and (step not in found or time < found[step]):
                found[step] = time
    return found


def answered_by(known: Mapping[str, datetime], step: str, expiry: datetime) -> bool:
    """Whether it is known that an answer was there before a time."""
    return step in known and known[step] + _SECOND <= expiry


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
