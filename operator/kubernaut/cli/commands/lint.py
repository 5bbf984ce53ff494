"""`kubernaut lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.forms import Format

_SUFFIXES = (".yaml", ".yml", ".json")


def lint(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files or folders to read; - is stdin.")],
    output: Annotated[Format, typer.Option("-o", "--output", help="text, json or yaml.")] = Format.TEXT,
) -> int:
    """Check Workflows offline: fields, actions, parameters, expressions, order.

    Says what the operator would say of them, with file and line. Other kinds are skipped with a note. Exits 1 where
    something is wrong.
    """
    from kubernaut.cli.catalogue import actions
    from kubernaut.cli.lint.check import Report, check_text
    from kubernaut.cli.lint.files import text_of
    from kubernaut.cli.output import emit, note, show
    from kubernaut.cli.views import lint as views

    report = Report()
    for source in _sources(files):
        report = report.plus(check_text(text_of(source), source, actions()))
    if output.for_programs:
        emit(report.wire(), output)
    else:
        for skipped in report.skipped:
            note(f"Skipped {skipped}.")
        for told in report.notes:
            note(f"{told}.")
        show(views.report(report))
    return Exit.BAD_INPUT if report.findings or not report.checked else Exit.OK


def _sources(files: list[str]) -> list[str]:
    found: list[str] = []
    for name in files:
        if name != "-" and Path(name).is_dir():
            inside = sorted(str(p) for p in Path(name).rglob("*") if p.suffix in _SUFFIXES and p.is_file())
            if not inside:
                raise CliError(f"folder {name} holds no file that ends in {', '.join(_SUFFIXES)}")
            found.extend(inside)
        else:
            found.append(name)
    return found
