"""What the documents say is there: links, make targets, tests, commands; and snippets of Workflows compile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.workflow import Workflow, WorkflowSpec
from kubernaut.cluster.levels import levels_of
from kubernaut.core.compiling import compile_plan

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"`(tests/[\w/]+\.py)`|`(test_\w+)`")
PARAMETERS = """
- {name: deployment, required: true}
- {name: replicas, type: integer, default: "2"}
"""


def named(documents: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", documents, ids=lambda path: str(path.relative_to(ROOT)))


def prose(document: Path) -> str:
    """Return a document without its blocks of code."""
    return FENCE.sub("", document.read_text())


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as the forges make them."""
    titles = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@named(DOCUMENTS)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for path, anchor in LINK.findall(prose(document)):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name} links to {path}, which does not exist"
        assert target.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(target), f"{document.name}: {path} has no heading #{anchor}"


def test_every_document_is_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        document = todo.pop()
        if document not in reached:
            reached.add(document)
            links = [(document.parent / path).resolve() for path, _ in LINK.findall(prose(document)) if path]
            todo.extend(link for link in links if link in DOCUMENTS)
    assert set(DOCUMENTS) - reached <= {ROOT / "CHANGELOG.md"}


@named(DOCUMENTS)
def test_make_targets_that_are_named_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = re.findall(r"`make ((?:-s )?[a-z-]+)", document.read_text())
    code += re.findall(r"^\$? ?make ([a-z-]+)", document.read_text(), re.MULTILINE)
    assert {name.removeprefix("-s ") for name in code} <= targets


@named(DOCUMENTS)
def test_tests_that_are_named_exist(document: Path) -> None:
    for file, name in TEST.findall(document.read_text()):
        if file:
            assert (ROOT / file).is_file(), file
        else:
            assert name in known_tests(), name


def known_tests() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    found = {name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text())}
    return found | {file.stem for file in (ROOT / "tests").rglob("test_*.py")}


def test_each_failure_mode_names_tests_of_the_file_it_names() -> None:
    """A row of the tables names a file and tests in it."""
    rows = [row for row in (ROOT / "docs/failure-modes.md").read_text().splitlines() if "`test_" in row]
    assert len(rows) > 20
    for row in rows:
        files = [ROOT / file for file, _ in TEST.findall(row) if file]
        there = "".join(file.read_text() for file in files)
        for _, name in TEST.findall(row):
            assert not name or f"def {name}(" in there, f"{name} is in none of {files}"


def test_commands_that_are_named_exist() -> None:
    commands = set(re.findall(r"^## `kubernaut ([a-z]+)`", (ROOT / "docs/cli.md").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text()
        said = re.findall(r"(?:`|^\$ )(?:kubectl )?kubernaut ([a-z]+)", text, re.MULTILINE)
        assert set(said) <= commands, document


def snippets() -> Iterator[tuple[str, Any]]:
    for path in ("README.md", "docs/concepts.md", "docs/workflows.md", "docs/guards.md"):
        for language, text in FENCE.findall((ROOT / path).read_text()):
            if language == "yaml":
                yield f"{path}: {text.splitlines()[0]}", yaml.safe_load(text)


@pytest.mark.parametrize(("where", "snippet"), list(snippets()), ids=lambda value: str(value)[:60])
def test_snippets_are_good(where: str, snippet: Any) -> None:
    if isinstance(snippet, list):
        snippet = {"steps": snippet}
    match snippet.get("kind"):
        case "Workflow":
            compile_plan(Workflow.from_wire(snippet).spec, ActionRegistry(installed=False))
        case "WorkflowExecution":
            WorkflowExecution.from_wire(snippet)
        case "ConfigMap":
            assert not [level.problem for level in levels_of(snippet["data"]).values() if level.problem]
        case "Kustomization":
            assert all((ROOT / path.removeprefix("../kubernaut/")).is_dir() for path in snippet["resources"])
        case None:
            target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"}
            base = {
                "serviceAccountName": "kubernaut-repair",
                "target": target,
                "parameters": yaml.safe_load(PARAMETERS),
                "steps": [{"name": "diagnose", "action": "collect_diagnostics"}],
            }
            compile_plan(WorkflowSpec.from_wire(base | snippet), ActionRegistry(installed=False))
        case kind:
            raise AssertionError(f"{where}: nobody checks a {kind}")


def test_the_sample_that_is_shown_is_the_sample() -> None:
    sample = yaml.safe_load((ROOT / "manifests/samples/crash-loop.yaml").read_text())
    assert sample in [snippet for where, snippet in snippets() if where.startswith("docs/concepts.md")]
