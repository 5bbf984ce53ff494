"""Names that follow from what an object is for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.core.naming import MAX_NAME, child_run

# RFC 1123 subdomain, as k8s.io/apimachinery's IsDNS1123Subdomain has it.
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
RUNS = st.from_regex(SUBDOMAIN, fullmatch=True).filter(lambda name: len(name) <= MAX_NAME)
PATHS = st.from_regex(re.compile(r"[a-z]([-a-z0-9/]*[a-z0-9])?"), fullmatch=True).filter(
    lambda path: len(path) <= 253
)


def test_it_tells_run_step_and_attempt() -> None:
    name = child_run("shop-x7", "uid-1", "each/0/restart", 2)
    assert re.fullmatch(r"shop-x7-each-0-restart-2-[0-9a-f]{10}", name)
    assert child_run("shop-x7", "uid-1", "each/0/restart", 2) == name


@pytest.mark.parametrize(
    "other",
    [
        ("shop-x7", "uid-2", "each/0/restart", 2),
        ("shop-x7", "uid-1", "each-0/restart", 2),
        ("shop-x7", "uid-1", "each/0/restart", 3),
    ],
)
def test_another_run_of_that_name_another_step_or_attempt_gives_another_name(
    other: tuple[str, str, str, int],
) -> None:
    assert child_run(*other) != child_run("shop-x7", "uid-1", "each/0/restart", 2)


@given(run=RUNS, step=PATHS, attempt=st.integers(1, 1000))
def test_it_is_always_a_name_the_api_server_takes(run: str, step: str, attempt: int) -> None:
    name = child_run(run, "uid", step, attempt)
    assert len(name) <= MAX_NAME
    assert SUBDOMAIN.fullmatch(name)


def test_long_names_that_differ_in_what_is_cut_stay_different() -> None:
    run, step = "r" * MAX_NAME, "s" * 250
    assert child_run(run, "uid", step + "a", 1) != child_run(run, "uid", step + "b", 1)
    assert child_run(run, "uid", step, 1) != child_run(run, "other", step, 1)
