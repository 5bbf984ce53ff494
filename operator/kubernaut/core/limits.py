"""The bounds that keep a run's object small (DESIGN section 4)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kubernaut.api.execution import StepStatus

OUTPUTS: Final = 96 * 1024
MESSAGES: Final = 32 * 1024
MAX_KEYS: Final = 64
MAX_SENTENCES: Final = 16
_KEY: Final = re.compile(r"[a-z][a-zA-Z0-9_]{0,62}")


def size(outputs: Mapping[str, Any] | None) -> int:
    """Return how many bytes outputs take as JSON."""
    return len(json.dumps(dict(outputs)).encode()) if outputs else 0


def outputs_left(records: Iterable[StepStatus]) -> int:
    """Return how many bytes of outputs the run may still add."""
    return OUTPUTS - sum(size(record.outputs) for record in records)


def outputs_problem(outputs: Mapping[str, Any]) -> str | None:
    """Return what the API server would refuse in these outputs, or None."""
    if len(outputs) > MAX_KEYS:
        return f"the action gave {len(outputs)} outputs; at most {MAX_KEYS} are allowed"
    for key, value in outputs.items():
        if not _KEY.fullmatch(key):
            return f"the action gave an output named {key!r}; names are like maxReplicas"
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            return f"the action gave an output {key!r} that is not JSON: {error}"
    return None


def message(text: str, steps: int = 1) -> str:
    """Cut a message so that all messages of a run with this many steps fit into 32 KiB."""
    room = max(64, min(1024, MESSAGES // max(1, steps) - 8))
    data = text.encode()
    if len(data) <= room:
        return text
    return data[: room - 3].decode(errors="ignore") + "…"


def sentence(what: object) -> str:
    """Return a message with one full stop at its end."""
    return f"{str(what).rstrip('. ')}."


def sentences(texts: Sequence[str]) -> list[str]:
    """Cut a list of sentences to the bounds of ``changed``."""
    cut = [message(text)[:512] for text in texts[:MAX_SENTENCES]]
    if len(texts) > MAX_SENTENCES:
        cut[-1] = f"and {len(texts) - MAX_SENTENCES + 1} more"
    return cut
