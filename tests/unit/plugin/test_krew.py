"""The krew manifest keeps the rules of krew and of its index, and what breaks one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from plugin.archives import PLATFORMS, Archive
from plugin.cli import version
from plugin.krew import faults, manifest, to_yaml


def made() -> dict[str, Any]:
    archives = [Archive(one, Path(f"kubectl-kubernaut-{one.name}.tar.gz"), "a" * 64) for one in PLATFORMS]
    return manifest(archives, version(), "https://releases.example.com")


def test_the_manifest_is_as_krew_wants_it_and_reads_the_same_from_its_file() -> None:
    document = made()
    assert list(faults(document)) == []
    assert yaml.safe_load(to_yaml(document)) == document
    assert [one["uri"] for one in document["spec"]["platforms"]] == [
        f"https://releases.example.com/v{version()}/kubectl-kubernaut-{one.name}.tar.gz" for one in PLATFORMS
    ]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("apiVersion", "v1", "apiVersion"),
        ("kind", "Pod", "kind"),
        ("metadata.name", "kubectl-kubernaut", "no plugin's name"),
        ("spec.version", "0.1.0", "semantic version"),
        ("spec.version", "v0.1", "semantic version"),
        ("spec.version", "v01.0.0", "semantic version"),
        ("spec.shortDescription", "A kubectl plugin", "without kubectl"),
        ("spec.shortDescription", "x" * 51, "up to 50"),
        ("spec.homepage", "", "homepage"),
        ("spec.license", "Apache-2.0", "unknown fields"),
        ("spec.platforms", [], "empty"),
        ("spec.platforms.0.selector.matchLabels.arch", "x86_64", "no platform"),
        ("spec.platforms.0.selector.matchLabels.arch", "arm64", "same platform"),
        ("spec.platforms.0.uri", "http://example.com/a.tar.gz", "https"),
        ("spec.platforms.0.uri", "https://example.com/a.tar.xz", "https"),
        ("spec.platforms.0.sha256", "abc", "no sum"),
        ("spec.platforms.0.bin", "../sh", "within the archive"),
        ("spec.platforms.0.files.0.to", "", "without from or to"),
        ("spec.platforms.0.url", "x", "unknown fields"),
    ],
)
def test_what_krew_would_refuse_is_told(path: str, value: Any, told: str) -> None:
    document = made()
    *above, last = path.split(".")
    place: Any = document
    for name in above:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    assert any(told in fault for fault in faults(document)), list(faults(document))
