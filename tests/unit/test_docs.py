"""What the documents say is there: links, make targets, tests, commands; and snippets of Workflows compile."""

from __future__ import annotations

import itertools
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.workflow import Workflow, WorkflowSpec
from kubernaut.cli.app import app
from kubernaut.cli.catalogue import actions
from kubernaut.cli.lint.check import check_text
from kubernaut.cluster.levels import levels_of
from kubernaut.core.compiling import compile_plan
from kubernaut.intake.payload import read
from localcluster import versions

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"`(tests/[\w/]+\.py)`|`(test_\w+)`")
CALL = re.compile(r"\$ (?:kubectl )?kubernaut (?!--)(.+)")
PARAMETERS = """
- {name: deployment, required: true}
- {name: replicas, type: integer, default: "2"}
"""


def named(documents: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", documents, ids=lambda path: str(path.relative_to(ROOT)))


def prose(document: Path) -> str:
    """Return a document without its blocks of code."""
    return FENCE.sub("", document.read_text())


def links(document: Path) -> list[tuple[str, str]]:
    """Return path and anchor of each link within the repository; what looks like one within code is none."""
    return LINK.findall(re.sub(r"`[^`\n]*`", "", prose(document)))


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as the forges make them."""
    titles = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@named(DOCUMENTS)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for path, anchor in links(document):
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
            found = [(document.parent / path).resolve() for path, _ in links(document) if path]
            todo.extend(link for link in found if link in DOCUMENTS)
    assert set(DOCUMENTS) - reached <= {ROOT / "CHANGELOG.md"}


@named(DOCUMENTS)
def test_make_targets_that_are_named_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = re.findall(r"`make ((?:-s )?[a-z-]+)", document.read_text())
    code += re.findall(r"^\$? ?make (?:-s )?([a-z-]+)", document.read_text(), re.MULTILINE)
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


@pytest.mark.parametrize(
    ("page", "least"), [("failure-modes", 100), ("upgrade", 12), ("add-an-action", 5)], ids=str
)
def test_each_row_that_names_tests_names_those_of_its_file(page: str, least: int) -> None:
    """A row of the tables names a file and tests in it."""
    rows = [row for row in (ROOT / f"docs/{page}.md").read_text().splitlines() if "`test_" in row]
    assert len(rows) >= least
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


def typed() -> Iterator[tuple[str, str]]:
    """Give each call of our command that stands in a console, with the page it is on."""
    for document in (one for one in DOCUMENTS if one.name != "cli.md"):  # that page is made of the commands
        for language, text in FENCE.findall(document.read_text()):
            lines = text.replace("\\\n", " ").splitlines() if language == "console" else []
            calls = (CALL.match(line) for line in lines)
            yield from ((str(document.relative_to(ROOT)), call[1]) for call in calls if call)


@pytest.mark.parametrize(("where", "call"), list(dict.fromkeys(typed())), ids=lambda value: str(value)[:60])
def test_commands_in_consoles_parse(where: str, call: str) -> None:
    """Up to a pipe, a redirection or a comment; the command itself is not run."""
    words = list(
        itertools.takewhile(lambda word: word not in ("|", "&&", ">", ";"), shlex.split(call, comments=True))
    )
    command: Any = typer.main.get_command(app)
    name, *rest = words
    command.commands[name].make_context(name, rest)


def values_named() -> Iterator[tuple[str, str]]:
    """Give each value of the chart that a page sets, by --set or in YAML of values."""
    for document in DOCUMENTS:
        where, text = str(document.relative_to(ROOT)), document.read_text()
        # Our own command has an option of that name, for a single word.
        for name in re.findall(r"--set '?(\w+(?:\[\d+\])?\.[\w.\[\]]+)=", text):
            yield where, name
        for block in re.findall(r"^ *```yaml\n( *image:\n.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
            yield from ((where, name) for name in leaves(yaml.safe_load(textwrap.dedent(block))))


def leaves(tree: Any, above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield from leaves(value, f"{above}{key}.") if isinstance(value, dict) else [f"{above}{key}"]


def test_values_of_the_chart_that_are_set_exist() -> None:
    known = yaml.safe_load((ROOT / "charts/kubernaut/values.yaml").read_text())
    named = list(values_named())
    assert len(named) > 10
    for where, name in named:
        place: Any = known
        for part in re.sub(r"\[\d+\].*", "", name).split("."):
            assert part in place, f"{where} sets {name}"
            place = place[part]


def test_the_version_that_is_said_to_be_proved_is_the_one_that_tests_run_on() -> None:
    page = (ROOT / "docs/clusters.md").read_text()
    (minor, proved) = re.findall(r"^\| ([\d.]+) \| proved: .* on (v[\d.]+) ", page, re.MULTILINE)[0]
    assert proved == versions.KUBERNETES
    assert proved.startswith(f"v{minor}.")
    about = yaml.safe_load((ROOT / "charts/kubernaut/Chart.yaml").read_text())
    (oldest,) = re.findall(r"^\| ([\d.]+) to [\d.]+ \| expected", page, re.MULTILINE)
    assert about["kubeVersion"].startswith(f">={oldest}.")


def workflows() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for language, text in FENCE.findall(document.read_text()):
            if language == "yaml" and re.search(r"^kind: Workflow$", text, re.MULTILINE):
                yield str(document.relative_to(ROOT)), text


@pytest.mark.parametrize(("where", "text"), list(workflows()), ids=lambda value: str(value)[:40])
def test_workflows_pass_lint(where: str, text: str) -> None:
    report = check_text(text, where, actions())
    assert not report.findings
    assert len(report.checked) == 1


def test_what_the_first_workflow_types_and_is_told_is_of_the_workflow_shown() -> None:
    page = (ROOT / "docs/first-workflow.md").read_text()
    (shown,) = [yaml.safe_load(text) for where, text in workflows() if where == "docs/first-workflow.md"]
    spec = shown["spec"]
    assert f"Save this as `{shown['metadata']['name']}.yaml`" in page
    assert f"kubernaut run {shown['metadata']['name']} -n {shown['metadata']['namespace']} -p" in page
    assert all(f"step {step['name']}: Succeeded  {step['action']}" in page for step in spec["steps"])
    trigger = next(text for language, text in FENCE.findall(page) if text.startswith("triggers:"))
    compile_plan(WorkflowSpec.from_wire(spec | yaml.safe_load(trigger)), ActionRegistry(installed=False))


def test_the_alert_to_try_it_with_fits_the_trigger_of_the_first_workflow() -> None:
    text = (ROOT / "docs/alerts.md").read_text()
    block = re.search(r"^ *```json\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    assert block
    (told,) = read(textwrap.dedent(block[1]).encode()).alerts
    first = (ROOT / "docs/first-workflow.md").read_text()
    (trigger,) = [yaml.safe_load(text) for _, text in FENCE.findall(first) if text.startswith("triggers:")]
    wanted = trigger["triggers"][0]["alert"]["matchLabels"]
    assert told.firing
    assert wanted.items() <= told.labels.items()


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
