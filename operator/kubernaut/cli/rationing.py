"""`kubernaut capacities`: how much there is of named resources, and which Workflows take of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kubernaut.api.names import SYSTEM_NAMESPACE
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.featuring import written
from kubernaut.cli.forms import Format
from kubernaut.cli.objects import WORKFLOW, fetch_all
from kubernaut.cli.outline import spec_of
from kubernaut.cli.output import complain, emit, note, show
from kubernaut.cli.place import Place, within
from kubernaut.cli.text import cell
from kubernaut.cli.views.words import table
from kubernaut.cluster.features import CAPACITY_PREFIX, DEFAULT_CAPACITY, Flags, read_flags
from kubernaut.core.errors import ClusterError
from kubernaut.core.features import Feature

_FIX = "Write RESOURCE=NUMBER, as in node-drain=3."


def look_or_set(
    settings: Sequence[str], reset: bool, namespace: str, kubeconfig: str, context: str, form: Format
) -> int:
    """Set (or take away) what is given, and show what holds then."""
    changes: dict[str, str | None] = {}
    for text in settings:
        name, equals, value = (part.strip() for part in text.partition("="))
        if bool(equals) is reset:
            told = "with --reset a name has no value" if reset else "this is not RESOURCE=NUMBER"
            raise CliError(f"{text!r}: {told}", "Write it as in node-drain --reset." if reset else _FIX)
        key = CAPACITY_PREFIX + name.removeprefix(CAPACITY_PREFIX)
        problems = () if reset else read_flags({key: value}).problems
        if problems:
            raise CliError(problems[0].partition(";")[0], _FIX)
        changes[key] = None if reset else value
    where = namespace or SYSTEM_NAMESPACE
    return within(
        kubeconfig, context, where, lambda place: _work(place, changes, reset and not settings, form)
    )


async def _work(place: Place, changes: Mapping[str, str | None], everything: bool, form: Format) -> int:
    flags = await written(place, changes)
    if everything:
        flags = await written(place, {f"{CAPACITY_PREFIX}{name}": None for name in flags.capacities})
    users = await _users(place)
    names = sorted({*flags.capacities, *users})
    if form.for_programs:
        emit([_wire(flags, name, users.get(name, [])) for name in names], form)
        return Exit.OK
    made = table("RESOURCE", "CAPACITY", "WORKFLOWS", last_wraps=True)
    for name in names:
        made.add_row(cell(name), cell(_capacity(flags, name)), cell(", ".join(users.get(name, []))))
    if names:
        show(made)
    else:
        note("No capacity is set and no Workflow takes a named resource; of each there is 1.")
    if Feature.CAPACITIES in flags.off:
        note("The feature capacities is off: steps do not wait for any of these.")
    for problem in (one for one in flags.problems if one.startswith(CAPACITY_PREFIX)):
        complain(problem)
    return Exit.OK


async def _users(place: Place) -> dict[str, list[str]]:
    """Return the Workflows that take of each resource, as far as this account may see them."""
    try:
        found = await fetch_all(place.cluster, WORKFLOW, "")
    except (ClusterError, CliError) as error:
        note(f"Which Workflows take of them is not known: {error}.")
        return {}
    users: dict[str, list[str]] = {}
    for one in found:
        spec, meta = spec_of(one.get("spec")), one["metadata"]
        for name in taken(spec) if spec else ():
            users.setdefault(name, []).append(f"{meta['namespace']}/{meta['name']}")
    return {name: sorted(workflows) for name, workflows in users.items()}


def taken(spec: WorkflowSpec) -> set[str]:
    """Return the resources that some step of a Workflow takes."""
    bodies = [spec.steps, spec.finally_, *(template.steps for template in spec.templates)]
    return {use.name for steps in bodies for step in steps for use in step.resources}


def _capacity(flags: Flags, name: str) -> int:
    return flags.capacities.get(name, DEFAULT_CAPACITY)


def _wire(flags: Flags, name: str, workflows: list[str]) -> dict[str, object]:
    return {"resource": name, "capacity": _capacity(flags, name), "workflows": workflows}
