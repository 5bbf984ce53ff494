"""Rules of RBAC: the fewest that give just the rights that are needed, and whether given ones do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kubernaut.core.ports import Right
from kubernaut.core.rights import Need

_ORDER: Final = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
_ALL: Final = "*"
_Names = frozenset[str]
# By group and resource: each verb with the names it is needed on (none: any), and who needs it.
_Table = dict[tuple[str, str], dict[str, tuple[_Names, frozenset[str]]]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a Role: all verbs on all resources, on the objects named or on any; and who needs it."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    by: tuple[str, ...] = ()

    def manifest(self) -> dict[str, Any]:
        """Return the rule as a Role has it."""
        names = {"resourceNames": list(self.names)} if self.names else {}
        return {
            "apiGroups": [self.group],
            "resources": list(self.resources),
            **names,
            "verbs": list(self.verbs),
        }

    def rights(self) -> frozenset[Right]:
        """Return all that it gives, each with one name or none."""
        return frozenset(
            Right(verb, self.group, resource, (name,) if name else ())
            for verb in self.verbs
            for resource in self.resources
            for name in (self.names or ("",))
        )


def merged(needs: Iterable[Need]) -> tuple[Rule, ...]:
    """Return rules that give what is needed and nothing else, always the same ones for the same needs.

    Verbs that are needed on the same names share a rule, and resources of a group that are needed with the same
    verbs and names do.
    """
    alike: dict[tuple[str, tuple[str, ...], tuple[str, ...]], dict[str, frozenset[str]]] = {}
    for (group, resource), verbs in _table(needs).items():
        by_names: dict[_Names, list[str]] = {}
        for verb, (names, _) in verbs.items():
            by_names.setdefault(names, []).append(verb)
        for names, those in by_names.items():
            key = group, tuple(sorted(names)), tuple(sorted(those, key=_position))
            alike.setdefault(key, {})[resource] = frozenset().union(*(verbs[verb][1] for verb in those))
    rules = [
        Rule(
            group,
            tuple(sorted(resources)),
            verbs,
            names,
            tuple(sorted(frozenset().union(*resources.values()))),
        )
        for (group, names, verbs), resources in alike.items()
    ]
    return tuple(sorted(rules, key=lambda rule: (rule.group, rule.resources, rule.names, rule.verbs)))


def _table(needs: Iterable[Need]) -> _Table:
    found: _Table = {}
    for need in needs:
        right = need.right
        verbs = found.setdefault((right.group, right.resource), {})
        names, by = verbs.get(right.verb, (frozenset(right.names), frozenset()))
        # Who may act on any object may act on the one that another step names.
        both = names | set(right.names) if names and right.names else frozenset()
        verbs[right.verb] = both, by | {need.by}
    return found


def _position(verb: str) -> tuple[int, str]:
    return (_ORDER.index(verb) if verb in _ORDER else len(_ORDER), verb)


def lacking(given: Sequence[Mapping[str, Any]], right: Right) -> Right | None:
    """Return what of a right these rules of a SelfSubjectRulesReview do not give; None where they give all of it."""
    fitting = [rule for rule in given if _fits(rule, right)]
    if any(not rule.get("resourceNames") for rule in fitting):
        return None
    if not right.names:
        return right
    allowed = {name for rule in fitting for name in rule.get("resourceNames") or ()}
    left = tuple(name for name in right.names if name not in allowed)
    return replace(right, names=left) if left else None


def _fits(rule: Mapping[str, Any], right: Right) -> bool:
    _, slash, sub = right.resource.partition("/")
    wanted = {right.resource, _ALL, *([f"*/{sub}"] if slash else [])}
    return (
        not {right.verb, _ALL}.isdisjoint(rule.get("verbs") or ())
        and not {right.group, _ALL}.isdisjoint(rule.get("apiGroups") or ())
        and not wanted.isdisjoint(rule.get("resources") or ())
    )


def beyond(right: Right, wide: Callable[[str, str], bool]) -> bool:
    """Whether a right is one on the whole cluster; ``wide`` says whether a resource is in no namespace."""
    return right.everywhere or wide(right.group, right.resource.partition("/")[0])


def apart(
    needs: Iterable[Need], wide: Callable[[str, str], bool]
) -> tuple[tuple[Need, ...], tuple[Need, ...]]:
    """Return what is needed in the namespace, as far as the rest does not give it, and what of the whole cluster."""
    inside: list[Need] = []
    whole: list[Need] = []
    for need in needs:
        (whole if beyond(need.right, wide) else inside).append(need)
    given = [rule.manifest() for rule in merged(whole)]
    return tuple(need for need in inside if lacking(given, need.right) is not None), tuple(whole)
