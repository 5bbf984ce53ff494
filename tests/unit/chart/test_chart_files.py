"""What the chart says holds together: versions, alerts, runbooks, values, roles; without helm."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart_roles
import chart_values
from generate_observability import alerts
from kubernaut import __version__, metrics
from kubernaut.actions.registry import FAMILIES
from kubernaut.config import Settings
from kubernaut.patterns import telemetry

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "kubernaut"
RUNBOOKS = ROOT / "docs" / "runbooks"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def known_metrics() -> set[str]:
    text = (ROOT / "docs" / "metrics.md").read_text()
    return set(re.findall(r"^\| `(kubernaut_\w+)` \|", text, re.MULTILINE))


def test_the_versions_of_chart_and_code_are_the_same() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == __version__


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_each_alert_has_a_runbook_and_asks_for_what_there_is(alert: dict[str, Any]) -> None:
    page = RUNBOOKS / f"{alert['runbook']}.md"
    assert f"`{alert['alert']}`" in page.read_text()
    asked = set(re.findall(r"kubernaut_\w+", alert["expr"]))
    assert asked
    assert asked <= known_metrics()
    assert alert["severity"] in ("warning", "critical")


def test_no_runbook_asks_for_health_through_the_api_server() -> None:
    # Of an answer of 503, which is the one that counts, `kubectl get --raw` hides what it says.
    pages = [path for path in (ROOT / "docs").rglob("*.md") if "get --raw" in path.read_text()]
    assert pages == []


def test_no_runbook_is_about_an_alert_that_does_not_exist() -> None:
    named = {alert["runbook"] for alert in alerts()}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*named, "README"}


def test_the_page_of_metrics_knows_those_of_both_processes() -> None:
    names = {name for module in (metrics, telemetry) for name in vars(module) if name.isupper()}
    assert len(known_metrics()) > 40
    assert names


@pytest.mark.parametrize("path", ["charts/kubernaut/templates/NOTES.txt", "docs/install.md", "README.md"])
def test_wherever_helm_test_is_told_helm_is_told_to_give_up_its_wait(path: str) -> None:
    typed = re.findall(r"^.*\bhelm test .*$", (ROOT / path).read_text(), re.MULTILINE)
    assert typed
    assert all("--timeout" in line for line in typed if "`helm test`" not in line), typed


def test_nothing_is_a_value_that_is_not_declared() -> None:
    def closed(schema: dict[str, Any], path: str) -> None:
        for name, one in schema.get("properties", {}).items():
            if "properties" in one:
                assert one["additionalProperties"] is False, f"{path}.{name}"
                closed(one, f"{path}.{name}")

    assert SCHEMA["additionalProperties"] is False
    closed(SCHEMA, "")


def test_every_setting_of_the_operator_is_a_value_or_decided_by_others() -> None:
    given = set(SCHEMA["properties"]["operator"]["properties"]["settings"]["properties"])
    for name in Settings.model_fields:
        assert (chart_values.camel(name) in given) is (name not in chart_values.OWNED), name


def test_a_password_or_a_dsn_is_no_setting() -> None:
    given = SCHEMA["properties"]["operator"]["properties"]["settings"]["properties"]
    assert not {"dsn", "proposalsUrl", "encryptionKeys", "kubeconfig"} & set(given)


def test_a_value_without_a_description_is_not_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "values.yaml"
    changed.write_text(chart_values.VALUES.read_text().replace("  # -- When the kubelet pulls.\n", ""))
    monkeypatch.setattr(chart_values, "VALUES", changed)
    with pytest.raises(ValueError, match=r"image\.pullPolicy of values\.yaml has no description"):
        chart_values.schema()


def test_the_roles_of_families_name_no_object_and_have_no_wildcards() -> None:
    families = {family.__name__.rpartition(".")[2] for family in FAMILIES}
    for name, rules in chart_roles.families().items():
        assert name == chart_roles.COMMON or name in families
        for rule in rules:
            assert "resourceNames" not in rule
            assert not {"*", "escalate", "bind", "impersonate"} & {*rule["verbs"], *rule["resources"]}


def test_only_families_that_say_so_may_read_secrets() -> None:
    reading = {
        name
        for name, rules in chart_roles.families().items()
        if any("secrets" in rule["resources"] for rule in rules)
    }
    assert reading == {"configuration"}
