"""Which revision is meant, how two contents become a patch, and how revisions are numbered."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.api.workflow import Workflow, WorkflowSpec
from kubernaut.cli.errors import CliError
from kubernaut.cli.revising import Kept, chosen, listed, merge_patch
from kubernaut.cli.revisions import whole
from kubernaut.core.content import content_hash
from unit.cli.samples import SPEC


def applied(value: Any, patch: Any) -> Any:
    """Apply a JSON merge patch as RFC 7386 says."""
    if not isinstance(patch, dict):
        return patch
    made = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            made.pop(key, None)
        else:
            made[key] = applied(made.get(key), change)
    return made


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3, "d": 4}}),
        ({"a": [1, 2]}, {"a": [2]}),
        ({"a": [1]}, {"a": {"b": {"c": 1}}}),
        ({"a": {"b": 1}}, {"a": "text"}),
        ({}, {"a": {"b": {}}}),
    ],
)
def test_a_patch_makes_the_new_of_the_old_and_nothing_else(old: Any, new: Any) -> None:
    assert applied(old, merge_patch(old, new)) == new
    assert merge_patch(new, new) == {}


def kept(number: int | None, content: str, current: bool = False) -> Kept:
    return Kept(number, content, f"wf-{content[:10]}", None, {}, current=current)


FOUND = [kept(12, "abcd1", True), kept(3, "12aaaa"), kept(None, "abcd2")]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        *(("12", "abcd1"), ("3", "12aaaa"), ("12aa", "12aaaa"), ("abcd2", "abcd2"), ("wf-abcd2", "abcd2")),
        *(("latest", "abcd1"), ("Current", "abcd1"), (" 3 ", "12aaaa")),
    ],
)
def test_a_revision_is_named_by_number_hash_snapshot_or_latest(text: str, content: str) -> None:
    assert chosen(FOUND, text, "wf").content == content


@pytest.mark.parametrize(
    ("text", "told"),
    [("abcd", "several revisions"), ("", "no revision"), ("None", "no revision"), ("12a", "no revision")],
)
def test_what_names_none_or_several_is_refused(text: str, told: str) -> None:
    with pytest.raises(CliError, match=told):
        chosen(FOUND, text, "wf")


def revision(content: dict[str, Any], generation: int) -> dict[str, Any]:
    digest = content_hash(WorkflowSpec.model_validate(content))
    meta = {"name": f"wf-{digest[:10]}", "creationTimestamp": "2026-03-01T12:00:00Z"}
    return {"metadata": meta, "data": content, "revision": generation}


def test_the_workflows_own_numbers_count_and_generations_only_where_there_are_none() -> None:
    old = {**SPEC, "version": "1"}
    found = [revision(old, 3), revision(SPEC, 9)]
    meta = {"name": "wf", "namespace": "shop"}
    young = Workflow.model_validate({"metadata": meta, "spec": SPEC})
    assert [(one.number, one.current, one.known) for one in listed(young, found, [])] == [
        (9, True, False),
        (3, False, False),
    ]
    digest = content_hash(young.spec)
    entry = {"snapshot": f"wf-{digest[:10]}", "contentHash": digest, "revision": 2}
    numbered = Workflow.model_validate({"metadata": meta, "spec": SPEC, "status": {"revisions": [entry]}})
    assert [(one.number, one.current, one.known) for one in listed(numbered, found, [])] == [
        (2, True, True),
        (None, False, False),
    ]


def test_a_content_with_fields_of_a_later_version_is_not_whole_to_this_one() -> None:
    assert whole(SPEC)
    assert whole(WorkflowSpec.model_validate(SPEC).wire())
    assert not whole({**SPEC, "mood": "hopeful"})
    assert not whole({**SPEC, "steps": [{**SPEC["steps"][0], "mood": "hopeful"}]})
