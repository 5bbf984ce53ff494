"""The parameters of a run: typed as the Workflow declares them, overridden where an approver may and did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kubernaut.api.execution import ApprovalRecord
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import Parameter, WorkflowSpec, parse_parameter
from kubernaut.core.errors import StepError


def parse_parameters(spec: WorkflowSpec, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the typed parameters of a run; optional ones without a value are None.

    Raises:
        StepError: InvalidParameters, naming the parameter and what is wrong.
    """
    typed, values = parse_given(spec, given), dict[str, Any]()
    for parameter in spec.parameters:
        name, default = parameter.name, parameter.default
        if name not in typed and default is None and parameter.required:
            raise StepError(
                f"parameter {name!r} ({parameter.type.value}) is required and was not given",
                reason=Reason.INVALID_PARAMETERS,
            )
        unset = None if default is None else _parsed(parameter, default)
        values[name] = typed.get(name, unset)
    return values


def parse_given(spec: WorkflowSpec, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the typed values of the parameters that are given, and of no others.

    Raises:
        StepError: InvalidParameters, naming the parameter and what is wrong.
    """
    declared = {parameter.name: parameter for parameter in spec.parameters}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        known = ", ".join(sorted(declared)) or "none"
        raise StepError(
            f"the Workflow declares no parameter {unknown[0]!r}; it declares: {known}",
            reason=Reason.INVALID_PARAMETERS,
        )
    return {name: _parsed(declared[name], text) for name, text in given.items()}


def overrides(spec: WorkflowSpec, allowed: Iterable[str], answer: ApprovalRecord) -> dict[str, Any]:
    """Return the typed values that an approver gives instead.

    Raises:
        StepError: InvalidParameters, where the step does not let the approver override it, or the type is another.
    """
    declared = {parameter.name: parameter for parameter in spec.parameters}
    may = frozenset(allowed)
    values: dict[str, Any] = {}
    for given in answer.parameters:
        if given.name not in may or given.name not in declared:
            told = ", ".join(sorted(may)) or "none"
            raise StepError(
                f"{answer.by} overrides parameter {given.name!r}; the approver may override: {told}",
                reason=Reason.INVALID_PARAMETERS,
            )
        values[given.name] = _parsed(declared[given.name], given.value)
    return values


def _parsed(parameter: Parameter, text: str) -> Any:
    try:
        return parse_parameter(parameter, text)
    except ValueError as error:
        raise StepError(str(error), reason=Reason.INVALID_PARAMETERS) from None
