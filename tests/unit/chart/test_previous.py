"""The version that upgrades are tried from: that it is one, and what the page of upgrades says it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import previous

ROOT = previous.ROOT
PAGE = (ROOT / "docs" / "upgrade.md").read_text()
TEMPLATES = Path("charts", "kubernaut", "templates")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return previous.unpack(tmp_path_factory.mktemp("before"))


def crd(source: Path, plural: str) -> dict[str, Any]:
    """Return a CRD of a chart without what Helm fills in."""
    text = (source / TEMPLATES / "crds" / f"{plural}.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(re.sub(r"^.*{{.*\n", "", text, flags=re.MULTILINE))
    return found


def fields(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the path of each field of a schema."""
    for name, one in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from fields(one, f"{path}{name}.")
    for nested in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(nested, dict):
            yield from fields(nested, path)


def fields_of(source: Path, plural: str) -> set[str]:
    return set(fields(crd(source, plural)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))


def policies(source: Path) -> set[str]:
    text = (source / TEMPLATES / "policies.yaml").read_text()
    return set(re.findall(r"^  policyName: (\S+)$", text, re.MULTILINE))


def metrics(source: Path) -> set[str]:
    text = (source / "operator" / "kubernaut" / "metrics.py").read_text()
    return set(re.findall(r'"(kubernaut_\w+)"', text))


def values(source: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((source / "charts" / "kubernaut" / "values.yaml").read_text())
    return found


def at(found: Any, path: str) -> Any:
    for name in path.split("."):
        found = found[name]
    return found


def told(about: str) -> set[str]:
    """Return the names in the row of the page's table of differences that begins so."""
    (row,) = re.findall(rf"^\| {about} \| (.*) \|$", PAGE, re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", row))


def test_the_version_before_has_another_number_wherever_one_stands(before: Path) -> None:
    about = yaml.safe_load((before / "charts" / "kubernaut" / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == previous.VERSION
    assert (
        f'__version__ = "{previous.VERSION}"'
        in (before / "operator" / "kubernaut" / "__init__.py").read_text()
    )
    assert previous.COMMIT[:7] in PAGE


@pytest.mark.parametrize("plural", ["workflows", "workflowexecutions"])
def test_the_page_names_fields_of_kinds_that_it_lacks_and_none_of_it_is_missing_today(
    before: Path, plural: str
) -> None:
    here, there = fields_of(ROOT, plural), fields_of(before, plural)
    assert not there - here
    named = told(f"fields of {plural}")
    assert named
    assert named <= here - there


def test_the_page_names_policies_and_metrics_that_it_lacks(before: Path) -> None:
    assert not policies(before) - policies(ROOT)
    assert told("policies") == policies(ROOT) - policies(before)
    assert told("metrics") <= metrics(ROOT) - metrics(before)
    assert told("metrics that had another name") <= metrics(before) - metrics(ROOT)


def test_the_page_names_values_that_it_lacks_or_has_in_another_shape(before: Path) -> None:
    here, there = values(ROOT), values(before)
    assert told("values") == set(here) - set(there)
    for path in told("values of another shape"):
        if path.startswith("postgres."):
            assert at(here, path) != at(there, path)


def test_the_archive_is_small_enough_to_be_kept_in_the_repository() -> None:
    assert previous.ARCHIVE.stat().st_size < 500_000
