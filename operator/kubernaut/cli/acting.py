"""Whether the accounts that would act may do what a simulation did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from kubernaut.api.reach import namespace_of
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.kinds import group_of, resource_of
from kubernaut.core.ports import ObjectRef, Right
from kubernaut.core.rights import told
from kubernaut.core.rules import lacking
from kubernaut.simulation.report import Result
from kubernaut.simulation.shadow import Mutation

_VERBS: Final = {"apply": "patch", "evict": "create"}


class Asks(Protocol):
    """A cluster as one account sees it, as far as it tells what that may do."""

    async def rules(self, namespace: str) -> Sequence[Mapping[str, Any]]: ...

    async def allowed(self, right: Right, namespace: str) -> bool: ...


class Connects(Protocol):
    """What acts as other accounts."""

    def as_account(self, namespace: str, service_account: str) -> Asks: ...


class Accounts:
    """Asks what the accounts of a namespace may do, once for each.

    Args:
        names: resource names that differ from the guessed ones, by group and guess.
    """

    def __init__(self, connection: Connects, namespace: str, names: Mapping[tuple[str, str], str]) -> None:
        self._connection, self._namespace, self._names = connection, namespace, names
        self._rules: dict[str, Sequence[Mapping[str, Any]]] = {}

    async def refused(self, result: Result, spec: WorkflowSpec) -> tuple[str, ...]:
        """Return what of a simulation its accounts may not do, in words.

        Raises:
            ClusterError: that could not be asked.
        """
        account, target = spec.service_account_name, result.status.target
        found: dict[str, None] = {}
        if target is not None:
            where = namespace_of(target.api_version, target.kind, self._namespace)
            read = self._right("get", ObjectRef(target.api_version, target.kind, where, target.name))
            if not await self._may(account, read, where):
                found[f"{account} may not {told(read)}"] = None
        for one in result.mutations:
            by, right = one.account or account, self._needed(one)
            if not await self._may(by, right, one.ref.namespace):
                found[f"{by} may not {told(right)}"] = None
        return tuple(found)

    async def _may(self, account: str, right: Right, namespace: str) -> bool:
        acting = self._connection.as_account(self._namespace, account)
        if namespace not in ("", self._namespace):
            return await acting.allowed(right, namespace)
        if account not in self._rules:
            self._rules[account] = await acting.rules(self._namespace)
        return lacking(self._rules[account], right) is None

    def _needed(self, one: Mutation) -> Right:
        sub = "eviction" if one.verb == "evict" else str(one.options.get("subresource") or "")
        return self._right(_VERBS.get(one.verb, one.verb), one.ref, sub)

    def _right(self, verb: str, ref: ObjectRef, sub: str = "") -> Right:
        group, guess = group_of(ref.api_version), resource_of(ref.kind)
        resource = self._names.get((group, guess), guess)
        # Who may create objects of one name only can't be told by a rule.
        names = () if verb == "create" and not sub else (ref.name,)
        return Right(verb, group, f"{resource}/{sub}" if sub else resource, names)
