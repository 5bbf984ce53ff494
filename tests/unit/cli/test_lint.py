"""What lint says: the same as the operator, with file and line, and clear words for what can't be read."""

from __future__ import annotations

import io
import json
import textwrap
from pathlib import Path

import pytest
import yaml

from kubernaut.cli import main

GOOD = """\
apiVersion: kubernaut.io/v1alpha1
kind: Workflow
metadata: {name: crash-loop}
spec:
  serviceAccountName: repair
  parameters:
  - {name: deployment, required: true}
  target: {apiVersion: apps/v1, kind: Deployment, name: "=params.deployment"}
  steps:
  - name: diagnose
    action: collect_diagnostics
  - name: roll-back
    action: rollback_deployment
    dependsOn: [diagnose]
    when: steps.diagnose.outputs.restarts > 3
"""


class Lint:
    """Writes a file, lints it, and keeps what was said."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = folder / "workflow.yaml"
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, text: str, *options: str) -> int:
        self.file.write_text(textwrap.dedent(text))
        code = main(["lint", str(self.file), *options])
        self.out, self.err = self._capsys.readouterr()
        return code

    def finding(self, line: int, *words: str) -> None:
        """Demand a finding at this line with all these words."""
        told = " ".join(self.out.split(f"workflow.yaml:{line}: ", 1)[1].split())
        for word in words:
            assert word in told


@pytest.fixture
def lint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Lint:
    return Lint(tmp_path, capsys)


def test_a_good_workflow_passes(lint: Lint) -> None:
    assert lint(GOOD) == 0
    assert lint.out == "1 Workflow checked, no problems.\n"


def test_an_unknown_action_is_named_with_its_line_and_the_nearest_name(lint: Lint) -> None:
    assert lint(GOOD.replace("rollback_deployment", "rollback_deploymnt")) == 1
    lint.finding(
        13,
        "UnknownAction",
        "Workflow crash-loop: spec.steps[1].action",
        "Did you mean 'rollback_deployment'?",
        "Fix: Name an action listed by `kubernaut actions`.",
    )


def test_a_cycle_is_told_with_its_path(lint: Lint) -> None:
    text = GOOD.replace(
        "    action: collect_diagnostics", "    action: collect_diagnostics\n    dependsOn: [roll-back]"
    )
    assert lint(text) == 1
    lint.finding(9, "Cycle", "diagnose -> roll-back -> diagnose")


def test_cel_that_does_not_compile_is_told_at_its_line(lint: Lint) -> None:
    assert lint(GOOD.replace("outputs.restarts > 3", "outputs.restarts >")) == 1
    lint.finding(15, "InvalidExpression", "spec.steps[1].when", "Syntax error")


def test_cel_of_the_wrong_type_is_told(lint: Lint) -> None:
    assert lint(GOOD.replace("steps.diagnose.outputs.restarts > 3", "\"'yes'\"")) == 1
    lint.finding(15, "InvalidExpression", "STRING", "true or false")


def test_a_parameter_of_the_wrong_type_is_told(lint: Lint) -> None:
    text = GOOD.replace(
        "    when: steps.diagnose.outputs.restarts > 3", "    with:\n      toRevision: newest"
    )
    assert lint(text) == 1
    lint.finding(16, "InvalidParameters", "spec.steps[1].with.toRevision", "rollback_deployment:")


def test_a_misspelt_field_is_told_with_the_right_one(lint: Lint) -> None:
    assert lint(GOOD.replace("dependsOn", "dependOn")) == 1
    lint.finding(14, "InvalidSpec", "spec.steps[1].dependOn", "Did you mean 'dependsOn'?")


def test_a_missing_field_and_a_wrong_value_are_both_told(lint: Lint) -> None:
    text = GOOD.replace("  serviceAccountName: repair\n", "  timeout: soon\n").replace(
        "{name: crash-loop}", "{}"
    )
    assert lint(text) == 1
    lint.finding(3, "metadata.name", "is required")
    lint.finding(4, "spec.serviceAccountName", "is required")
    lint.finding(5, "spec.timeout", "'soon' is not a duration; write whole numbers with units")
    assert "1 Workflow checked, 3 problems." in lint.out


def test_other_kinds_are_skipped_with_a_note(lint: Lint) -> None:
    other = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: repair}\n---\n"
    foreign = "---\napiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: a}\n"
    assert lint(other + GOOD + foreign) == 0
    assert "workflow.yaml:2: v1 ServiceAccount repair is no Workflow of kubernaut.io/v1alpha1" in lint.err
    assert "argoproj.io/v1alpha1 Workflow a is no Workflow" in lint.err


def test_lines_are_right_in_a_later_document_and_in_a_list(lint: Lint) -> None:
    bad = GOOD.replace("rollback_deployment", "nothing_like_it")
    assert lint(f"{GOOD}---\n{bad}") == 1
    lint.finding(16 + 13, "UnknownAction")
    listed = "apiVersion: v1\nkind: List\nitems:\n-\n" + textwrap.indent(bad, "  ")
    assert lint(listed) == 1
    lint.finding(4 + 13, "UnknownAction")


def test_a_key_set_twice_is_refused_as_the_api_server_does(lint: Lint) -> None:
    text = GOOD.replace("    dependsOn: [diagnose]", "    action: notify_only")
    assert lint(text) == 1
    lint.finding(14, "NotYaml", "key 'action' is set twice")


def test_bad_yaml_is_told_with_its_line(lint: Lint) -> None:
    assert lint("apiVersion: kubernaut.io/v1alpha1\nkind: [Workflow\nmetadata: {}\n") == 1
    lint.finding(3, "NotYaml", "this is not YAML")


def test_a_character_that_yaml_does_not_allow_is_told_with_its_line(lint: Lint) -> None:
    assert lint("a: b\nc: \x07") == 1
    lint.finding(2, "NotYaml", "U+0007 is not allowed")


def test_json_may_be_indented_with_tabs(lint: Lint) -> None:
    text = json.dumps(yaml.safe_load(GOOD), indent="\t")
    assert lint(text) == 0
    assert lint(text.replace("collect_diagnostics", "collect_nothing")) == 1
    lint.finding(text[: text.index("collect_diagnostics")].count("\n") + 1, "UnknownAction")
    assert lint(text[:-1]) == 1


def test_a_template_is_recognized(lint: Lint) -> None:
    assert lint("{{- if .Values.on }}\nkind: Workflow\n{{- end }}\n") == 1
    lint.finding(1, "NotYaml", "render it first", "helm template")


@pytest.mark.parametrize("text", ["", "\n---\n# nothing\n"])
def test_an_empty_file_is_told(lint: Lint, text: str) -> None:
    assert lint(text) == 1
    lint.finding(1, "Empty", "the file holds no object.")


@pytest.mark.parametrize("text", ["just text\n", "- a\n- b\n", "kind: Workflow\n", "spec: {}\n"])
def test_what_is_no_object_is_told(lint: Lint, text: str) -> None:
    assert lint(text) == 1
    assert "apiVersion and kind" in lint.out


def test_checking_nothing_is_no_success(lint: Lint) -> None:
    assert lint("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n") == 1
    assert "No Workflow was found, so nothing was checked." in lint.out


def test_metadata_that_is_no_object_is_told(lint: Lint) -> None:
    assert lint(GOOD.replace("{name: crash-loop}", "crash-loop")) == 1
    lint.finding(3, "InvalidSpec", "metadata")


def test_programs_get_json(lint: Lint) -> None:
    assert lint(GOOD.replace("rollback_deployment", "nope"), "-o", "json") == 1
    told = json.loads(lint.out)
    assert told["checked"] == ["Workflow crash-loop"]
    assert told["problems"][0]["line"] == 13
    assert told["problems"][0]["reason"] == "UnknownAction"


def test_a_missing_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(tmp_path / "none.yaml")]) == 1
    assert f"there is no file {tmp_path / 'none.yaml'}" in capsys.readouterr().err


def test_a_file_that_is_no_text_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "image.yaml"
    file.write_bytes(b"kind: \xff\xfe")
    assert main(["lint", str(file)]) == 1
    assert "is not UTF-8 text" in capsys.readouterr().err


def test_stdin_and_folders_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("not read")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert main(["lint", str(tmp_path), "-"]) == 0
    assert "2 Workflows checked, no problems." in capsys.readouterr().out


def test_markup_and_escapes_in_a_workflow_are_shown_as_they_are(lint: Lint) -> None:
    assert lint(GOOD.replace("rollback_deployment", '"[red]\\e[2Jx"')) == 1
    assert "[red]\\x1b[2Jx" in lint.out
    assert "\x1b" not in lint.out


@pytest.mark.parametrize(
    ("life", "told"),
    [
        ("Draft", "Draft: only dry runs start."),
        ("Deprecated", "Deprecated: only runs that a person or another run starts."),
    ],
)
def test_what_is_not_active_is_told_with_its_line_and_is_no_problem(lint: Lint, life: str, told: str) -> None:
    text = GOOD.replace("  parameters:", f"  lifecycle: {life}\n  parameters:")
    assert lint(text) == 0
    assert f"workflow.yaml:6: Workflow crash-loop is {told}" in lint.err
    assert lint(text, "-o", "json") == 0
    assert told.rstrip(".") in json.loads(lint.out)["notes"][0]
    assert lint(GOOD.replace("  parameters:", "  lifecycle: Active\n  parameters:")) == 0
    assert "lifecycle" not in lint.err
    assert "only" not in lint.err


def test_guards_that_can_not_work_are_told_at_their_line(lint: Lint) -> None:
    guards = "  guards:\n    changeWindows:\n    - {name: w, timeZone: Mars/Olympus}\n  steps:"
    assert lint(GOOD.replace("  steps:", guards, 1)) == 1
    lint.finding(
        11, "InvalidSpec", "spec.guards.changeWindows[0].timeZone", "there is no time zone 'Mars/Olympus'"
    )


def test_guards_of_the_cluster_are_checked_in_their_config_map(lint: Lint) -> None:
    text = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: kubernaut-switch}
data:
  feature.eta: "off"
  guards.cluster: |
    cooldown: 10m
  guards.namespace.shop: |
    coolDown: 10m
"""
    assert lint(text) == 1
    lint.finding(8, "GuardsInvalid", "guards.namespace.shop", "coolDown")
    assert lint(text.replace("coolDown", "cooldown")) == 0


