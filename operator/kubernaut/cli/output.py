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


def console(*, stderr: bool = False) -> Console:
    """Return a console that reads no markup; into a pipe it never wraps or cuts a line."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width)


def show(*renderables: RenderableType, flush: bool = False) -> None:
    """Print renderables, one below the other; into a pipe without trailing blanks."""
    out = console()
    for renderable in renderables:
        if out.is_terminal:
            out.print(renderable)
            continue
        with out.capture() as captured:
            out.print(renderable)
        sys.stdout.write("".join(f"{text.rstrip()}\n" for text in captured.get().splitlines()))
    if flush:
        sys.stdout.flush()


def emit(data: Any, form: Format) -> None:
    """Print data for programs."""
    if form is Format.YAML:
        import yaml

        sys.stdout.write(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    else:
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=sys.stdout.isatty()) + "\n")


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
