"""Printing the Role that lets a Workflow run."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from kubernaut.api.guards import GitOpsMode
from kubernaut.api.rbac import workflow_manifests
from kubernaut.api.workflow import Workflow, WorkflowSpec
from kubernaut.cli import starting
from kubernaut.cli.catalogue import actions
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.guarding import argo_namespace, levels_of
from kubernaut.cli.lint.check import check_text, workflows
from kubernaut.cli.lint.documents import read
from kubernaut.cli.objects import WORKFLOW, fetch, parsed
from kubernaut.cli.output import note, show
from kubernaut.cli.place import Place
from kubernaut.cli.text import line
from kubernaut.cli.views import lint as lint_view
from kubernaut.cluster.keepers import with_pauses
from kubernaut.cluster.resources import WELL_KNOWN
from kubernaut.cluster.scopes import Scopes, find_scopes
from kubernaut.core.compiling import compile_plan
from kubernaut.core.errors import StepError
from kubernaut.core.gitops.changing import mode
from kubernaut.core.parameters import parse_given
from kubernaut.core.plan import Plan, PlanInvalid
from kubernaut.core.rights import PAUSING, Needs, Weight, guarded, kinds, needed
from kubernaut.core.rules import Rule, apart, lacking, merged

_WIDTH: Final = 110


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the Role is to be: values of parameters, another account, whether to include what may be needed only."""

    params: tuple[str, ...]
    account: str
    before_images: bool
    form: Format


@dataclass(frozen=True, slots=True)
class Roles:
    """The rules for one Workflow: of its namespace, of the whole cluster, and those that it may need besides."""

    workflow: str
    namespace: str
    account: str
    rules: tuple[Rule, ...]
    wide: tuple[Rule, ...]
    perhaps: tuple[Rule, ...]
    unclear: tuple[tuple[str, str], ...]
    elsewhere: Mapping[str, tuple[Rule, ...]]

    def manifests(self) -> list[dict[str, Any]]:
        """Return the objects to apply."""
        return workflow_manifests(
            self.workflow,
            self.namespace,
            self.account,
            [rule.manifest() for rule in self.rules],
            [rule.manifest() for rule in self.wide],
            {where: [rule.manifest() for rule in rules] for where, rules in self.elsewhere.items()},
        )

    def rules_of(self, manifest: Mapping[str, Any]) -> tuple[Rule, ...] | None:
        """Return the rules that one of the objects holds; None where it holds none."""
        if manifest["kind"] == "ClusterRole":
            return self.wide
        if manifest["kind"] != "Role":
            return None
        return self.elsewhere.get(manifest["metadata"]["namespace"], self.rules)


async def of_cluster(place: Place, name: str, wanted: Wanted) -> int:
    """Print the Role of a Workflow in the cluster."""
    workflow = parsed(Workflow, await fetch(place.cluster, WORKFLOW, place.namespace, name))
    try:
        plan = compile_plan(workflow.spec, actions())
    except PlanInvalid as error:
        raise CliError(f"Workflow {name} is not ready: {error}", "Mend it and apply it again.") from None
    scopes = await find_scopes(place.connection, kinds(plan))
    needs = _needs(plan, scopes, wanted)
    levels, problem = await levels_of(place.cluster, place.namespace, workflow)
    if problem:
        note(f"Only guards of the Workflow itself count here: {problem}.")
    needs = guarded(needs, levels, plan.spec.target.kind)
    if mode(levels)[0] is GitOpsMode.PAUSE_SYNC:
        needs = await with_pauses(place.cluster, place.namespace, needs, argo_namespace())
    _print([_roles(name, place.namespace, plan, scopes, needs, wanted)], wanted.form)
    return Exit.OK


