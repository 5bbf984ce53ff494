"""Texts that others wrote (logs, events, arguments), without what they call a secret.

Only what is said to be a secret, or is of a known form, can be seen to be one; a bare word in a log can not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

HIDDEN: Final = "***"
_WORDS: Final = (
    r"passw|pwd|secret|token|credential|private|api[-_]?key|access[-_]?key|dsn|authorization|cookie"
)
# Bounded, for a log may be one word of many kilobytes.
_NAME: Final = rf"(?:{_WORDS})[\w.-]{{0,64}}"
#: what is kept stands in groups 1 and 2
_PATTERNS: Final = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # a private key, to its end or to that of the text
        r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)().+?(?=-----END|\Z)",
        # user and password of a URL
        r"(\w://)()[^/\s@\"']+(?=@)",
        # cookies, of which a header may hold many
        r"((?:set-)?cookie[\"']?\s{0,8}[:=]\s{0,8})()[^\r\n]+",
        # what an Authorization header says after the scheme
        r"(\b(?:bearer|basic|digest)\s+)()[\w+/=.~-]{8,}",
        # "password": "..." with its quotes escaped or not, and password='...'
        rf"({_NAME}\\?[\"']?\s*[:=]\s*\\?)([\"'])(?:(?!\\?\2).)+",
        # password=..., token: ..., ?access_token=...
        rf"({_NAME}\\?[\"']?\s*=\s*)()(?!(?:bearer|basic|digest)\b)[^\s\"'\\&,;}}\]]+",
        # but not "/run/secrets: No such file"
        rf"((?<!/){_NAME}\\?[\"']?\s*:\s*)()(?!(?:bearer|basic|digest)\b)[^\s\"'\\&,;}}\]]+",
        # --api-key ...
        rf"(--[\w.-]{{0,64}}?{_NAME}\s+)()[^\s\"'&,;-][^\s\"'&,;]*",
        # tokens of known forms: JSON Web Tokens, and those of AWS, GitHub, GitLab and Slack
        r"(\b)()eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?",
        r"(\b)()(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,})",
    )
)
# In a long text patterns are looked for only in lines with one of these: most lines of most logs have none.
_SIGNS: Final = re.compile(
    rf"{_WORDS}|://|bearer|basic|digest|eyJ|AKIA|ASIA|gh[pousr]_|glpat-|xox[abprs]-", re.IGNORECASE
)
_LONG: Final = 8192
_CONTEXT: Final = re.compile(r",? ?error found in #\d+ byte of \.\.\.\|.*", re.DOTALL)
_INVALID: Final = "Invalid value: "
_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PLAIN: Final = 80
_KEY_END: Final = re.compile(r"-----END [A-Z ]*PRIVATE KEY")
_SHORTEST_KEY: Final = 20


def named_secret(name: str) -> bool:
    """Whether a name, such as that of a parameter, says that its value is a secret."""
    return re.search(_WORDS, name, re.IGNORECASE) is not None


def redacted(text: str, known: Iterable[str] = ()) -> str:
    """Return a text with ``***`` in the place of each value that it calls a secret, or that looks like one.

    Args:
        known: values that are known to be secret.
    """
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    text = _without_end_of_key(text)
    if len(text) <= _LONG:
        return _hidden(text, _PATTERNS)
    # A key spans lines, all others stand in one.
    text = _hidden(text, _PATTERNS[:1]) if "-----BEGIN" in text else text
    return "\n".join(_hidden(one, _PATTERNS) if _SIGNS.search(one) else one for one in text.split("\n"))


def _hidden(text: str, patterns: Iterable[re.Pattern[str]]) -> str:
    for pattern in patterns:
        text = pattern.sub(lambda match: f"{match[1]}{match[2]}{HIDDEN}", text)
    return text


def tells_secret(text: str) -> bool:
    """Whether a text holds what ``redacted`` would hide."""
    return redacted(text) != text


def refusal(told: str) -> str:
    """Return why an API server refuses an object, without the parts of the object that it quotes.

    It quotes what it can't decode with all that stands around it, and an immutable field as a whole: a template of
    pods with their environment, say. A short and plain value stays, for it is what has to be mended.
    """
    told = _CONTEXT.sub("", told)
    found, at = [], 0
    while (mark := told.find(_INVALID, at)) >= 0:
        begin = mark + len(_INVALID)
        end = _end_of_value(told, begin)
        value = told[begin:end]
        plain = end < len(told) and len(value) <= _PLAIN and not any(sign in value for sign in "{}[]\\")
        found += [told[at:begin], value if plain else "(not told)"]
        at = end
    return redacted("".join([*found, told[at:]]))


def _end_of_value(told: str, begin: int) -> int:
    """Return where a quoted value ends: a text, JSON, or what Go prints of a struct, whose end is the last brace."""
    if match := _TEXT.match(told, begin):
        return match.end()
    try:
        return json.JSONDecoder().raw_decode(told, begin)[1]
    except ValueError:
        close = told.rfind("}: ", begin)
    if close >= 0:
        return close + 1
    colon = told.find(": ", begin)
    return colon if colon >= 0 and told[begin] != '"' else len(told)


def each_text(value: Any, change: Callable[[str], str] = redacted) -> Any:
    """Return a JSON value with every text in it changed; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: each_text(one, change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [each_text(one, change) for one in value]
    return value


def _without_end_of_key(text: str) -> str:
    """Hide the end of a private key whose beginning was cut off, as the last lines of a log may have it."""
    end = _KEY_END.search(text)
    if end is None or "-----BEGIN" in text[: end.start()]:
        return text
    start = end.start()
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] in "+/=\r\n"):
        start -= 1
    if end.start() - start < _SHORTEST_KEY:
        return text
    return f"{text[:start]}{HIDDEN}\n{text[end.start() :]}"
