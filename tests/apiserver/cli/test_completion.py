"""What the shell offers at the prompt: names of Workflows, runs and steps as the cluster has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apiserver.cli.space import RUNNING, Space

_COMMAND = "import sys; sys.argv[0] = 'kubernaut'; from kubernaut.cli import main; sys.exit(main())"


def offered(words: str, **environment: str) -> list[str]:
    """Return what bash would offer for the last word of a command line."""
    asked = {
        "_KUBERNAUT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND],
        env={**os.environ, **asked, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_names_are_offered_as_far_as_they_are_typed(space: Space) -> None:
    space.started("one", RUNNING)
    space.started("other")
    at = f"-n {space.namespace}"
    assert offered(f"kubernaut run {at} cr") == ["crash-loop"]
    assert offered(f"kubernaut revisions {at} ") == ["crash-loop"]
    assert offered(f"kubernaut watch {at} o") == ["one", "other"]
    assert offered(f"kubernaut approve {at} one d") == ["diagnose"]


def test_without_kubectl_they_are_asked_for_by_ourselves(space: Space) -> None:
    space.started("one", RUNNING)
    at = f"-n {space.namespace}"
    assert offered(f"kubernaut run {at} cr", PATH="/nowhere") == ["crash-loop"]
    assert offered(f"kubernaut approve {at} one d", PATH="/nowhere") == ["diagnose"]


@pytest.mark.parametrize("words", ["kubernaut watch o", "kubernaut approve one d", "kubernaut run c"])
def test_without_a_cluster_nothing_is_offered_and_nothing_is_complained_of(
    tmp_path: Path, words: str
) -> None:
    assert offered(words, KUBECONFIG=str(tmp_path / "none")) == []
