"""What must not be kept of objects: values that are or may be secret. Pure; texts are ``core.redacting``'s."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kubernaut.actions.guards import secretive_path, secretive_text
from kubernaut.api.names import GROUP
from kubernaut.core.ports import Manifest
from kubernaut.core.redacting import HIDDEN, redacted

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
#: shorter ones would be found in too many innocent words
_SHORTEST: Final = 6
#: how fields end that say which Secret, and hold nothing of it
_NAMING: Final = ("Name", "Namespace")


def manifest(seen: Manifest) -> Manifest:
    """Return an object without secret values, without who wrote it (told apart), and without our own records."""
    meta = {key: value for key, value in seen["metadata"].items() if key != "managedFields"}
    annotations = {
        key: value
        for key, value in (meta.get("annotations") or {}).items()
        if key != _LAST_APPLIED and not key.partition("/")[0].endswith(GROUP)
    }
    if "annotations" in meta:
        meta["annotations"] = annotations
    found = {**{key: _field(key, value) for key, value in seen.items()}, "metadata": _value(meta)}
    hide = {"Secret": _all_hidden, "ConfigMap": _configuration}.get(str(seen.get("kind")))
    if hide is not None:
        found |= {key: hide(seen[key]) for key in ("data", "stringData", "binaryData") if key in seen}
    return found


def known_values(manifests: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the values of environment variables, written in objects, whose names say that they are secret."""
    return {
        value
        for one in manifests
        for name, value in _variables(one)
        if secretive_path((name,)) and len(value) >= _SHORTEST
    }


def _variables(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        name, value = node.get("name"), node.get("value")
        if isinstance(name, str) and isinstance(value, str):
            yield name, value
        for inner in node.values():
            yield from _variables(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _variables(inner)


def _value(node: Any) -> Any:
    """Return a part of an object without secret values: references to Secrets stay, for they are none."""
    if isinstance(node, str):
        return redacted(node)
    if isinstance(node, list):
        return list(_items(node))
    if not isinstance(node, Mapping):
        return node
    return {key: _field(key, value) for key, value in node.items()}


def _items(items: Iterable[Any]) -> Iterator[Any]:
    """Yield a list's items; of arguments, what stands after an option such as ``--token`` is its value."""
    asked = False
    for one in items:
        word = one if isinstance(one, str) else ""
        yield HIDDEN if asked and word else _value(one)
        asked = word.startswith("-") and "=" not in word and secretive_text(word)


def _field(key: str, value: Any) -> Any:
    if key == "env" and isinstance(value, list):
        return [_variable(one) for one in value]
    if isinstance(value, str) and secretive_path((key,)) and not key.endswith(_NAMING):
        return HIDDEN
    return _value(value)


def _variable(one: Any) -> Any:
    if isinstance(one, Mapping) and "value" in one:
        return {**one, "value": HIDDEN}
    return one


def _all_hidden(values: Any) -> Any:
    return dict.fromkeys(values, HIDDEN) if isinstance(values, Mapping) else HIDDEN


def _configuration(values: Any) -> Any:
    if not isinstance(values, Mapping):
        return HIDDEN
    return {
        key: HIDDEN if secretive_text(key) or secretive_text(str(value)) else value
        for key, value in values.items()
    }
