"""Where output goes: people get rich text, programs get JSON or YAML, pipes get whole lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console, RenderableType

from kubernaut.cli.forms import Format
from kubernaut.cli.text import clean

_PIPE_WIDTH: Final = 4000


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave to ``entry`` what a reader that went away means; the library would end the process with 1."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Return a console that reads no markup; into a pipe it never wraps or cuts a line."""
    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    width = None if terminal else _PIPE_WIDTH
    # Whatever FORCE_COLOR says, as it does for many a CI: what redraws a terminal is no use in a log.
    return _Console(
        file=stream, markup=False, highlight=False, emoji=False, width=width, force_terminal=terminal
    )


def show(*renderables: RenderableType, flush: bool = False, stderr: bool = False) -> None:
    """Print renderables, one below the other; into a pipe without trailing blanks."""
    out, stream = console(stderr=stderr), sys.stderr if stderr else sys.stdout
    for renderable in renderables:
        if out.is_terminal:
            out.print(renderable, crop=False)
            continue
        with out.capture() as captured:
            out.print(renderable)
        stream.write("".join(f"{text.rstrip()}\n" for text in captured.get().splitlines()))
    if flush:
        stream.flush()


def emit(data: Any, form: Format) -> None:
    """Print data for programs; what stdout can't encode is written as the format's own escapes."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    if form is Format.YAML:
        import yaml

        sys.stdout.write(yaml.safe_dump(data, sort_keys=False, allow_unicode=unicode))
    else:
        ascii_only = sys.stdout.isatty() or not unicode
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=ascii_only) + "\n")


def bare(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without ``managedFields``, as kubectl shows it."""
    meta = {key: value for key, value in manifest.get("metadata", {}).items() if key != "managedFields"}
    return {**manifest, "metadata": meta}


def complain(message: str, fix: str = "") -> None:
    """Tell on stderr what went wrong and what to do about it."""
    out = console(stderr=True)
    out.print(f"Error: {clean(message)}", style="red" if out.is_terminal else "", soft_wrap=True)
    if fix:
        out.print(f"Fix:   {clean(fix)}", soft_wrap=True)


def note(message: str) -> None:
    """Tell something on stderr that is no result."""
    console(stderr=True).print(clean(message), style="dim", soft_wrap=True)
