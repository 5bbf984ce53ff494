"""What a simulation came to, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from kubernaut.api.duration import format_duration
from kubernaut.cli.expecting import Expected
from kubernaut.cli.text import line
from kubernaut.simulation import serverside
from kubernaut.simulation.diffs import ObjectDiff
from kubernaut.simulation.report import Result

_LONG: Final = 120
#: parts of an object that follow from the rest, and are not told one by one to people
_FOLLOWS: Final = ("status",)
_SIGNS: Final = {"created": "+", "deleted": "-", "changed": "~"}


@dataclass(frozen=True, slots=True)
class Told:
    """A simulation and all that is told beside it.

    Attributes:
        reads_as: by whose account objects were read; empty where none was asked.
        needs: rights, in words.
        lacks: those that the Workflow's account lacks; None where that could not be found out, with ``why``.
        refused: changes that the API server would refuse; None where it was not asked.
        without: what of the simulation its accounts may not do.
    """

    result: Result
    account: str
    reads_as: str
    needs: tuple[str, ...]
    lacks: tuple[str, ...] | None = None
    why: str = ""
    refused: tuple[serverside.Answer, ...] | None = None
    expected: Expected = field(default_factory=Expected)
    without: tuple[str, ...] = ()

    @property
    def through(self) -> bool:
        """Whether the run would succeed, with the rights that its accounts have."""
        return self.result.through and not self.without

    def wire(self) -> dict[str, Any]:
        """Return it for programs."""
        answers = None if self.refused is None else [one.wire() for one in self.refused]
        return {
            **self.result.wire(),
            "goesThrough": self.through,
            "readsAs": self.reads_as or None,
            "rights": {
                "account": self.account,
                "needed": list(self.needs),
                "lacking": None if self.lacks is None else list(self.lacks),
                "refused": list(self.without),
                "unknownBecause": self.why or None,
            },
            "serverSide": answers,
            "history": self.expected.wire(),
        }


def report(told: Told) -> RenderableType:
    """Return verdict, steps, changes, reach, rights, what the API server said, the history and the assumptions."""
    result = told.result
    parts: list[RenderableType] = [_verdict(told), Text(_read(told), "dim")]
    parts += _section("Steps", _steps(result))
    parts += _section("Changes", _changes(result.diffs))
    parts += _section("Reach", _reach(result))
    parts += _section(f"Rights of ServiceAccount {told.account}", _rights(told))
    if told.refused is not None:
        parts += _section("The API server's own check (dry run)", _answers(told))
    parts += _section("Earlier runs", _earlier(told))
    parts += _section("Assumed", (Text(f"  {line(one)}") for one in result.assumptions))
    return Group(*parts)


def _verdict(told: Told) -> Text:
    result, status = told.result, told.result.status
    if result.waits:
        return Text(f"The run would wait for {line(result.waits)}", "yellow")
    verdict = f", {status.verdict.value}" if status.verdict else ""
    how = f"{status.phase.value}{verdict}: {line(status.message or '')}"
    if told.without:
        more = f" (and {len(told.without) - 1} more)" if len(told.without) > 1 else ""
        return Text(
            f"The run would fail for want of rights: {line(told.without[0])}{more}. With them it would end {how}",
            "red",
        )
    return Text(f"The run would end {how}", "green" if result.through else "red")


def _read(told: Told) -> str:
    source = f"Read as {told.reads_as}" if told.reads_as else "No cluster was asked"
    return f"{line(source)}; nothing was changed. Simulated time: {format_duration(told.result.took)}."


def _section(title: str, lines: Iterator[Text]) -> list[RenderableType]:
    found = list(lines)
    return [Text(f"\n{title}", "bold"), *found] if found else []


def _steps(result: Result) -> Iterator[Text]:
    for one in result.steps:
        text = Text(f"  {one.name}: {one.phase}")
        text.append(f" (case {one.branch})" if one.branch else "")
        text.append(f" after {one.attempts} attempts" if one.attempts > 1 else "")
        why = one.message or one.reason
        text.append(f": {line(why)}" if why else "")
        yield text
    for name in result.skipped:
        yield Text(f"  {name}: not reached", "dim")


def _changes(diffs: tuple[ObjectDiff, ...]) -> Iterator[Text]:
    for one in diffs:
        text = Text(f"  {_SIGNS[one.what]} {line(one.object)}", "bold" if one.by_steps else "")
        text.append(f"  ({', '.join(one.by)})", "dim")
        yield text
        if one.what != "changed":
            continue
        for part in one.fields:
            if not part.path.startswith(_FOLLOWS):
                yield Text(f"      {line(part.path)}: {_value(part.before)} -> {_value(part.after)}")


def _value(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    told = line(text)
    return told if len(told) <= _LONG else f"{told[:_LONG]}..."


def _reach(result: Result) -> Iterator[Text]:
    radius = result.radius
    yield Text(f"  {radius.objects} objects changed by steps, {radius.reacting} more by controllers in turn")
    if radius.gone:
        names = ", ".join(one.removeprefix("Pod ") for one in radius.gone[:8])
        more = len(radius.gone) - 8
        yield Text(f"  {len(radius.gone)} pods go: {names}{f' and {more} more' if more > 0 else ''}")
    if radius.made:
        yield Text(f"  {radius.made} pods are made")
    yield Text(f"  namespaces: {', '.join(radius.namespaces) or 'none'}")
    if radius.cluster_scoped:
        yield Text(f"  in no namespace: {', '.join(radius.cluster_scoped)}", "yellow")


def _rights(told: Told) -> Iterator[Text]:
    lacks = told.lacks
    if lacks is None:
        yield Text(f"  Whether it has them is not known: {line(told.why)}", "yellow")
    elif lacks:
        for one in lacks:
            yield Text(f"  lacks {line(one)}", "red")
        yield Text(
            f"  Fix: kubernaut rbac {told.result.workflow} -n {told.result.namespace} | kubectl apply -f -"
        )
    else:
        yield Text("  It has all that the steps need.", "green")
    for need in told.needs:
        yield Text(f"  needs {line(need)}", "dim")


def _answers(told: Told) -> Iterator[Text]:
    for one in told.refused or ():
        if one.refusal:
            yield Text(f"  {one.step}: {line(one.request)} would be refused: {line(one.refusal)}", "red")
        elif one.unchecked:
            yield Text(f"  {one.step}: {line(one.request)} was not checked: {one.unchecked}", "yellow")
        else:
            yield Text(f"  {one.step}: {line(one.request)} would be taken", "green")


def _earlier(told: Told) -> Iterator[Text]:
    known = told.expected
    if known.why:
        yield Text(f"  No expectation: {known.why}.")
    if known.took is not None:
        took = known.took
        between = f"{took.lower_seconds:.1f}-{took.upper_seconds:.1f} s"
        yield Text(
            f"  took {took.median_seconds:.1f} s (median of {took.runs} runs, 95 % interval {between})"
        )
    if known.success is not None:
        rate = known.success
        between = f"{rate.interval.lower:.0%}-{rate.interval.upper:.0%}"
        of = f"{rate.remediated} of {rate.concluded} concluded runs"
        yield Text(f"  helped in {rate.rate:.0%} ({of}, 95 % interval {between})")