def test_what_pausing_a_sync_needs_is_told_and_where_it_is_declared_in_vain(lint: Lint) -> None:
    def guarded(text: str) -> str:
        return GOOD.replace("  parameters:", f"  guards: {{{text}}}\n  parameters:")

    assert lint(guarded("gitOps: PauseSync")) == 0
    assert "PauseSync needs get and patch on the Application" in lint.err
    assert lint(guarded("pauseSync: {expiresAfter: 5m}")) == 0
    assert "pauseSync does nothing unless gitOps" in lint.err
    assert lint(guarded("gitOps: Refuse")) == 0
    assert "PauseSync" not in lint.err


def test_what_is_nested_too_deeply_to_be_read_is_told(lint: Lint) -> None:
    assert lint("a: " + "[" * 3000) == 1
    lint.finding(1, "NotYaml", "it is nested too deeply")


def test_a_letter_that_kubectl_takes_for_a_truth_value_is_told(lint: Lint) -> None:
    assert lint(GOOD.replace("name: deployment, required: true", "name: n")) == 1
    lint.finding(7, "spec.parameters[0].name", "valid string", "False")
    assert (
        lint(
            GOOD.replace("name: deployment, required: true", 'name: "n"').replace(
                "params.deployment", "params.n"
            )
        )
        == 0
    )


