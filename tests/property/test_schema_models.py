"""The models take and refuse what the schema says; tests/apiserver/test_crds.py holds the API server to the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from apiobjects.crossfield import cross_field_cases
from apiobjects.examples import FULL
from apiobjects.mutants import Mutant, mutants, walk
from apiobjects.strategies import objects, schema_of
from kubernaut.api.base import ApiModel
from kubernaut.api.crd import KINDS, Kind

BY_NAME = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def takes(kind: Kind, thing: dict[str, Any]) -> bool:
    """Whether the model takes an object."""
    try:
        kind.model.from_wire(thing)
    except ValidationError:
        return False
    return True


def all_mutants(kind: Kind) -> list[Mutant]:
    """Return every mutant of the full example."""
    whole, schema = FULL[kind.name](), schema_of(kind)
    return [mutant for section in ("spec", "status") for mutant in mutants(schema, whole, section)]


@BY_NAME
def test_the_full_example_has_every_field(kind: Kind) -> None:
    def fields(schema: dict[str, Any], path: str) -> set[str]:
        found = {path}
        if "items" in schema:
            found |= fields(schema["items"], f"{path}[]")
        for name, inner in schema.get("properties", {}).items():
            found |= fields(inner, f"{path}.{name}")
        return found

    schema, whole = schema_of(kind), FULL[kind.name]()
    for section in ("spec", "status"):
        part = schema["properties"][section]
        reached = set()
        for path, _, _ in walk(part, whole[section]):
            reached.add("".join("[]" if isinstance(key, int) else f".{key}" for key in path))
        assert reached == fields(part, "")


@BY_NAME
def test_the_model_takes_the_full_example_and_writes_it_back(kind: Kind) -> None:
    whole = FULL[kind.name]()
    read: ApiModel = kind.model.from_wire(whole)
    assert kind.model.from_wire(read.wire()) == read


@BY_NAME
def test_the_model_judges_every_change_of_one_place_as_the_schema_does(kind: Kind) -> None:
    cases = all_mutants(kind)
    assert len(cases) > 100
    assert [case.label for case in cases if takes(kind, case.object) != case.valid] == []


def test_the_model_judges_rules_across_fields_as_the_schema_does() -> None:
    wrong = [case.label for case in cross_field_cases() if takes(KINDS[0], case.object) != case.valid]
    assert wrong == []


@BY_NAME
@settings(max_examples=40)
@given(data=st.data())
def test_the_model_takes_whatever_the_schema_takes_and_keeps_it(kind: Kind, data: st.DataObject) -> None:
    thing = data.draw(objects(kind))
    read = kind.model.from_wire(thing)
    assert kind.model.from_wire(read.wire()) == read
