"""`kubernaut features`: the flags of single features and the capacities, as written in the switch's ConfigMap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import RenderableType

from kubernaut.api.names import SYSTEM_NAMESPACE
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.output import complain, emit, show
from kubernaut.cli.place import Place, within
from kubernaut.cli.text import cell
from kubernaut.cli.views.words import heading, table
from kubernaut.cluster.features import (
    ACTING,
    CAPACITY_PREFIX,
    FEATURE_PREFIX,
    FLAGS,
    OFF,
    ON,
    Flags,
    hint,
    named,
    read_flags,
    set_flags,
)
from kubernaut.cluster.switch import switch_ref
from kubernaut.core.errors import NotFound
from kubernaut.core.features import Feature

_FIX = "Write FEATURE=on, FEATURE=off or capacity.RESOURCE=NUMBER; `kubernaut features` lists them."


def look_or_set(
    settings: Sequence[str], reset: bool, namespace: str, kubeconfig: str, context: str, form: Format
) -> int:
    """Set (or take away) what is given, and show what holds then."""
    changes = _taken_away(settings) if reset else dict(change(text) for text in settings)
    where = namespace or SYSTEM_NAMESPACE
    return within(kubeconfig, context, where, lambda place: _work(place, changes, form))


def _taken_away(names: Sequence[str]) -> dict[str, str | None]:
    """Return the entries that are taken away: those of these names, or of all features."""
    changes: dict[str, str | None] = {}
    for name in names:
        if "=" in name:
            raise CliError(f"{name!r}: with --reset a name has no value", "Write it as in rollback --reset.")
        # An entry that nobody understands is what one wants to be rid of, so any name does.
        bare = name.removeprefix(FEATURE_PREFIX)
        changes[name if name.startswith(CAPACITY_PREFIX) else f"{FEATURE_PREFIX}{bare}"] = None
    return changes or {f"{FEATURE_PREFIX}{feature.value}": None for feature in Feature}


def change(text: str) -> tuple[str, str]:
    """Return key and value of the entry that ``NAME=VALUE`` means.

    Raises:
        CliError: it is not of that form, there is no such feature, or the value is not one that is understood.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise CliError(f"{text!r} is not NAME=VALUE", _FIX)
    if name.startswith(CAPACITY_PREFIX):
        problems = read_flags({name: value}).problems
        if problems:
            raise CliError(problems[0].partition(";")[0], _FIX)
        return name, value
    feature = named(name.removeprefix(FEATURE_PREFIX))
    if name.removeprefix(FEATURE_PREFIX) == ACTING:
        raise CliError(
            "acting as a whole is no single feature", "Use `kubernaut stop` and `kubernaut start`."
        )
    if feature is None:
        raise CliError(f"there is no feature {name!r}{hint(name)}", _FIX)
    if value.lower() not in (ON, OFF):
        raise CliError(f"{text!r}: a feature is on or off", _FIX)
    return f"{FEATURE_PREFIX}{feature.value}", value.lower()


async def written(place: Place, changes: Mapping[str, str | None]) -> Flags:
    """Change entries of the switch's ConfigMap; return what holds then. Raises CliError where there is none."""
    ref = switch_ref(place.namespace)
    try:
        return await set_flags(place.cluster, ref, changes)
    except NotFound:
        raise CliError(
            f"there is no {ref}, so no operator that could be told",
            "Install Kubernaut with `kubectl apply -k manifests/base`, or name its namespace with -n.",
            Exit.NOT_FOUND,
        ) from None


async def _work(place: Place, changes: Mapping[str, str | None], form: Format) -> int:
    flags = await written(place, changes)
    if form.for_programs:
        emit(_wire(flags), form)
    else:
        show(*_told(flags))
    for problem in flags.problems:
        complain(problem)
    return Exit.OK


def _told(flags: Flags) -> list[RenderableType]:
    made = table("FEATURE", "STATE", "WHILE OFF", last_wraps=True)
    for feature in Feature:
        made.add_row(cell(feature.value), cell(_state(flags, feature)), cell(FLAGS[feature].off))
    if not flags.capacities:
        return [made]
    capacities = table("RESOURCE", "CAPACITY")
    for name, amount in sorted(flags.capacities.items()):
        capacities.add_row(cell(name), cell(amount))
    return [made, heading("Capacities (1 of any other)"), capacities]


def _state(flags: Flags, feature: Feature) -> str:
    return OFF if feature in flags.off else ON


def _wire(flags: Flags) -> dict[str, object]:
    return {
        "features": {feature.value: _state(flags, feature) for feature in Feature},
        "capacities": dict(sorted(flags.capacities.items())),
        "problems": list(flags.problems),
    }
