"""Arguments that can't be right are refused before anything is asked of a cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kubernaut.cli import main


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNAUT_DSN", raising=False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run"], "Missing argument 'WORKFLOW'"),
        (["rnu", "x"], "No such command 'rnu'"),
        (["run", "x", "--nope"], "No such option: --nope"),
        (["run", "x", "--timeout", "soon", "--wait"], "'soon' is not a duration"),
        (["run", "x", "--timeout", "5m"], "--timeout needs --watch or --wait"),
        (["run", "x", "--watch", "-o", "json"], "--watch can't be combined with -o json"),
        (["status", "--phase", "Gone"], "there is no phase 'Gone'"),
        (["status", "x", "-A"], "don't go together"),
        (["status", "x", "--phase", "Failed"], "don't go together"),
        (["status", "x", "--live"], "don't go together"),
        (["status", "-o", "xml"], "'xml' is not one of"),
        (["remedy", "x"], "Missing argument 'STEP'"),
        (["revisions", "x", "--show", "1", "--diff", "2"], "--show and --diff don't go together"),
        (["revisions", "x", "1"], "needs --diff"),
        (["revisions", "x", "--diff", "1", "-o", "json"], "--diff can't be combined with -o json"),
        (["rollback", "x"], "Missing option '--to'"),
        (["migrate", "x", "--to", "1", "--timeout", "soon"], "'soon' is not a duration"),
        (["remedy", "x", "y", "mend"], "there is no remedy 'mend'"),
        (["retry", "x", "--timeout", "5m"], "--timeout needs --watch or --wait"),
        (["lint"], "Missing argument"),
        (["rbac"], "which Workflow is not said"),
        (["rbac", "-f", "nowhere.yaml"], "there is no file nowhere.yaml"),
        (["features", "rollback"], "'rollback' is not NAME=VALUE"),
        (["features", "rolback=off"], "there is no feature 'rolback' (did you mean rollback?)"),
        (["features", "rollback=maybe"], "a feature is on or off"),
        (["features", "acting=off"], "Use `kubernaut stop`"),
        (["features", "capacity.node-drain=many"], "'many' is no whole number"),
    ],
)
def test_bad_usage_is_told_and_exits_1(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert told in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        *(["run", "x"], ["watch", "x"], ["status"], ["why", "x"], ["patterns"], ["stop"], ["start"]),
        *(["features"], ["features", "rollback=off", "capacity.node-drain=2"]),
        *(["cancel", "x"], ["approve", "x", "y"], ["approve", "x"], ["retry", "x"]),
        *(["remedy", "x", "y", "skip"], ["revisions", "x"], ["rollback", "x", "--to", "1"]),
        *(["migrate", "x", "--to", "1"], ["rbac", "x"], ["simulate", "x"]),
    ],
)
def test_without_a_cluster_every_command_says_so_and_exits_3(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 3
    err = capsys.readouterr().err
    assert "no cluster is configured" in err
    assert "--kubeconfig" in err


def test_a_cluster_that_does_not_answer_exits_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
        "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "contexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {token: x}}]\n"
    )
    assert main(["status", "--kubeconfig", str(config)]) == 3
    assert "http://127.0.0.1:9" in capsys.readouterr().err
    monkeypatch.setenv("KUBECONFIG", str(config))
    assert main(["status", "--context", "b"]) == 3
    assert "b" in capsys.readouterr().err


def test_help_lists_the_commands_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    for word in ("run", "watch", "status", "why", "patterns", "lint", "stop", "start", "Exit codes:"):
        assert word in out


def test_help_shows_the_name_it_was_called_by(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/kubectl-kubernaut"])
    assert main(["run", "--help"]) == 0
    assert "Usage: kubectl kubernaut run" in capsys.readouterr().out


def test_version_names_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert "kubernaut.io/v1alpha1" in capsys.readouterr().out


def test_help_loads_neither_models_nor_clients_nor_the_drawing_library() -> None:
    code = (
        "import sys; from kubernaut.cli import main; main(['--help'])\n"
        "heavy = {'pydantic', 'rich', 'kubernetes', 'aiohttp', 'asyncpg', 'cel_expr_python', 'yaml', 'kopf'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_lint_loads_no_client_of_a_cluster_or_database(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\n")
    code = (
        f"import sys; from kubernaut.cli import main; main(['lint', {str(file)!r}])\n"
        "heavy = {'kubernetes', 'aiohttp', 'asyncpg', 'kopf'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_command_needs_what_only_the_operator_has() -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        "for name in ('kopf', 'pydantic_settings', 'alembic', 'sqlalchemy', 'pythonjsonlogger', 'uvloop',"
        " 'slack_sdk', 'aiosmtplib'):\n"
        "    sys.modules[name] = None\n"
        "import kubernaut.cli\n"
        "for one in pkgutil.walk_packages(kubernaut.cli.__path__, 'kubernaut.cli.'):\n"
        "    importlib.import_module(one.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
