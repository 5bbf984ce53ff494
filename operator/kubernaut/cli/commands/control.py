"""The commands by which people steer a run that lives."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.completing import steps
from kubernaut.cli.errors import CliError
from kubernaut.cli.options import Context, Kubeconfig, Namespace, RunName, Why

StepName = Annotated[
    str, typer.Argument(metavar="STEP", help="The step that waits for a person.", autocompletion=steps)
]
StepOrNone = Annotated[
    str,
    typer.Argument(
        metavar="[STEP]",
        help="The step that waits; may be left out where only one does.",
        autocompletion=steps,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another value for a parameter; may be repeated."),
]


def cancel(
    name: RunName, namespace: Namespace = "", kubeconfig: Kubeconfig = "", context: Context = ""
) -> int:
    """Cancel a run: what was begun is finished, nothing more is begun. It can't be taken back."""
    return _ask(
        "cancel", name, "is asked to end: cancelled", "was cancelled already", namespace, kubeconfig, context
    )


def pause(
    name: RunName, namespace: Namespace = "", kubeconfig: Kubeconfig = "", context: Context = ""
) -> int:
    """Pause a run: no further step is begun until `resume`."""
    return _ask("pause", name, "is paused", "was paused already", namespace, kubeconfig, context)


def resume(
    name: RunName, namespace: Namespace = "", kubeconfig: Kubeconfig = "", context: Context = ""
) -> int:
    """Let a paused run go on."""
    return _ask("resume", name, "goes on", "was not paused", namespace, kubeconfig, context)


def approve(
    name: RunName,
    step: StepOrNone = "",
    values: Overrides = None,
    reason: Why = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
) -> int:
    """Approve a step that waits for a person, in your own name. Needs the verb `approve` on the run.

    STEP may be left out where only one waits. With --set the steps that follow get other values for those parameters
    that the step's mayOverride lists.
    """
    return _answer(True, name, step, reason, namespace, kubeconfig, context, values)


def deny(
    name: RunName,
    step: StepOrNone = "",
    reason: Why = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
) -> int:
    """Deny a step that waits for a person, in your own name. Needs the verb `approve` on the run.

    STEP may be left out where only one waits.
    """
    return _answer(False, name, step, reason, namespace, kubeconfig, context)


def remedy(
    name: RunName,
    step: StepName,
    what: Annotated[str, typer.Argument(metavar="REMEDY", help="What to do: retry, skip, fail or rollback.")],
    reason: Why = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
) -> int:
    """Say what becomes of a failed step of a suspended run, in your own name. Needs the verb `approve` on the run.

    retry tries the step again, skip goes on without it, fail ends the run, rollback puts back what it changed.
    """
    from kubernaut.api.execution import Remedy
    from kubernaut.cli import answering
    from kubernaut.cli.commands.runs import choice
    from kubernaut.cli.place import within

    known = [one.value for one in Remedy]
    said = choice("remedy", what, known)
    if not said:
        raise CliError("REMEDY is empty", f"Use one of {', '.join(known)}.")
    return within(
        kubeconfig,
        context,
        namespace,
        lambda place: answering.remedy(place, name, step, Remedy(said), reason),
    )


def _ask(what: str, name: str, done: str, already: str, namespace: str, kubeconfig: str, context: str) -> int:
    from kubernaut.cli import controlling, work
    from kubernaut.cli.place import within

    change = {"cancel": controlling.cancel, "pause": controlling.pause, "resume": controlling.resume}[what]
    return within(
        kubeconfig, context, namespace, lambda place: work.control(place, name, change, done, already)
    )


def _answer(
    yes: bool,
    name: str,
    step: str,
    reason: str,
    namespace: str,
    kubeconfig: str,
    context: str,
    values: list[str] | None = None,
) -> int:
    from kubernaut.api.execution import Decision
    from kubernaut.cli import answering
    from kubernaut.cli.place import within

    decision = Decision.APPROVE if yes else Decision.DENY
    given = tuple(values or ())
    return within(
        kubeconfig,
        context,
        namespace,
        lambda place: answering.answer(place, name, step, decision, reason, given),
    )
