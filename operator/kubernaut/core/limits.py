"""The bounds that keep a run's object small (docs/concepts.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kubernaut.api.execution import StepPhase, StepStatus

OUTPUTS: Final = 96 * 1024
MESSAGES: Final = 32 * 1024
# Of a status; the API server and etcd take more, but every write of it costs by its size.
STATUS: Final = 240 * 1024
MAX_KEYS: Final = 64
#: of lists and objects within one another in an output; a status with some 250 could be neither written nor read
DEEPEST: Final = 64
# So many bytes a record takes beside its name and its texts.
_RECORD: Final = 160
_SHORT: Final = 40
_DOTS: Final = 3
# A key of JSON with its quotes, colon and comma.
_KEYED: Final = 14
_MANY: Final = 200
MAX_SENTENCES: Final = 16
SENTENCES: Final = 64 * 1024
_KEY: Final = re.compile(r"[a-z][a-zA-Z0-9_]{0,62}")


def size(outputs: Mapping[str, Any] | None) -> int:
    """Return how many bytes outputs take as JSON."""
    return len(json.dumps(dict(outputs), ensure_ascii=False).encode()) if outputs else 0


def outputs_left(records: Iterable[StepStatus]) -> int:
    """Return how many bytes of outputs the run may still add.

    A run of very many steps has less room, for its records take what is left of the status's 256 KiB.
    """
    taken = bare = 0
    for record in records:
        taken += size(record.outputs)
        bare += _RECORD + len(record.name) + _SHORT
    return max(0, min(OUTPUTS, STATUS - bare) - taken)


def fit(records: Sequence[StepStatus]) -> list[StepStatus]:
    """Return records that fit into the status: where there are very many, done steps tell less.

    First their messages go, then what they changed is cut (the marks on the objects keep it whole), and at last what
    is told of the others. Whatever room there is, messages keep to their own bound.
    """
    fitting = _messages_fit(records)
    if len(fitting) < _MANY or _taken(fitting) <= STATUS:
        return fitting
    for most in (None, _SHORT, _DOTS):
        fitting = [_brief(record, most) for record in fitting]
        if _taken(fitting) <= STATUS:
            return fitting
    told = [record for record in fitting if record.message]
    room = STATUS - _taken(record.replace(message=None) for record in fitting)
    share = max(_DOTS, room // max(1, len(told)))
    return [
        record.replace(message=cut(record.message, share)) if record.message else record for record in fitting
    ]


def _messages_fit(records: Sequence[StepStatus]) -> list[StepStatus]:
    """Cut the longest messages until all fit into their bound.

    Each was cut by the number of steps that there were then; since then groups may have brought more.
    """
    sizes = [len(record.message.encode()) for record in records if record.message]
    if sum(sizes) <= MESSAGES:
        return list(records)
    left, most = MESSAGES, 0
    for at, size in enumerate(sorted(sizes)):
        most = left // (len(sizes) - at)
        if size > most:
            break
        left -= size
    return [
        record.replace(message=cut(record.message, most)) if record.message else record for record in records
    ]


def records_fit(names: Iterable[str]) -> bool:
    """Return whether the records of steps of these names fit into the status, telling as little as they can."""
    return sum(_RECORD + len(name) + 2 * _DOTS for name in names) <= STATUS


def _taken(records: Iterable[StepStatus]) -> int:
    return sum(
        _RECORD
        + len(record.name)
        + (len(record.reason) + _KEYED if record.reason else 0)
        + (len(record.message.encode()) + _KEYED if record.message else 0)
        + sum(len(text.encode()) + 3 for text in record.changed or ())
        + size(record.outputs)
        for record in records
    )


def _brief(record: StepStatus, most: int | None) -> StepStatus:
    if not record.phase.final:
        return record
    told = record.message if record.phase is StepPhase.FAILED else None
    changed = record.changed
    if most is not None and changed:
        changed = [cut(changed[0], max(_DOTS, most - 3))]
    if record.message == told and changed == record.changed:
        return record
    return record.replace(message=told, changed=changed)


def outputs_problem(outputs: Mapping[str, Any]) -> str | None:
    """Return what the API server would refuse in these outputs, or None."""
    if len(outputs) > MAX_KEYS:
        return f"the action gave {len(outputs)} outputs; at most {MAX_KEYS} are allowed"
    for key, value in outputs.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            return f"the action gave an output named {key!r}; names are like maxReplicas"
        try:
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            return f"the action gave an output {key!r} that is not JSON: {error}"
        if too_deep(value):
            return f"the action gave an output {key!r} with more than {DEEPEST} levels of lists and objects"
    return None


def too_deep(value: Any) -> bool:
    """Whether a JSON value has more levels of lists and objects within one another than a status holds."""
    level = [value]
    for _ in range(DEEPEST + 1):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, Mapping):
                inner.extend(one.values())
            elif isinstance(one, list | tuple):
                inner.extend(one)
        if not inner:
            return False
        level = inner
    return True


def as_stored(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return outputs that have no problem as they will be read back: a tuple as a list, keys as texts."""
    kept: dict[str, Any] = json.loads(json.dumps(dict(outputs), ensure_ascii=False))
    return kept


def message(text: str, steps: int = 1) -> str:
    """Cut a message so that all messages of a run with this many steps fit into 32 KiB."""
    return cut(text, max(64, min(1024, MESSAGES // max(1, steps) - 8)))


def sentence(what: object) -> str:
    """Return a message with one full stop at its end."""
    return f"{str(what).rstrip('. ')}."


def sentences(texts: Sequence[str], steps: int = 1) -> list[str]:
    """Cut a list of sentences to the bounds of ``changed``; those of a run with this many steps share 64 KiB."""
    room = max(256, SENTENCES // max(1, steps))
    kept: list[str] = []
    for at, text in enumerate(texts):
        left = len(texts) - at
        told = cut(text, min(512, room) if not kept else 512)
        if (len(kept) == MAX_SENTENCES - 1 and left > 1) or (kept and len(told.encode()) > room):
            return [*kept, f"and {left} more"]
        room -= len(told.encode())
        kept.append(told)
    return kept


def cut(text: str, room: int) -> str:
    """Cut a text to this many bytes of UTF-8."""
    # What no UTF-8 can carry would have the API server refuse the whole status.
    data = text.encode(errors="replace")
    if len(data) <= room:
        return data.decode()
    return data[: room - 3].decode(errors="ignore") + "…"
