"""Guards of the cluster and its namespaces: entries of the stop switch's ConfigMap, read with it.

``guards.cluster`` holds for every run, ``guards.namespace.NAME`` for those of one namespace; each is YAML with the
fields of ``spec.guards`` of a Workflow. Who may write the ConfigMap may stop everything anyway; nobody else can
loosen what it says. An entry that is not understood is told, and lets nothing begin where it holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml
from pydantic import ValidationError

from kubernaut import yamltext
from kubernaut.api.guards import Guards
from kubernaut.core.guards.levels import Level, Reach, guard_problems
from kubernaut.metrics import GUARD_LEVELS, GUARDS_INVALID

log = logging.getLogger(__name__)
PREFIX: Final = "guards."
CLUSTER: Final = f"{PREFIX}cluster"
NAMESPACE: Final = f"{PREFIX}namespace."


def read_level(key: str, text: str) -> Level:
    """Read one entry; what is wrong with it stands in its ``problem``."""
    reach = Reach.NAMESPACE if key.startswith(NAMESPACE) else Reach.CLUSTER
    name = key.removeprefix(NAMESPACE) if reach is Reach.NAMESPACE else ""
    try:
        data = yamltext.load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0]
        return Level(reach, name, Guards(), f"entry {key} is not YAML: {first}")
    if not isinstance(data, dict):
        return Level(reach, name, Guards(), f"entry {key} is no map of fields such as cooldown: 10m")
    try:
        guards = Guards.from_wire(data)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"]))
        return Level(reach, name, Guards(), f"entry {key}: {where}: {detail['msg']}")
    problems = guard_problems(guards, "")
    told = f"entry {key}: {problems[0][0].lstrip('.')}: {problems[0][1].rstrip('.')}" if problems else ""
    return Level(reach, name, guards, told)


def levels_of(data: Mapping[str, str]) -> dict[str, Level]:
    """Read all entries that are, or were meant to be, guards."""
    found: dict[str, Level] = {}
    for key, text in sorted(data.items()):
        if key == CLUSTER or (key.startswith(NAMESPACE) and key != NAMESPACE):
            found[key] = read_level(key, text)
        elif key.startswith(PREFIX):
            # It was meant to guard something, and nobody can say what.
            told = f"entry {key[:80]} is neither {CLUSTER} nor {NAMESPACE}NAME"
            found[key] = Level(Reach.CLUSTER, "", Guards(), told)
    return found


class LevelGuards:
    """What the entries say, as last read. Cheap to ask."""

    def __init__(self) -> None:
        self._read: Mapping[str, str] = {}
        self._cluster: tuple[Level, ...] = ()
        self._namespaces: dict[str, Level] = {}
        self._callbacks: list[Callable[[], None]] = []

    def levels(self, namespace: str) -> tuple[Level, ...]:
        """Return the levels that hold in a namespace, its own first."""
        if not self._read:
            return ()
        own = self._namespaces.get(namespace)
        return (own, *self._cluster) if own is not None else self._cluster

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not understood, a sentence each."""
        return tuple(one.problem for one in (*self._cluster, *self._namespaces.values()) if one.problem)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have ``callback()`` called after each change."""
        self._callbacks.append(callback)

    def see(self, data: Mapping[str, Any]) -> None:
        """Take what the ConfigMap's data says. Never raises."""
        found = {key: str(value) for key, value in data.items() if key.startswith(PREFIX)}
        if found == self._read:
            return
        self._read = found
        levels = levels_of(found).values()
        self._cluster = tuple(level for level in levels if level.reach is Reach.CLUSTER)
        self._namespaces = {level.name: level for level in levels if level.reach is Reach.NAMESPACE}
        GUARD_LEVELS.set(len(found))
        GUARDS_INVALID.set(len(self.problems))
        for problem in self.problems:
            log.warning("guards are not understood, and nothing begins where they hold: %s", problem)
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                log.exception("a callback of the guards failed")