def of_text(text: str, source: str, name: str, namespace: str, wanted: Wanted) -> int:
    """Print the Roles of the Workflows in a text, or of one of them, without a cluster."""
    report = check_text(text, source, actions())
    if report.findings or not report.checked:
        show(lint_view.report(report), stderr=True)
        return Exit.BAD_INPUT
    found = workflows(read(text, source))
    chosen = [one for one in found if name in ("", one.metadata.name)]
    if not found:
        raise CliError(f"{source} holds no Workflow", "Give a file with at least one.", Exit.NOT_FOUND)
    if not chosen:
        names = ", ".join(one.metadata.name for one in found)
        raise CliError(f"{source} has no Workflow {name!r}", f"There are: {names}.", Exit.NOT_FOUND)
    roles = []
    for one in chosen:
        where = namespace or one.metadata.namespace
        if not where or not one.metadata.name:
            raise CliError(
                f"{source} does not say in which namespace the Workflow is, or its name",
                "Name the namespace with -n, and the Workflow in metadata.name.",
            )
        plan = compile_plan(one.spec, actions())
        guessed = sorted(kind for version, kind in kinds(plan) if (version, kind) not in WELL_KNOWN)
        if guessed:
            note(f"Without a cluster the resource names of these kinds are guessed: {', '.join(guessed)}.")
        needs = _needs(plan, Scopes(), wanted)
        roles.append(_roles(one.metadata.name, where, plan, Scopes(), needs, wanted))
    _print(roles, wanted.form)
    return Exit.OK


def _needs(plan: Plan, scopes: Scopes, wanted: Wanted) -> Needs:
    return needed(plan, _params(plan.spec, wanted.params)).corrected(scopes.names)


def _roles(name: str, namespace: str, plan: Plan, scopes: Scopes, needs: Needs, wanted: Wanted) -> Roles:
    for step, why in needs.unclear:
        if step == PAUSING:
            note(f"Not all rights of {step} are among these: {why}.")
        else:
            note(f"The rights of step {step} are not among these, {why}; give parameters with -p.")
    granted = needs.of(Weight.MUST, Weight.EASES, *([Weight.PERHAPS] if wanted.before_images else []))
    inside, wide = apart(granted, scopes.wide)
    rules = merged(inside)
    return Roles(
        name,
        namespace,
        wanted.account or plan.spec.service_account_name,
        rules,
        merged(wide),
        _beyond(needs, rules),
        needs.unclear,
        {
            where: merged(need for need in needs.elsewhere if need.namespace == where)
            for where in sorted({need.namespace for need in needs.elsewhere})
        },
    )


def _beyond(needs: Needs, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return rules for what may be needed, as far as the others do not give it."""
    given = [rule.manifest() for rule in rules]
    perhaps = (need for need in needs.of(Weight.PERHAPS) if lacking(given, need.right) is not None)
    return merged(perhaps)


def _params(spec: WorkflowSpec, given: Sequence[str]) -> Mapping[str, Any]:
    try:
        return parse_given(spec, starting.assignments(given))
    except StepError as error:
        known = "; ".join(map(starting.describe, spec.parameters)) or "none"
        raise CliError(str(error), f"Its parameters: {known}.") from None


def _print(roles: Sequence[Roles], form: Format) -> None:
    if form is Format.JSON:
        items = [manifest for one in roles for manifest in one.manifests()]
        body = {"apiVersion": "v1", "kind": "List", "items": items}
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
        return
    sys.stdout.write("---\n".join(map(commented, roles)))


def commented(roles: Roles) -> str:
    """Return the objects as YAML, each rule with the steps that need it above it."""
    head = f"What Workflow {roles.namespace}/{roles.workflow} needs of ServiceAccount {roles.account}."
    unclear = [
        f"Not among these, {'' if step == PAUSING else 'step '}{step}: {why}." for step, why in roles.unclear
    ]
    parts = [_comment(head), *map(_comment, unclear)]
    documents = []
    for manifest in roles.manifests():
        rules = roles.rules_of(manifest)
        if rules is None:
            documents.append(_yaml(manifest))
            continue
        text = _yaml({key: value for key, value in manifest.items() if key != "rules"}) + "rules:\n"
        text += "".join(_comment(f"for {_who(rule)}") + _yaml([rule.manifest()]) for rule in rules)
        documents.append(text + ("".join(map(_only, roles.perhaps)) if rules is roles.rules else ""))
    return "".join(parts) + "---\n".join(documents)


def _who(rule: Rule) -> str:
    return ", ".join(rule.by)


def _only(rule: Rule) -> str:
    why = f"only where former values take over 2 KiB or may be secret, for {_who(rule)} (--before-images):"
    return _comment(why) + textwrap.indent(_yaml([rule.manifest()]), "# ")


def _comment(text: str) -> str:
    return (
        textwrap.fill(
            line(text), _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_long_words=False
        )
        + "\n"
    )


def _yaml(data: Any) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
