"""Between records and rows; whatever the API server holds can be stored.

Postgres' text and jsonb can't hold NUL, and UTF-8 can't hold lone surrogates: both become U+FFFD, since one odd
character in a log line must not keep a run out of the history.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from kubernaut.history.records import RunRecord, StepRecord

RUN_COLUMNS = (
    *("uid", "created_at", "revision", "namespace", "name", "workflow", "content_hash", "service_account"),
    *("trigger", "phase", "verdict", "target_kind", "target_name", "target_uid", "started_at", "finished_at"),
    *("duration_seconds", "reason", "message", "symptoms", "parameters", "trigger_by", "trigger_reason"),
    *("dry_run", "retry_from", "parent_uid", "outputs", "workflow_revision", "undone", "priority"),
    "facts",
)
STEP_COLUMNS = (
    *("run_uid", "created_at", "position", "name", "action", "phase", "attempts", "reason", "message"),
    *("started_at", "finished_at", "duration_seconds", "outputs", "changed"),
    *("branch", "items"),
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPED_NUL = b"\\u0000"
Row = tuple[Any, ...]


def run_row(run: RunRecord) -> Row:
    """Return the values of ``RUN_COLUMNS``."""
    return (
        run.uid,
        run.created_at,
        run.revision,
        run.namespace,
        run.name,
        run.workflow,
        run.content_hash,
        run.service_account,
        run.trigger,
        run.phase,
        run.verdict,
        run.target_kind,
        run.target_name,
        run.target_uid,
        run.started_at,
        run.finished_at,
        run.duration_seconds,
        run.reason,
        _text(run.message),
        [_clean(symptom) for symptom in run.symptoms],
        to_json(run.parameters),
        _clean(run.trigger_by),
        _clean(run.trigger_reason),
        run.dry_run,
        run.retry_from,
        run.parent_uid,
        to_json(run.outputs),
        run.workflow_revision,
        run.undone,
        run.priority,
        None if run.facts is None else to_json(run.facts),
    )


def step_rows(run: RunRecord) -> Iterable[Row]:
    """Yield the values of ``STEP_COLUMNS`` for each step."""
    for step in run.steps:
        yield (
            run.uid,
            run.created_at,
            step.position,
            step.name,
            step.action,
            step.phase,
            step.attempts,
            step.reason,
            _text(step.message),
            step.started_at,
            step.finished_at,
            step.duration_seconds,
            to_json(step.outputs),
            [_clean(line) for line in step.changed],
            step.branch,
            step.items,
        )


def run_of(row: Mapping[str, Any], steps: Iterable[StepRecord] = ()) -> RunRecord:
    """Return the record of a row; columns that were not asked for are left empty."""
    values = dict(row)
    values.pop("position", None)
    values["symptoms"] = tuple(values.get("symptoms") or ())
    values["undone"] = tuple(values.get("undone") or ())
    values["parameters"] = from_json(values.get("parameters"))
    values["outputs"] = from_json(values.get("outputs"))
    if values.get("facts") is not None:
        values["facts"] = from_json(values["facts"])
    return RunRecord(**values, steps=tuple(steps))


def step_of(row: Mapping[str, Any]) -> StepRecord:
    """Return the record of a step's row; columns that were not asked for are left empty."""
    values = dict(row)
    for key in ("run_uid", "created_at"):
        values.pop(key, None)
    values["changed"] = tuple(values.get("changed") or ())
    values["outputs"] = from_json(values.get("outputs"))
    return StepRecord(**values)


def to_json(value: Any) -> str:
    """Return JSON that jsonb accepts."""
    try:
        text = orjson.dumps(value)
    except TypeError:  # lone surrogates, and integers beyond 64 bits
        return json.dumps(_clean_all(value))
    if _ESCAPED_NUL in text:
        return json.dumps(_clean_all(value))
    return text.decode()


def from_json(text: str | None) -> dict[str, Any]:
    """Return the object that ``to_json`` wrote; empty where there is none."""
    if text is None:
        return {}
    value = orjson.loads(text)
    return value if isinstance(value, dict) else {}


def storable(run: RunRecord) -> RunRecord:
    """Return the record as Postgres would give it back: with the characters replaced that can't be stored."""
    steps = tuple(
        replace(
            step,
            message=_text(step.message),
            outputs=_clean_all(step.outputs),
            changed=tuple(map(_clean, step.changed)),
        )
        for step in run.steps
    )
    return replace(
        run,
        message=_text(run.message),
        symptoms=tuple(map(_clean, run.symptoms)),
        parameters=_clean_all(run.parameters),
        trigger_by=_clean(run.trigger_by),
        trigger_reason=_clean(run.trigger_reason),
        outputs=_clean_all(run.outputs),
        steps=steps,
        facts=None if run.facts is None else _clean_all(run.facts),
        content=None if run.content is None else _clean_all(run.content),
    )


def _clean(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _text(text: str | None) -> str | None:
    return None if text is None else _clean(text)


def _clean_all(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_all(item) for item in value]
    return value
