"""Whether a field is a manager's is found along its path, and the same as by looking at all of its fields."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubernaut.core.fields import Path, Select
from kubernaut.core.managed_fields import Manager

NAMES = ("a", "b", "1")
elements = st.builds(
    lambda key, value: f"k:{json.dumps({key: value})}", st.sampled_from(NAMES), st.sampled_from(NAMES)
)
keys = st.one_of(
    st.sampled_from([f"f:{name}" for name in NAMES]),
    st.sampled_from([f"v:{json.dumps(name)}" for name in NAMES]),
    st.sampled_from(["i:1", ".", "x:a", "k:{", "k:[]"]),
    elements,
)
sets: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.just({}), lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=12
)
segments = st.one_of(
    st.sampled_from(NAMES), st.builds(Select, st.sampled_from(NAMES), st.sampled_from(NAMES))
)
paths = st.lists(segments, max_size=4).map(tuple)


@given(sets, paths)
def test_a_field_is_a_managers_where_one_of_its_fields_is_it_or_in_it_or_around_it(
    fields: dict[str, Any], path: Path
) -> None:
    one = Manager("somebody", "Update", "", "", fields)
    listed = any(path[: len(field)] == field or field[: len(path)] == path for field in one.fields)
    assert one.owns(path) == listed
    for field in one.fields:
        assert one.owns(field)
