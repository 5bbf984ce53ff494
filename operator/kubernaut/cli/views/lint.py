"""What lint found."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from kubernaut.cli.lint.check import Finding, Report
from kubernaut.cli.text import line


def report(found: Report) -> RenderableType:
    """Return each finding as ``file:line: reason object: path``, what is wrong, the fix; then a summary."""
    return Group(*(finding(one) for one in found.findings), summary(found))


def finding(one: Finding) -> Text:
    """Return one finding on three lines."""
    where = ": ".join(line(part) for part in (one.object, one.path) if part)
    text = Text()
    text.append(f"{line(one.file)}:{one.line}: ", "bold")
    text.append(one.reason, "red")
    text.append(f" {where}" if where else "")
    text.append(f"\n  {line(one.message)}")
    if one.fix:
        text.append("\n  Fix: ", "green")
        text.append(line(one.fix))
    return text


def summary(found: Report) -> Text:
    """Return one line: how much was checked and how it went."""
    checked = _count(len(found.checked), "Workflow")
    if found.findings:
        return Text(f"{checked} checked, {_count(len(found.findings), 'problem')}.", "red")
    if not found.checked:
        return Text("No Workflow was found, so nothing was checked.", "red")
    return Text(f"{checked} checked, no problems.", "green")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
