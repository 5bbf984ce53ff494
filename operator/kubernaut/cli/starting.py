"""From a Workflow and values to a run that can be created."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from kubernaut.api.base import ConditionStatus
from kubernaut.api.execution import (
    ParameterValue,
    RetryFrom,
    Trigger,
    TriggerType,
    WorkflowExecution,
    WorkflowExecutionSpec,
    WorkflowRef,
)
from kubernaut.api.names import FINALIZER, LABEL_WORKFLOW
from kubernaut.api.workflow import Lifecycle, Parameter, Workflow, WorkflowSpec
from kubernaut.cli.errors import CliError
from kubernaut.core.errors import StepError
from kubernaut.core.parameters import parse_parameters

# RFC 4648's alphabet without what is easily misread.
_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_MAX_VALUE: Final = 4096


def assignments(given: Sequence[str], flag: str = "-p") -> dict[str, str]:
    """Read ``name=value`` pairs.

    Raises:
        CliError: one is not such a pair, a name is given twice, or a value is too long.
    """
    values: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise CliError(
                f"{flag} {pair!r} is not name=value", f"Write it as in {flag} deployment=checkout."
            )
        if name in values:
            raise CliError(f"parameter {name!r} is given twice", "Give each parameter once.")
        if len(value) > _MAX_VALUE:
            size = f"{len(value)} characters long; at most {_MAX_VALUE} are allowed"
            raise CliError(
                f"the value of parameter {name!r} is {size}", "Give less, or a name to look it up by."
            )
        values[name] = value
    return values


def check(workflow: Workflow, values: Mapping[str, str], *, dry_run: bool = False) -> None:
    """Check what the operator would refuse.

    Raises:
        CliError: the Workflow is a draft or not ready, or a parameter is unknown, missing or of the wrong type.
    """
    name = workflow.metadata.name
    if workflow.spec.lifecycle is Lifecycle.DRAFT and not dry_run:
        raise CliError(
            f"Workflow {name} is a draft (spec.lifecycle: Draft): only dry runs of it start",
            f"Add --dry-run, or make it active: kubectl patch kwf {name} -n {workflow.metadata.namespace} "
            '--type=merge -p \'{"spec":{"lifecycle":"Active"}}\'',
        )
    try:
        parse_parameters(workflow.spec, values)
    except StepError as error:
        raise CliError(str(error), _parameter_fix(workflow.spec, name, values)) from None
    ready = next(
        (c for c in (workflow.status.conditions if workflow.status else []) if c.type == "Ready"), None
    )
    current = ready is not None and ready.observed_generation == workflow.metadata.generation
    if ready is not None and current and ready.status is ConditionStatus.FALSE:
        raise CliError(
            f"Workflow {name} is not ready ({ready.reason}): {ready.message}",
            "Mend the Workflow and apply it again; `kubernaut lint FILE` shows the line.",
        )


def lacking(workflow: Workflow) -> str:
    """Return what the Workflow, as it is now, says that its account lacks; nothing where it may do all."""
    found = workflow.status.conditions if workflow.status else []
    told = next((one for one in found if one.type == "PermissionsReady"), None)
    current = told is not None and told.observed_generation == workflow.metadata.generation
    return told.message if told is not None and current and told.status is ConditionStatus.FALSE else ""


def run_name(workflow: str) -> str:
    """Return a fresh name: the Workflow's, and five random letters or digits."""
    tail = "".join(secrets.choice(_LETTERS) for _ in range(5))
    return f"{workflow[:247].rstrip('-.')}-{tail}"


def manifest(
    workflow: str,
    namespace: str,
    values: Mapping[str, str],
    *,
    name: str,
    by: str,
    reason: str,
    dry_run: bool = False,
    retry_from: str = "",
) -> dict[str, Any]:
    """Return the run's object, with the finalizer that keeps it until the history has it."""
    kind = TriggerType.RETRY if retry_from else TriggerType.MANUAL
    run = WorkflowExecution(
        spec=WorkflowExecutionSpec(
            workflow_ref=WorkflowRef(name=workflow),
            parameters=[ParameterValue(name=key, value=value) for key, value in values.items()],
            trigger=Trigger(type=kind, by=by[:253], reason=reason[:1024]),
            dry_run=dry_run,
            retry_from=RetryFrom(name=retry_from) if retry_from else None,
        )
    ).wire()
    run["spec"].pop("control", None)
    run["metadata"] = {
        "name": name,
        "namespace": namespace,
        "labels": {LABEL_WORKFLOW: workflow} if len(workflow) <= 63 else {},
        "finalizers": [FINALIZER],
    }
    return run


def describe(parameter: Parameter) -> str:
    """Return ``replicas (integer, default 2)``."""
    need = (
        "required"
        if parameter.required
        else f"default {parameter.default}"
        if parameter.default
        else "optional"
    )
    return f"{parameter.name} ({parameter.type.value}, {need})"


def _parameter_fix(spec: WorkflowSpec, name: str, values: Mapping[str, str]) -> str:
    known = [parameter.name for parameter in spec.parameters]
    for unknown in (key for key in values if key not in known):
        near = get_close_matches(unknown, known, 1)
        if near:
            return f"Did you mean -p {near[0]}=...?"
    if not known:
        return f"Workflow {name} takes no parameters."
    return f"Workflow {name} takes: {'; '.join(describe(p) for p in spec.parameters)}."
