"""A walk as a page shows it: commands and what they printed, to be typed again."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: what no two walks have in common: times, ages and counts; hashes of digests and names; how far a crash loop is
_VOLATILE = (
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d+"), "<time>"),
    (re.compile(r"\b(?:\d+(?:\.\d+)?(?:ms|[dhms]))+\b|\b\d+(?:\.\d+)? s\b"), "<time>"),
    (re.compile(r"(?:\b(?:once|twice|\d+ times)\b|\b\d+ \(<time> ago\))"), "<often>"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "<digest>"),
    (re.compile(r"\b(?:Error|CrashLoopBackOff)(?= +(?:<often>|\d))"), "<crashing>"),
    (re.compile(r"(?<=-)[0-9a-z]{8,10}-[0-9a-z]{5}\b"), "<pod>"),
    (re.compile(r"(?<=<crashing>) +\d+"), " <often>"),
)


@dataclass(frozen=True, slots=True)
class Typed:
    """A command and what the page says it printed."""

    command: str
    printed: list[str] = field(default_factory=list)


def walk(page: str, heading: str) -> list[list[Typed]]:
    """Return what is typed in each console under a heading of a page.

    Raises:
        ValueError: there is no such heading, or nothing is typed under it.
    """
    _, found, rest = page.partition(f"\n## {heading}\n")
    consoles = [_typed(text) for text in _CONSOLE.findall(rest.partition("\n## ")[0])]
    if not found or not consoles:
        raise ValueError(f"nothing is typed under a heading {heading!r}")
    return consoles


def _typed(console: str) -> list[Typed]:
    found: list[Typed] = []
    open_: str | None = None
    for line in console.splitlines():
        if open_ is not None:
            open_ = f"{open_}\n{line}"
        elif line.startswith("$ "):
            open_ = line.removeprefix("$ ")
        else:
            found[-1].printed.append(line)
            continue
        if _whole(open_):
            found.append(Typed(open_))
            open_ = None
    return found


def _whole(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:  # a quotation, or what a backslash continues, is still open
        return False
    return not command.endswith("\\")


def type_again(typed: Typed, folder: Path, environment: Mapping[str, str], seconds: float = 180.0) -> None:
    """Run a command in a shell; it has to end well, and to print what the page shows, in its order.

    ``…`` on the page stands for anything; lines that the page leaves out may be printed too.

    Raises:
        AssertionError: it ends otherwise, or a line that is shown was not printed.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", typed.command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    said = f"$ {typed.command}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, f"exit {done.returncode}: {said}"
    unseen = not_printed(typed.printed, (done.stdout + done.stderr).splitlines())
    assert not unseen, f"not printed: {unseen}\n{said}"


def not_printed(shown: list[str], printed: list[str]) -> str:
    """Return the first line of a page that was not printed after those before it; empty where all were."""
    rest = iter([_same(line) for line in printed])
    for line in shown:
        pattern = ".*".join(re.escape(part) for part in _same(line).split("…"))
        if pattern != ".*" and not any(re.fullmatch(pattern, one) for one in rest):
            return line
    return ""


def _same(line: str) -> str:
    for volatile, name in _VOLATILE:
        line = volatile.sub(name, line)
    return " ".join(line.split())
