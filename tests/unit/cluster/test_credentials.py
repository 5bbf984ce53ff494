"""Credentials of a kubeconfig."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kubernaut.cluster.credentials import load_credentials
from kubernaut.core.errors import Unavailable

TOKEN = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}


def kubeconfig(folder: Path, code: str) -> Path:
    """Return a kubeconfig whose user logs in by a program."""
    plugin: dict[str, Any] = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", code],
    }
    path = folder / "config"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "a",
                "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:9"}}],
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                "users": [{"name": "a", "user": {"exec": plugin}}],
            }
        )
    )
    return path


@pytest.mark.parametrize("code", ["raise SystemExit('please log in')", "print('no JSON')", "print('{}')"])
async def test_a_plugin_that_gives_no_credentials_is_told_of_and_nobody_acts_as_anonymous(
    tmp_path: Path, code: str
) -> None:
    with pytest.raises(Unavailable, match="by which the kubeconfig logs in, gave no credentials") as caught:
        await load_credentials(kubeconfig(tmp_path, code))
    assert caught.value.status == 401


async def test_a_plugin_gives_a_token(tmp_path: Path) -> None:
    found = await load_credentials(kubeconfig(tmp_path, f"print({json.dumps(TOKEN)!r})"))
    assert await found.authorization() == "Bearer t"
