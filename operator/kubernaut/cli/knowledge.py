"""Showing what was learned."""

from __future__ import annotations

from kubernaut.api.pattern import DiscoveredPattern
from kubernaut.cli.errors import Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.objects import PATTERN, fetch, fetch_all, parsed, readable
from kubernaut.cli.output import bare, emit, note, show
from kubernaut.cli.place import Place
from kubernaut.cli.times import now
from kubernaut.cli.views import patterns


async def one_pattern(place: Place, name: str, form: Format) -> int:
    """Show one pattern."""
    found = await fetch(place.cluster, PATTERN, place.namespace, name)
    if form.for_programs:
        emit(bare(found), form)
    else:
        show(patterns.details(parsed(DiscoveredPattern, found), now()))
    return Exit.OK


async def all_patterns(place: Place, everywhere: bool, form: Format) -> int:
    """List the patterns."""
    found = await fetch_all(place.cluster, PATTERN, "" if everywhere else place.namespace)
    if form.for_programs:
        emit({"apiVersion": "v1", "kind": "List", "items": [bare(item) for item in found]}, form)
    elif not found:
        where = "any namespace" if everywhere else f"namespace {place.namespace}"
        note(f"No patterns in {where} yet; they are learned from finished runs by the analyst.")
    else:
        models = readable(DiscoveredPattern, found)
        show(patterns.listing(models, now(), namespaces=everywhere))
    return Exit.OK
