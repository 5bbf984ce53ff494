"""Whatever differs between what is known to be good and what is there: all of it restored is what was known."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from kubernaut.actions.knowngood.declaration import declared, digest_of, pack, unpack
from kubernaut.actions.knowngood.difference import differences, restored
from kubernaut.core import fields

NAMES = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.one_of(st.booleans(), st.integers(-2, 2), st.sampled_from(["x", "y", ""]))
ELEMENTS = st.dictionaries(st.sampled_from(["image", "port"]), SCALARS, max_size=2)


@st.composite
def named_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    return [{"name": name, **draw(ELEMENTS)} for name in names]


VALUES = st.recursive(
    st.one_of(SCALARS, named_lists(), st.lists(SCALARS, max_size=3)),
    lambda inner: st.dictionaries(st.sampled_from(["p", "q", "r"]), inner, max_size=3),
    max_leaves=12,
)
SPECS = st.dictionaries(st.sampled_from(["p", "q", "containers"]), VALUES, max_size=3)


def service(spec: Any, labels: Any) -> dict[str, Any]:
    meta = {"name": "api", "namespace": "shop", "uid": "u", "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


LABELS = st.dictionaries(st.sampled_from(["team", "tier"]), st.sampled_from(["1", "2"]), max_size=2)


@given(SPECS, SPECS, LABELS, LABELS)
def test_all_of_it_restored_is_what_was_known(one: Any, other: Any, labels: Any, others: Any) -> None:
    known, seen = service(one, labels), service(other, others)
    content = declared(known)
    found = differences(content, seen)
    assert not any(difference.left for difference in found)
    back = restored(seen, found, content)
    assert fields.same(declared(back), content), [difference.text for difference in found]
    assert differences(content, back) == []


@example({"p": {"r": [{"name": "a"}]}}, {"p": {"r": [{"name": "b"}]}})
@given(SPECS, SPECS)
def test_restoring_one_field_leaves_the_others(one: Any, other: Any) -> None:
    known, seen = service(one, {}), service(other, {})
    content = declared(known)
    found = differences(content, seen)
    for at, difference in enumerate(found):
        back = restored(seen, [difference], content)
        left = {one.text for one in differences(content, back)}
        assert left <= {one.text for one in [*found[:at], *found[at + 1 :]]}


@given(SPECS, LABELS)
def test_a_declaration_survives_being_packed_and_order_does_not_matter(spec: Any, labels: Any) -> None:
    content = declared(service(spec, labels))
    packed = pack(content)
    assert packed is not None
    assert unpack(packed.content) == content
    turned = {key: content[key] for key in reversed(list(content))}
    assert digest_of(turned) == packed.digest
