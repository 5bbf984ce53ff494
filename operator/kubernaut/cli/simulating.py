"""Simulating a run: where its Workflow and the objects come from, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kubernaut.api.guards import GitOpsMode
from kubernaut.api.names import API_VERSION
from kubernaut.api.workflow import Workflow
from kubernaut.cli import starting
from kubernaut.cli.acting import Accounts
from kubernaut.cli.catalogue import actions
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.expecting import expected
from kubernaut.cli.forms import Format
from kubernaut.cli.guarding import argo_namespace, levels_of
from kubernaut.cli.lint.check import check_text, is_workflow, workflows
from kubernaut.cli.lint.documents import read as documents
from kubernaut.cli.lint.files import text_of
from kubernaut.cli.objects import WORKFLOW, fetch, parsed
from kubernaut.cli.output import emit, note, show
from kubernaut.cli.place import Place
from kubernaut.cli.surroundings import RUN, counted, memory_of, past_of, runs_of
from kubernaut.cli.times import now
from kubernaut.cli.views import lint as lint_view
from kubernaut.cli.views import simulation as view
from kubernaut.cli.views.simulation import Told
from kubernaut.cluster.keepers import with_pauses
from kubernaut.cluster.scopes import Scopes, find_scopes
from kubernaut.core.compiling import compile_plan
from kubernaut.core.content import content_hash
from kubernaut.core.errors import ClusterError, StepError
from kubernaut.core.gitops.changing import mode
from kubernaut.core.guards.levels import Level
from kubernaut.core.parameters import parse_parameters
from kubernaut.core.plan import Plan, PlanInvalid
from kubernaut.core.ports import Manifest
from kubernaut.core.rights import PAUSING, Need, Needs, Weight, guarded, kinds, needed, told
from kubernaut.core.rules import lacking
from kubernaut.simulation import driver, serverside, snapshots
from kubernaut.simulation.report import Result
from kubernaut.simulation.shadow import Shadow
from kubernaut.simulation.simulating import shadow_of, simulate

Find = Callable[[str], Awaitable[Workflow]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command was asked."""

    workflow: str
    params: tuple[str, ...]
    save_state: str
    server: bool
    dsn: str
    form: Format
    keys: str = ""


async def in_cluster(place: Place, wanted: Wanted, given: Workflow | None) -> int:
    """Simulate against a cluster, read as the person's own account; ``given`` is the Workflow of a file."""
    reads_as = ""
    with suppress(ClusterError):
        reads_as = await place.whoami()
    shadow = shadow_of(now(), place.cluster)

    flows: list[Manifest] = []

    async def find(name: str) -> Workflow:
        flows.append(await fetch(place.cluster, WORKFLOW, place.namespace, name))
        return parsed(Workflow, flows[-1])

    workflow = given or await find(wanted.workflow)
    plan = _compiled(workflow)
    runs = await runs_of(place.cluster, place.namespace, shadow.assumptions)
    result = await _simulated(workflow, plan, place.namespace, shadow, wanted, find, runs)
    scopes = Scopes()
    with suppress(ClusterError):
        scopes = await find_scopes(place.connection, kinds(plan))
    levels, _ = await levels_of(shadow, place.namespace, workflow)
    needs = guarded(_needs(plan, wanted).corrected(scopes.names), levels, plan.spec.target.kind)
    if mode(levels)[0] is GitOpsMode.PAUSE_SYNC:
        needs = await with_pauses(place.cluster, place.namespace, needs, argo_namespace())
    account = plan.spec.service_account_name
    acting = place.connection.as_account(place.namespace, account)
    lacks: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    why = ""
    try:
        rules = await acting.rules(place.namespace)
        missing = [one for one in needs.of(Weight.MUST) if lacking(rules, one.right) is not None]
        missing += [one for one in needs.elsewhere if not await acting.allowed(one.right, one.namespace)]
        lacks = tuple(f"{_told(one)} ({one.by})" for one in missing)
        accounts = Accounts(place.connection, place.namespace, scopes.names)
        without = await accounts.refused(result, plan.spec)
    except ClusterError as error:
        why = f"what {account} may do could not be asked: {error}"
    refused = None
    if wanted.server:
        refused = await serverside.checked(
            result, shadow, lambda name: place.connection.as_account(place.namespace, name or account)
        )
    if wanted.save_state:
        _save(shadow, [*flows, *counted(runs)], wanted.save_state)
    history = await expected(wanted.dsn, place.namespace, workflow.metadata.name, content_hash(plan.spec))
    whole = Told(result, account, reads_as, _rights(needs), lacks, why, refused, history, without)
    return _print(whole, wanted.form)


def in_state(source: str, namespace: str, wanted: Wanted, given: Workflow | None) -> int:
    """Simulate against a state in a file; no cluster is asked. ``given`` is the Workflow of a file."""
    try:
        objects = snapshots.read(text_of(source))
    except snapshots.StateInvalid as error:
        raise CliError(f"{source}: {error}", error.fix) from None
    flows = [one for one in objects if is_workflow(one)]

    async def work() -> int:
        workflow = given or parsed(Workflow, _flow(flows, wanted.workflow, namespace, source))
        where = namespace or workflow.metadata.namespace or "default"

        async def find(name: str) -> Workflow:
            return parsed(Workflow, _flow(flows, name, where, source))

        plan = _compiled(workflow)
        runs = [one for one in objects if one["kind"] == RUN]
        shadow = shadow_of(now(), objects=objects)
        try:
            result = await _simulated(workflow, plan, where, shadow, wanted, find, runs)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # Deep inside an object only its own reader knows each shape, and has no words for another.
            what = "an object of it may have another shape than the API server gives it"
            fix = "Make the file anew with --save-state; if it is as that wrote it, report this."
            raise CliError(
                f"{source} can't be simulated: {what} ({type(error).__name__}: {error})", fix
            ) from error
        why = "no cluster was asked"
        history = await expected(wanted.dsn, where, workflow.metadata.name, content_hash(plan.spec))
        account = plan.spec.service_account_name
        whole = Told(result, account, "", _rights(_needs(plan, wanted)), None, why, None, history)
        return _print(whole, wanted.form)

    return asyncio.run(work())


