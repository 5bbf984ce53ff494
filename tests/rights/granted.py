"""What is shipped as rights, and what a suite used of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import chart_roles
from kubernaut.api.policies import required_policies
from kubernaut.api.rbac import (
    BEFORE_IMAGE_ROLE,
    REMEMBER_ROLE,
    before_image_manifests,
    remember_manifests,
    system_manifests,
    tenant_manifests,
)

ACCOUNTS: Final = ("kubernaut-operator", "kubernaut-analyst")
#: the operator's own roles; the second one where it remembers objects
OPERATOR: Final = (ACCOUNTS[0], REMEMBER_ROLE)
#: roles whose rights the operator uses, in the account's stead
TENANT: Final = ("kubernaut-repair", "kubernaut-impersonate", BEFORE_IMAGE_ROLE)
#: by which of Kubernetes' own roles one of ours is used too: it is aggregated to them
_AGGREGATED: Final = {
    "view": ("kubernaut-view",),
    "edit": ("kubernaut-view", "kubernaut-edit"),
    "admin": ("kubernaut-view", "kubernaut-edit", "kubernaut-admin"),
}
_ASKS: Final = re.compile(
    r"authorizer\.group\('([^']*)'\)\.resource\('([^']*)'\)(?:\.subresource\('([^']*)'\))?.*?\.check\('([^']*)'\)"
)


class Right(NamedTuple):
    """One verb on one resource, by the role that gives it; ``name`` where it is given by name."""

    role: str
    verb: str
    group: str
    resource: str
    name: str = ""

    def __str__(self) -> str:
        group = f".{self.group}" if self.group else ""
        return f"{self.role}: {self.verb} {self.resource}{group} {self.name}".rstrip()


def shipped() -> set[Right]:
    """Return every right of every role that is shipped."""
    manifests = [
        *system_manifests(),
        *remember_manifests(),
        *tenant_manifests("tenant"),
        *before_image_manifests("tenant"),
    ]
    return {
        Right(manifest["metadata"]["name"], verb, group, resource, name)
        for manifest in manifests
        for rule in manifest.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        # Whom the operator may act as is another one in each namespace.
        for name in (rule.get("resourceNames") or ("",) if verb != "impersonate" else ("",))
    }


def families() -> set[Right]:
    """Return every right of the chart's roles for families of actions."""
    return {
        Right(f"kubernaut-actions-{family}", verb, group, resource)
        for family, rules in chart_roles.families().items()
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def never_acted(summaries: Iterable[Mapping[str, Any]]) -> set[Right]:
    """Return what those roles give and no account did, by whichever role: tests give each account what it needs."""
    done = {(one["verb"], one["group"], one["resource"]) for summary in summaries for one in summary["acted"]}
    return {right for right in families() if (right.verb, right.group, right.resource) not in done}


def used(summaries: Iterable[Mapping[str, Any]]) -> set[Right]:
    """Return what was used: of accounts what they sent themselves, of a tenant's what the operator sent for it."""
    found = set()
    for summary in summaries:
        for one in summary["used"]:
            roles = _AGGREGATED.get(one["role"], (one["role"],))
            for role in roles:
                by = {
                    "kubernaut-operator": role in (*TENANT, *OPERATOR),
                    "kubernaut-analyst": role == ACCOUNTS[1],
                }
                if by.get(one["sender"], role not in (*TENANT, *ACCOUNTS, *OPERATOR)):
                    right = Right(role, one["verb"], one["group"], one["resource"], one["name"])
                    # What is given for all names is used by any.
                    found |= {right, right._replace(name="")}
    return found | {right for right in _asked() if _shown(right, found)}


def _asked() -> set[Right]:
    """Return the rights of our roles for which no request asks, but an admission policy does."""
    asked = set()
    for policy, _ in required_policies():
        for entry in [*policy["spec"]["validations"], *policy["spec"].get("variables", ())]:
            for group, resource, subresource, verb in _ASKS.findall(entry["expression"]):
                asked.add((verb, group, f"{resource}/{subresource}" if subresource else resource))
    return {right for right in shipped() if (right.verb, right.group, right.resource) in asked}


def _shown(right: Right, found: set[Right]) -> bool:
    """Whether the role was used for what the policies ask about: writing the object itself."""
    resource = right.resource.partition("/")[0]
    return any(
        one.role == right.role and one.resource == resource and one.verb in ("patch", "update")
        for one in found
    )


def lacking(summaries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return what our own accounts were refused though they asked for it: rights that the roles do not hold.

    That the operator may not act as some account is a tenant's choice, and an API server that has just started knows
    no roles yet: what the roles hold is not lacking.
    """
    held = {
        (right.role, right.verb, right.group, right.resource, name)
        for right in shipped()
        for name in {right.name, ""}
    }
    found: dict[str, int] = {}
    for summary in summaries:
        for one in summary["refused"]:
            key = tuple(one[part] for part in ("sender", "verb", "group", "resource", "name"))
            if one["sender"] in ACCOUNTS and one["verb"] != "impersonate" and key not in held:
                told = str(Right(*key))
                found[told] = found.get(told, 0) + one["times"]
    return found
