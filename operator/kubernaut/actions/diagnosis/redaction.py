"""What must not be kept of objects and logs: values that are or may be secret. Pure.

A value that only its owner knows for a secret can't be told from any other text: what a log says in words of its own
stays in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kubernaut.actions.guards import secretive_path, secretive_text
from kubernaut.api.names import GROUP
from kubernaut.core.ports import Manifest

HIDDEN: Final = "(hidden)"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
#: shorter ones would be found in too many innocent words
_SHORTEST: Final = 6
_NAMES: Final = r"passw(?:or)?d|pwd|secret|token|credential|api[-_]?key|access[-_]?key|private[-_]?key|dsn"
# Every repetition is bounded or stands at a word's beginning: a log may be one word of many kilobytes.
_ASSIGNED: Final = re.compile(
    rf"""((?:{_NAMES})[\w.-]{{0,64}}["']?\s{{0,8}}[=:]\s{{0,8}})("[^"\n]*"|'[^'\n]*'|[^\s,;&"'}}\]]+)""",
    re.IGNORECASE,
)
_AUTHORIZATION: Final = re.compile(
    r"((?:authorization|cookie|set-cookie)[\"']?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE
)
_BEARER: Final = re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_USER_INFO: Final = re.compile(
    r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s:/@]{0,128}:)[^\s/@]{1,256}(@)", re.IGNORECASE
)
_JWT: Final = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_CLOUD_KEY: Final = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}\b")


_KEYS: Final = tuple(f"{what}{dash}key" for what in ("api", "access", "private") for dash in ("", "-", "_"))
# A pattern is looked for only where one of these is there: most lines of most logs have none of them.
_IN_A_LINE: Final = (
    (_AUTHORIZATION, rf"\1{HIDDEN}", ("authorization", "cookie")),
    (_BEARER, rf"\1\2{HIDDEN}", ("bearer", "basic")),
    (_USER_INFO, rf"\1{HIDDEN}\2", ("://",)),
    (_JWT, HIDDEN, ("eyj",)),
    (_CLOUD_KEY, HIDDEN, ("akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
    (
        _ASSIGNED,
        rf"\1{HIDDEN}",
        ("passw", "pwd", "secret", "token", "credential", "dsn", *_KEYS),
    ),
)


def text(told: str, known: Iterable[str] = ()) -> str:
    """Return a text, such as a log, without what looks like a secret, and without values that are known to be one."""
    for value in sorted(known, key=len, reverse=True):
        told = told.replace(value, HIDDEN)
    if "-----BEGIN" in told:
        told = _PEM.sub(HIDDEN, told)
    lower = told.lower()
    for pattern, instead, needles in _IN_A_LINE:
        there = [needle for needle in needles if needle in lower]
        if there:
            lines = told.split("\n")
            told = "\n".join(_line(one, pattern, instead, there) for one in lines)
    return told


def _line(told: str, pattern: re.Pattern[str], instead: str, needles: Iterable[str]) -> str:
    lower = told.lower()
    return pattern.sub(instead, told) if any(needle in lower for needle in needles) else told


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
        return text(node)
    if isinstance(node, list):
        return [_value(one) for one in node]
    if not isinstance(node, Mapping):
        return node
    return {key: _field(key, value) for key, value in node.items()}


def _field(key: str, value: Any) -> Any:
    if key == "env" and isinstance(value, list):
        return [_variable(one) for one in value]
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
