"""JSON for jsonb: whatever comes, Postgres can take it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubernaut.history.rows import from_json, to_json

_ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=10)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | _ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ANY_TEXT, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(_ANY_TEXT, _ANY, max_size=4))
def test_any_value_becomes_json_without_what_postgres_refuses(value: dict[str, Any]) -> None:
    text = to_json(value)
    text.encode()
    decoded = json.dumps(json.loads(text), ensure_ascii=False)
    assert "\x00" not in json.loads(json.dumps(decoded))
    assert "\\u0000" not in text.replace("\\\\", "")
    decoded.encode()


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\x00")), st.integers(-(2**63), 2**63 - 1)
    )
)
def test_what_can_be_stored_is_not_changed(value: dict[str, Any]) -> None:
    assert from_json(to_json(value)) == value


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert from_json(to_json({"path": "C:\\u0000"})) == {"path": "C:\\u0000"}


def test_what_is_no_object_reads_as_empty() -> None:
    assert from_json(None) == {}
    assert from_json("[1]") == {}
