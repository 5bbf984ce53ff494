"""What is said of the rights that a Workflow's account has: PermissionsReady."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kubernaut.api.reasons import Reason
from kubernaut.core.ports import Right
from kubernaut.core.rights import PAUSING, Need, Needs, Weight, told
from kubernaut.core.rules import merged

_MOST_TOLD: Final = 8
_MOST_STEPS: Final = 3


@dataclass(frozen=True, slots=True)
class Permissions:
    """Whether an account may do what a Workflow needs; ``ready`` is None where that is not known."""

    ready: bool | None
    reason: Reason
    message: str


def permissions(
    workflow: str, namespace: str, account: str, needs: Needs, lacks: Iterable[Need]
) -> Permissions:
    """Say what an account lacks of what a Workflow needs; ``lacks`` are those that it does not have."""
    missing = tuple(lacks)
    who, fix = f"ServiceAccount {account}", _fix(workflow, namespace)
    unclear = f" {_unclear(needs)}" if needs.unclear else ""
    must = [need for need in missing if need.weight is Weight.MUST]
    if must:
        message = f"{who} lacks {_listed(must)}. {fix}{unclear}"
        return Permissions(False, Reason.MISSING_RIGHT, message)
    message = f"{who} may do what the steps need."
    eases = [need for need in missing if need.weight is Weight.EASES]
    if eases:
        message += f" It lacks {_listed(eases)}: what is waited for is read every 2 s instead of watched."
    perhaps = [need for need in missing if need.weight is Weight.PERHAPS]
    if perhaps:
        message += f" Where former values are large or may be secret, it lacks {_listed(perhaps)}."
    return Permissions(
        True, Reason.GRANTED, f"{message} {fix if eases or perhaps else ''}".rstrip() + unclear
    )


def no_account(namespace: str, account: str) -> Permissions:
    """Say that the account does not exist."""
    message = f"ServiceAccount {namespace}/{account} does not exist; create it, then give it its rights."
    return Permissions(False, Reason.SERVICE_ACCOUNT_NOT_FOUND, message)


def no_leave(error: Exception) -> Permissions:
    """Say that the operator may not act as the account."""
    return Permissions(False, Reason.MISSING_RIGHT, f"{error}.")


def not_known(account: str, error: Exception) -> Permissions:
    """Say that what the account may do could not be found out."""
    message = f"What ServiceAccount {account} may do could not be found out: {error}"
    return Permissions(None, Reason.REVIEW_FAILED, message)


def _fix(workflow: str, namespace: str) -> str:
    return f"Fix: kubernaut rbac {workflow} -n {namespace} | kubectl apply -f -"


def _listed(needs: Sequence[Need]) -> str:
    """Return what is lacking and which steps need it, no more than can be read."""
    # Who may not do it on any object is not told of each single one.
    found = [
        f"{told(Right(', '.join(rule.verbs), rule.group, resource, rule.names))}"
        f"{f' in namespace {namespace}' if namespace else ''} ({_steps(rule.by)})"
        for namespace in sorted({need.namespace for need in needs})
        for rule in merged(need for need in needs if need.namespace == namespace)
        for resource in rule.resources
    ]
    more = len(found) - _MOST_TOLD
    return "; ".join(found[:_MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")


def _steps(by: Sequence[str]) -> str:
    more = len(by) - _MOST_STEPS
    return ", ".join(by[:_MOST_STEPS]) + (f" and {more} more" if more > 0 else "")


def _unclear(needs: Needs) -> str:
    told_of = tuple(dict.fromkeys(step for step, _ in needs.unclear if step != PAUSING))
    steps = [f"what {_steps(told_of)} needs"] if told_of else []
    pauses = [f"what {step} needs ({why})" for step, why in needs.unclear if step == PAUSING]
    more = len(pauses) - _MOST_STEPS
    told_pauses = [*pauses[:_MOST_STEPS], *([f"{more} more"] if more > 0 else [])]
    return f"Not known before a run: {'; '.join([*steps, *told_pauses])}."
