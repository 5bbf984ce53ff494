"""Label selectors: what they select, and how absent and empty ones differ."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.core.selectors import matches, meets, selects

LABELS = {"app": "web", "tier": "3"}


@pytest.mark.parametrize(
    ("operator", "key", "values", "holds"),
    [
        ("In", "app", ["web", "api"], True),
        ("In", "app", ["api"], False),
        ("In", "none", ["web"], False),
        ("NotIn", "app", ["api"], True),
        ("NotIn", "app", ["web"], False),
        ("NotIn", "none", ["web"], True),
        ("Exists", "app", [], True),
        ("Exists", "none", [], False),
        ("DoesNotExist", "app", [], False),
        ("DoesNotExist", "none", [], True),
        ("Gt", "tier", ["2"], True),
        ("Gt", "tier", ["3"], False),
        ("Lt", "tier", ["4"], True),
        ("Lt", "app", ["4"], False),
        ("Gt", "none", ["2"], False),
        ("Gt", "tier", [], False),
        ("Like", "app", ["web"], False),
    ],
)
def test_a_requirement_is_met_as_the_api_server_says(
    operator: str, key: str, values: list[str], holds: bool
) -> None:
    assert meets({"key": key, "operator": operator, "values": values}, LABELS) is holds


@pytest.mark.parametrize(
    ("selector", "fits", "chosen"),
    [
        (None, False, False),
        ({}, True, False),
        ({"matchLabels": {}}, True, False),
        ({"matchLabels": {"app": "web"}}, True, True),
        ({"matchLabels": {"app": "api"}}, False, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True, True),
        (
            {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}],
            },
            False,
            False,
        ),
    ],
)
def test_an_absent_selector_fits_nothing_and_an_empty_one_all_but_selects_no_workloads_pods(
    selector: dict[str, Any] | None, fits: bool, chosen: bool
) -> None:
    assert matches(selector, LABELS) is fits
    assert selects(selector or {}, LABELS) is chosen