def _flow(flows: Iterable[Manifest], name: str, namespace: str, source: str) -> Manifest:
    """Return the Workflow of a state that is meant; one of no namespace may be in any."""
    places = {
        str(one["metadata"].get("namespace") or ""): one for one in flows if one["metadata"]["name"] == name
    }
    found = [one for where, one in places.items() if not namespace or where in ("", namespace)]
    if len(found) == 1:
        return found[0]
    if found and not namespace:
        told = ", ".join(sorted(filter(None, places)))
        raise CliError(f"{source} has Workflows {name!r} in {told}", "Name the namespace with -n.")
    if found:
        return places[namespace]
    there = ", ".join(
        sorted(
            f"{one['metadata'].get('namespace', '')}/{one['metadata']['name']}".lstrip("/") for one in flows
        )
    )
    where = f" in namespace {namespace}" if namespace else ""
    fix = f"Workflows in {source}: {there or 'none'}. Or name a file that holds one."
    raise CliError(f"{source} has no Workflow {name!r}{where}", fix, Exit.NOT_FOUND)


def of_file(name: str) -> Workflow | None:
    """Return the Workflow in a file, or None where what is named is no file."""
    if not (name == "-" or "/" in name or name.endswith((".yaml", ".yml", ".json"))):
        return None
    text = text_of(name)
    report = check_text(text, name, actions())
    if report.findings or not report.checked:
        show(lint_view.report(report), stderr=True)
        raise CliError(f"{name} holds no Workflow that could run", "Mend what is told above.")
    found = workflows(documents(text, name))
    if len(found) != 1:
        names = ", ".join(one.metadata.name for one in found)
        raise CliError(
            f"{name} holds {len(found)} Workflows ({names})", "Give a file with the one that is meant."
        )
    return found[0]


def _compiled(workflow: Workflow) -> Plan:
    try:
        return compile_plan(workflow.spec, actions())
    except PlanInvalid as error:
        name = workflow.metadata.name
        raise CliError(
            f"Workflow {name} is not ready: {error}", "Mend it; `kubernaut lint` shows where."
        ) from None


async def _simulated(
    workflow: Workflow,
    plan: Plan,
    namespace: str,
    shadow: Shadow,
    wanted: Wanted,
    find: Find,
    runs: Iterable[Manifest],
) -> Result:
    values = starting.assignments(wanted.params, "--param")
    starting.check(workflow, values, dry_run=True)

    async def other(name: str, given: Mapping[str, str]) -> tuple[Plan, dict[str, Any]]:
        try:
            child = _compiled(await find(name))
        except CliError as error:
            raise StepError(error.message) from None
        return child, parse_parameters(child.spec, given)

    guards = await _levels(workflow, namespace, shadow)
    params = parse_parameters(plan.spec, values)
    past = past_of(runs, lambda: shadow.state.now, shadow.assumptions)
    one = driver.Wanted(workflow.metadata.name, namespace, plan, params, guards, find=other, past=past)
    try:
        async with memory_of(wanted.dsn, wanted.keys, shadow.assumptions, now) as memory:
            return await simulate(replace(one, memory=memory), shadow)
    except ClusterError:
        raise
    except StepError as error:
        raise CliError(
            f"the run would not begin: {error}", "Mend what is told, or give other parameters."
        ) from None


async def _levels(workflow: Workflow, namespace: str, shadow: Shadow) -> tuple[Level, ...]:
    """Return the guards that hold, as far as they can be read."""
    found, problem = await levels_of(shadow, namespace, workflow)
    if problem:
        shadow.assumptions.say(f"there are no guards of the cluster or its namespaces ({problem})")
    return found


def _needs(plan: Plan, wanted: Wanted) -> Needs:
    from kubernaut.core.parameters import parse_given

    return needed(plan, parse_given(plan.spec, starting.assignments(wanted.params, "--param")))


def _rights(needs: Needs) -> tuple[str, ...]:
    must: Iterable[str] = map(_told, (*needs.of(Weight.MUST), *needs.elsewhere))
    unclear = (
        f"not known before a run: what {'' if step == PAUSING else 'step '}{step} needs ({why})"
        for step, why in needs.unclear
    )
    return (*dict.fromkeys(must), *unclear)


def _told(need: Need) -> str:
    where = f" in namespace {need.namespace}" if need.namespace else ""
    return f"{told(need.right)}{where}"


def _save(shadow: Shadow, beside: Iterable[Manifest], path: str) -> None:
    """Write what was read: objects, and beside them the Workflows and runs that were looked at."""
    first = {**shadow.state.objects, **shadow.state.first}
    own = [
        one
        for one in first.values()
        if one is not None and (one["apiVersion"], one["kind"]) != (API_VERSION, RUN)
    ]
    own += {one["metadata"]["uid"]: one for one in beside}.values()
    try:
        Path(path).write_text(snapshots.write(own))
    except OSError as error:
        raise CliError(f"--save-state: can't write {path}: {error.strerror}", "Name another file.") from None
    note(f"{len(own)} objects were written to {path}, without what Secrets hold.")


def _print(whole: Told, form: Format) -> int:
    if form.for_programs:
        emit(whole.wire(), form)
    else:
        show(view.report(whole))
    refused = [one for one in whole.refused or () if one.refusal]
    return Exit.OK if whole.through and not refused else Exit.RUN_FAILED
