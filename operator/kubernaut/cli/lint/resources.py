"""Says where a step waits for units of a scarce resource that the switch or forEach around it holds until its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from kubernaut.api.steps import Step, StepTemplate
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.lint.documents import Document


def held_around(document: Document, known: str, spec: WorkflowSpec) -> Iterator[str]:
    """Yield a sentence for each step that needs more of a resource than there is by default beside what is held."""
    templates = {template.name: template for template in spec.templates}
    lists: list[tuple[str, Sequence[Step]]] = [("spec.steps", spec.steps), ("spec.finally", spec.finally_)]
    lists += [(f"spec.templates[{at}].steps", one.steps) for at, one in enumerate(spec.templates)]
    for path, steps in lists:
        for at, step in enumerate(steps):
            amounts = {use.name: use.amount for use in step.resources}
            inner = _inner(step, templates) if amounts else []
            wanted: dict[str, dict[str, int]] = defaultdict(dict)
            for one in inner:
                for use in one.resources:
                    wanted[use.name][one.name] = use.amount
            for resource in sorted(wanted.keys() & amounts.keys()):
                wanting = wanted[resource]
                names = ", ".join(wanting)
                where = f"{document.source}:{document.line(f'{path}[{at}].resources')}"
                need = amounts[resource] + max(wanting.values())
                yield (
                    f"{where}: {known}: step {step.name} holds {amounts[resource]} of {resource} until its last step "
                    f"has ended, and {names} in it waits for more: with less than {need} in the cluster it waits in "
                    "vain until its timeout; declare the resource at one of both"
                )


def _inner(step: Step, templates: Mapping[str, StepTemplate]) -> list[Step]:
    """Return the steps that a group may run, those of groups in it too; each once, for they may go in a circle."""
    found: list[Step] = []
    seen: set[str] = set()
    waiting = _templates(step)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in templates:
            continue
        seen.add(name)
        for one in templates[name].steps:
            found.append(one)
            waiting += _templates(one)
    return found


def _templates(step: Step) -> list[str]:
    names = [case.template for case in step.switch.cases] if step.switch is not None else []
    if step.switch is not None and step.switch.default is not None:
        names.append(step.switch.default)
    return [*names, step.for_each.template] if step.for_each is not None else names