METRIC = """\
  verify:
    metrics:
    - name: error-rate
      query: {query}
      expect: {expect}
    stabilization: {window}
"""


@pytest.mark.parametrize(
    ("query", "window", "told"),
    [
        ("sum(rate(errors[1m]))", "0s", "looks back 1m, and stabilization is 0s"),
        (
            "max_over_time(sum(rate(errors[1m]))[1h30m:30s])",
            "1h",
            "looks back 1h30m, and stabilization is 1h",
        ),
        ("\"='rate(errors[5m])'\"", "1m", "looks back 5m"),
        ("sum(rate(errors[1m]))", "90s", ""),
        ("up", "0s", ""),
        ("rate(errors[1d12h])", "2h", "looks back 36h, and stabilization is 2h"),
        ("rate(errors[999999999999y])", "0s", "looks back 876000h"),
        ("rate(errors[1q])", "0s", ""),
    ],
)
def test_a_window_that_is_shorter_than_what_a_metric_looks_back_is_told_and_is_no_problem(
    lint: Lint, query: str, window: str, told: str
) -> None:
    assert lint(GOOD + METRIC.format(query=query, expect="value < 5.0", window=window)) == 0, lint.out
    assert (f"metric error-rate {told}" in lint.err) if told else ("looks back" not in lint.err)


def test_a_metric_that_does_not_compile_is_named_with_its_line(lint: Lint) -> None:
    assert lint(GOOD + METRIC.format(query="up", expect="value * 2 < 5", window="1m")) == 1
    assert "workflow.yaml:20" in lint.out
    assert "spec.verify.metrics[0].expect" in lint.out
    assert "write 5.0 for 5" in lint.out


ROUND = """\
apiVersion: kubernaut.io/v1alpha1
kind: Workflow
metadata: {name: round}
spec:
  serviceAccountName: repair
  target: {apiVersion: apps/v1, kind: Deployment, name: web}
  steps:
  - name: each
    resources: [{name: restarts, amount: 2}]
    forEach: {items: [a, b], template: one}
  templates:
  - name: one
    steps:
    - name: either
      switch: {cases: [{name: always, when: "true", template: two}]}
  - name: two
    steps:
    - name: again
      action: restart_deployment
      resources: [{name: RESOURCE, amount: 1}]
"""


@pytest.mark.parametrize(("resource", "told"), [("restarts", True), ("drains", False)])
def test_a_step_that_waits_for_what_a_group_around_it_holds_is_told_and_is_no_problem(
    lint: Lint, resource: str, told: bool
) -> None:
    assert lint(ROUND.replace("RESOURCE", resource)) == 0, lint.out
    assert ("workflow.yaml:9: Workflow round: step each holds 2 of restarts" in lint.err) is told
    assert ("again in it waits for more: with less than 3" in lint.err) is told
