"""Field paths of Kubernetes objects: read, write, compare, and the smallest merge patch between two objects.

A path is written as people write it: ``spec.template.spec.containers[name=app].resources.limits.memory``.
Keys with other characters than letters, digits, ``_`` and ``-`` stand in brackets as JSON strings:
``metadata.annotations["example.com/owner"]``. ``[name=app]`` selects the list element with that value.
``None`` stands for an absent field throughout, as ``null`` does in a merge patch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTED: Final = re.compile(r"[A-Za-z0-9_./:-]+")
# Maps that other writers share: they are compared key by key even where one side lacks the map.
_SHARED_MAPS: Final = frozenset({("metadata", "labels"), ("metadata", "annotations")})


class FieldError(ValueError):
    """A path that can't be read, or that does not fit the object."""


@dataclass(frozen=True, slots=True)
class Select:
    """The element of a list whose field ``key`` is ``value``."""

    key: str
    value: str


Path = tuple[str | Select, ...]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field before and after; ``None`` means absent."""

    path: Path
    before: Any
    after: Any


def parse(text: str) -> Path:
    """Read a path.

    Raises:
        FieldError: the text is not a path; says where.
    """
    segments: list[str | Select] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            segment, at = _bracket(text, at)
        else:
            if segments:
                if text[at] != ".":
                    raise FieldError(f"{text!r}: a dot or a bracket is needed at column {at + 1}")
                at += 1
            match = _PLAIN.match(text, at)
            if match is None:
                raise FieldError(f"{text!r}: a field name is needed at column {at + 1}")
            segment, at = match.group(), match.end()
        segments.append(segment)
    if not segments:
        raise FieldError("an empty field path; write one such as spec.replicas")
    return tuple(segments)


def _bracket(text: str, at: int) -> tuple[str | Select, int]:
    quoted = _STRING.match(text, at + 1)
    if quoted is not None:
        segment: str | Select = _unquote(quoted.group(), text)
        end = quoted.end()
    else:
        key = _PLAIN.match(text, at + 1)
        if key is None or text[key.end() : key.end() + 1] != "=":
            raise FieldError(f'{text!r}: write [name=value] or ["key"] at column {at + 1}')
        value = _STRING.match(text, key.end() + 1) or _SELECTED.match(text, key.end() + 1)
        if value is None:
            raise FieldError(f"{text!r}: a value is needed at column {key.end() + 2}")
        found = value.group()
        segment = Select(key.group(), _unquote(found, text) if found.startswith('"') else found)
        end = value.end()
    if text[end : end + 1] != "]":
        raise FieldError(f"{text!r}: a closing bracket is needed at column {end + 1}")
    return segment, end + 1


def _unquote(quoted: str, text: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        raise FieldError(f"{text!r}: {quoted} is not a JSON string") from None


def render(path: Path) -> str:
    """Write a path; ``parse`` reads it back."""
    parts: list[str] = []
    for segment in path:
        if isinstance(segment, Select):
            plain = _SELECTED.fullmatch(segment.value)
            parts.append(f"[{segment.key}={segment.value if plain else json.dumps(segment.value)}]")
        elif _PLAIN.fullmatch(segment):
            parts.append(f".{segment}" if parts else segment)
        else:
            parts.append(f"[{json.dumps(segment)}]")
    return "".join(parts)


def get(document: Any, path: Path) -> Any:
    """Return the value at a path, or None where it is absent."""
    for segment in path:
        if isinstance(segment, Select):
            document = _selected(document, segment)
        else:
            document = document.get(segment) if isinstance(document, Mapping) else None
        if document is None:
            return None
    return document


def _selected(document: Any, select: Select) -> Any:
    items = document if isinstance(document, list) else ()
    return next((i for i in items if isinstance(i, Mapping) and _is(i, select)), None)


def _is(item: Mapping[str, Any], select: Select) -> bool:
    """Whether an element is meant; what is no text, as a port, is told by its JSON."""
    value = item.get(select.key)
    return bool(value == select.value or (isinstance(value, int) and json.dumps(value) == select.value))


def put(document: Any, path: Path, value: Any) -> Any:
    """Return a copy with the value at the path; None removes it. Missing parents are made.

    Raises:
        FieldError: the path goes through something that is neither a map nor a list of maps.
    """
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(head, Select):
        return _put_element(document, head, rest, value)
    if document is not None and not isinstance(document, Mapping):
        raise FieldError(f"{head!r} can't be set in what is no map ({type(document).__name__})")
    copy = dict(document or {})
    inner = put(copy.get(head), rest, value) if rest and not _absent(copy, head, value) else value
    if inner is None:
        copy.pop(head, None)
    else:
        copy[head] = inner
    return copy


def _absent(document: Mapping[str, Any], head: str, value: Any) -> bool:
    """Whether a removal ends here, because the parent of what is to be removed does not exist."""
    return value is None and document.get(head) is None


def _put_element(document: Any, select: Select, rest: Path, value: Any) -> Any:
    if document is not None and not isinstance(document, list):
        raise FieldError(
            f"[{select.key}={select.value}] can't be found in what is no list ({type(document).__name__})"
        )
    copy = list(document or [])
    for at, item in enumerate(copy):
        if isinstance(item, Mapping) and _is(item, select):
            changed = put(item, rest, value)
            return [*copy[:at], *([] if changed is None else [changed]), *copy[at + 1 :]]
    if value is None:
        return copy
    return [*copy, put({select.key: select.value}, rest, value) if rest else value]


def same(one: Any, other: Any) -> bool:
    """Compare JSON values; unlike Python's ``==``, ``true`` is not ``1``."""
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def diff(before: Any, after: Any, path: Path = ()) -> Iterator[FieldChange]:
    """Yield the smallest set of changed fields, sorted by name within each map.

    Lists of named maps are compared element by element where both hold the same names in the same order; any
    other list is one field. ``put`` of every ``before`` into ``after`` gives ``before`` again.
    """
    if before is after:
        # ``put`` shares what it does not change, so most of an object need not be looked at.
        return
    if path in _SHARED_MAPS and all(one is None or isinstance(one, Mapping) for one in (before, after)):
        before, after = before or {}, after or {}
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            yield from diff(before.get(key), after.get(key), (*path, key))
    elif names := _same_names(before, after):
        for name, old, new in zip(names, before, after, strict=True):
            yield from diff(old, new, (*path, Select("name", name)))
    elif not same(before, after):
        yield FieldChange(path, before, after)


def _same_names(before: Any, after: Any) -> Sequence[str]:
    names = _names(before)
    return names if names and names == _names(after) else ()


def _names(items: Any) -> list[str]:
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        return []
    names = [item.get("name") for item in items]
    fit = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    return [str(name) for name in names] if fit else []


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the smallest JSON merge patch (RFC 7386) from one object to another; lists are replaced as a whole."""
    patch: dict[str, Any] = {key: None for key in before if after.get(key) is None}
    for key, new in after.items():
        old = before.get(key)
        if new is None or old is new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if inner := merge_patch(old, new):
                patch[key] = inner
        elif not same(old, new):
            patch[key] = without_nulls(new)
    return patch


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """Return the document with a JSON merge patch applied (RFC 7386)."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return result


def without_nulls(value: Any) -> Any:
    """Return a value without the fields of maps that are null, as the API server stores it."""
    if isinstance(value, Mapping):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value
