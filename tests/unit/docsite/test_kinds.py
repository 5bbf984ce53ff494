"""The pages of the kinds tell every field of the schemas, and each link within a page leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from generate_crds import page, pages
from kubernaut.api.crd import KINDS, Kind, crd_manifest


def fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, one in schema.get("properties", {}).items():
        yield name, one
        yield from fields(one)
        yield from fields(one.get("items") or {})
        values = one.get("additionalProperties")
        yield from fields(values if isinstance(values, Mapping) else {})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_is_told_with_what_it_is(kind: Kind) -> None:
    text = page(kind.name, crd_manifest(kind))
    root = crd_manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    told = 0
    for top in ("spec", "status"):
        for name, one in fields(root[top]):
            what = " ".join(one["description"].split()).replace("|", "\\|")
            assert re.search(
                rf"^\| `{re.escape(name)}` \| .* \| {re.escape(what)} \|$", text, re.MULTILINE
            ), name
            told += 1
    assert told > 30


@pytest.mark.parametrize("path", sorted(pages()))
def test_types_lead_to_their_sections(path: str) -> None:
    text = pages()[path]
    headings = {
        re.sub(r"[^\w-]", "", title.lower()) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def test_bounds_defaults_and_rules_are_as_the_api_server_has_them() -> None:
    schema = {
        "properties": {
            "spec": {
                "required": ["count"],
                "x-kubernetes-validations": [{"rule": "self.count > 0", "message": "count is a|b"}],
                "properties": {
                    "count": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."},
                    "words": {
                        "type": "array",
                        "maxItems": 3,
                        "items": {"type": "string", "minLength": 2},
                        "description": "Some.",
                    },
                    "mode": {"type": "string", "enum": ["A", "B"], "default": "A", "description": "Which."},
                },
            }
        }
    }
    crd = {"spec": {"group": "g.io", "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}
    text = page("Thing", crd)
    assert "- count is a\\|b" in text
    assert "| `count` | integer | required | 1 to 9 | How many. |" in text
    assert "| `words` | list of string |  | at most 3 entries; at least 2 characters | Some. |" in text
    assert '| `mode` | string | `"A"` | `A`, `B` | Which. |' in text
