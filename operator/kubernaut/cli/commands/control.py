"""The commands by which people steer a run that lives."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.options import Context, Kubeconfig, Namespace, RunName, Why

StepName = Annotated[str, typer.Argument(metavar="STEP", help="The step that waits for a person.")]


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
    step: StepName,
    reason: Why = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
) -> int:
    """Approve a step that waits for a person, in your own name. Needs the verb `approve` on the run."""
    return _answer(True, name, step, reason, namespace, kubeconfig, context)


def deny(
    name: RunName,
    step: StepName,
    reason: Why = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
) -> int:
    """Deny a step that waits for a person, in your own name. Needs the verb `approve` on the run."""
    return _answer(False, name, step, reason, namespace, kubeconfig, context)


def _ask(what: str, name: str, done: str, already: str, namespace: str, kubeconfig: str, context: str) -> int:
    from kubernaut.cli import controlling, work
    from kubernaut.cli.place import within

    change = {"cancel": controlling.cancel, "pause": controlling.pause, "resume": controlling.resume}[what]
    return within(
        kubeconfig, context, namespace, lambda place: work.control(place, name, change, done, already)
    )


def _answer(
    yes: bool, name: str, step: str, reason: str, namespace: str, kubeconfig: str, context: str
) -> int:
    from kubernaut.api.execution import Decision
    from kubernaut.cli import work
    from kubernaut.cli.place import within

    decision = Decision.APPROVE if yes else Decision.DENY
    return within(
        kubeconfig, context, namespace, lambda place: work.answer(place, name, step, decision, reason)
    )
