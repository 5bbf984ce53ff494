"""Field paths and merge patches, on all documents."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kubernaut.core import fields
from kubernaut.core.fields import FieldError, Select

keys = st.sampled_from(
    ["a", "b", "name", "metadata", "labels", "annotations", "example.com/x", 'q"]', "é", ""]
)
scalars = st.one_of(st.booleans(), st.integers(-3, 3), st.floats(-3, 3), st.text(max_size=3))
names = st.sampled_from(["app", "sidecar", "we]ird", ""])


def _named(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    items = st.dictionaries(names, st.dictionaries(keys, inner, max_size=3), max_size=3)
    return items.map(lambda found: [{**rest, "name": name} for name, rest in found.items()])


values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4), _named(inner)
    ),
    max_leaves=8,
)
objects = st.dictionaries(keys, values, max_size=3)
paths = st.lists(
    st.one_of(keys, st.builds(Select, st.sampled_from(["name", "key"]), st.text(max_size=4))),
    min_size=1,
    max_size=5,
).map(tuple)


@given(paths)
def test_a_path_is_read_back_as_written(path: fields.Path) -> None:
    assert fields.parse(fields.render(path)) == path


@given(objects, objects)
def test_a_merge_patch_leads_from_one_object_to_the_other(before: Any, after: Any) -> None:
    patch = fields.merge_patch(before, after)
    assert fields.same(fields.apply_merge_patch(before, patch), after)
    assert fields.same(before, after) == (patch == {})


@given(objects, objects)
def test_putting_the_former_values_back_gives_the_former_object(before: Any, after: Any) -> None:
    result = after
    for change in fields.diff(before, after):
        assert fields.same(fields.get(before, change.path), change.before)
        assert fields.same(fields.get(after, change.path), change.after)
        result = fields.put(result, change.path, change.before)
    assert fields.same(_without_empty_shared(result), _without_empty_shared(before))


def _without_empty_shared(document: Any) -> Any:
    """An empty map of labels or annotations is as good as none: the API server does not keep it."""
    meta = document.get("metadata")
    if not isinstance(meta, dict):
        return {} if meta is None and document == {} else document
    kept = {k: v for k, v in meta.items() if k not in ("labels", "annotations") or v != {}}
    return {**document, "metadata": kept}


@given(objects, objects)
def test_changes_are_empty_just_where_the_objects_are_the_same(before: Any, after: Any) -> None:
    none = not list(fields.diff(before, after))
    assert none == fields.same(_without_empty_shared(before), _without_empty_shared(after))


@given(objects, paths, values)
def test_what_is_put_is_there_and_the_original_is_untouched(
    document: Any, path: fields.Path, value: Any
) -> None:
    assume(value is not None)
    # An element that is replaced as a whole must still be found by its selector.
    assume(not isinstance(path[-1], Select))
    assume(not any(isinstance(a, Select) and b == a.key for a, b in pairwise(path)))
    kept = repr(document)
    try:
        result = fields.put(document, path, value)
    except FieldError:
        return
    finally:
        assert repr(document) == kept
    assert fields.same(fields.get(result, path), value)


@given(objects, paths)
def test_what_is_removed_is_gone(document: Any, path: fields.Path) -> None:
    try:
        result = fields.put(document, path, None)
    except FieldError:
        return
    assert fields.get(result, path) is None


@given(st.text(max_size=12))
def test_any_text_is_a_path_or_a_clear_error(text: str) -> None:
    path: fields.Path
    try:
        path = fields.parse(text)
    except FieldError as error:
        path = ()
        told = str(error)
    else:
        told = fields.render(path)
    assert told
    assert not path or fields.parse(told) == path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("spec.replicas", ("spec", "replicas")),
        (
            "spec.template.spec.containers[name=app].resources",
            ("spec", "template", "spec", "containers", Select("name", "app"), "resources"),
        ),
        ('metadata.annotations["example.com/x"]', ("metadata", "annotations", "example.com/x")),
        ("a[name=docker.io/x:1].b", ("a", Select("name", "docker.io/x:1"), "b")),
    ],
)
def test_paths_are_written_as_people_write_them(text: str, path: fields.Path) -> None:
    assert fields.parse(text) == path
    assert fields.render(path) == text


@pytest.mark.parametrize(
    "text", ["", ".", "a.", "a..b", "a[", "a[0]", "a[name=]", "a[name=x", "a b", 'a["x]', "a]"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(FieldError):
        fields.parse(text)


def test_named_lists_are_compared_by_element_and_others_as_a_whole() -> None:
    before: dict[str, list[Any]] = {"c": [{"name": "a", "v": 1}, {"name": "b", "v": 1}], "l": [1, 2]}
    after: dict[str, list[Any]] = {"c": [{"name": "a", "v": 1}, {"name": "b", "v": 2}], "l": [1, 3]}
    assert [(fields.render(c.path), c.before, c.after) for c in fields.diff(before, after)] == [
        ("c[name=b].v", 1, 2),
        ("l", [1, 2], [1, 3]),
    ]
    swapped = {"c": list(reversed(after["c"])), "l": [1, 3]}
    assert [fields.render(c.path) for c in fields.diff(after, swapped)] == ["c"]


def test_true_is_not_one() -> None:
    assert not fields.same({"a": True}, {"a": 1})
    assert fields.same({"a": 1.0}, {"a": 1})


def test_a_path_through_a_scalar_is_refused() -> None:
    with pytest.raises(FieldError):
        fields.put({"a": 1}, ("a", "b"), 2)
    with pytest.raises(FieldError):
        fields.put({"a": {}}, ("a", Select("name", "x"), "b"), 2)
