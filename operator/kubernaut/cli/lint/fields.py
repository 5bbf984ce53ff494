"""Pydantic's errors in the words of the API: field paths as kubectl writes them, near names suggested."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

Location = Sequence[int | str]


def path_of(location: Location) -> str:
    """Return ``spec.steps[1].with`` for ``("spec", "steps", 1, "with")``."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def describe(root: type[BaseModel], detail: Mapping[str, Any]) -> str:
    """Return one sentence for one of pydantic's error details."""
    location = detail["loc"]
    match detail["type"]:
        case "missing":
            return "is required."
        case "extra_forbidden":
            known = sorted(_names(_model_at(root, location[:-1])))
            near = get_close_matches(str(location[-1]), known, 1)
            hint = (
                f" Did you mean {near[0]!r}?"
                if near
                else f" Known here: {', '.join(known)}."
                if known
                else ""
            )
            return f"there is no field {str(location[-1])!r}.{hint}"
        case "value_error":
            return f"{str(detail['msg']).removeprefix('Value error, ')}."
        case _:
            given = detail.get("input")
            shown = f" (given: {_short(given)})" if not isinstance(given, dict | list) else ""
            return f"{str(detail['msg']).rstrip('.')}{shown}."


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _names(model: type[BaseModel] | None) -> Iterator[str]:
    for name, field in model.model_fields.items() if model else ():
        yield field.alias or name


def _model_at(root: type[BaseModel], location: Location) -> type[BaseModel] | None:
    at: type[BaseModel] | None = root
    for part in location:
        if isinstance(part, int):
            continue
        if at is None:
            return None
        field = next((f for n, f in at.model_fields.items() if part in (f.alias, n)), None)
        at = _model_in(field.annotation) if field else None
    return at


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the one model within an annotation such as ``Annotated[list[Step], ...] | None``."""
    if isinstance(annotation, type) and not get_origin(annotation) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, Annotated, list, tuple):
        return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
    return None
