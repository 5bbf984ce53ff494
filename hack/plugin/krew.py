"""The krew manifest, and the rules of krew's index that it has to keep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import yaml

from plugin.archives import LAUNCHER, Archive

#: where a release puts its archives, unless told
RELEASES: Final = "https://git.example.com/platform/kubernaut/releases/download"
HOMEPAGE: Final = "https://git.example.com/platform/kubernaut"
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VERSION: Final = re.compile(
    r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
)
_SUM: Final = re.compile(r"[a-f0-9]{64}")
_SUPPORTED: Final = {
    (system, arch) for system in ("linux", "darwin", "windows") for arch in ("amd64", "386", "arm", "arm64")
}
_SHORT: Final = 50

_DESCRIPTION: Final = """\
Starts runs of declared repairs, shows what they did and on what evidence they were
judged, approves, cancels and simulates them, checks Workflows without a cluster, and
stops all acting in the cluster within two seconds.
"""
_CAVEATS: Final = """\
Python 3.11 or newer has to be on the PATH. What the plugin shows needs Kubernaut in the
cluster; `kubectl kubernaut lint` does not. To complete names at the prompt:
  kubectl kubernaut completion kubectl > ~/.local/bin/kubectl_complete-kubernaut
  chmod +x ~/.local/bin/kubectl_complete-kubernaut
"""


def manifest(
    archives: Sequence[Archive], version: str, releases: str = RELEASES, homepage: str = HOMEPAGE
) -> dict[str, Any]:
    """Return the manifest that names these archives, as published below ``releases``."""
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "kubernaut"},
        "spec": {
            "version": f"v{version}",
            "homepage": homepage,
            "shortDescription": "Repair workloads by declared workflows",
            "description": _DESCRIPTION,
            "caveats": _CAVEATS,
            "platforms": [
                {
                    "selector": {"matchLabels": {"os": one.platform.os, "arch": one.platform.arch}},
                    "uri": f"{releases}/v{version}/{one.path.name}",
                    "sha256": one.sha256,
                    "files": [{"from": "*", "to": "."}],
                    "bin": LAUNCHER,
                }
                for one in archives
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def to_yaml(document: dict[str, Any]) -> str:
    """Return the manifest as YAML, texts of several lines as such."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=200)


def faults(document: dict[str, Any]) -> Iterator[str]:
    """Tell what krew, or the checks of its index, would refuse."""
    if document.get("apiVersion") != "krew.googlecontainertools.github.com/v1alpha2":
        yield "apiVersion is not krew's"
    if document.get("kind") != "Plugin":
        yield "kind is not Plugin"
    spec = document.get("spec", {})
    name = document.get("metadata", {}).get("name", "")
    if not _NAME.fullmatch(name) or name.startswith("kubectl-"):
        yield f"metadata.name {name!r} is no plugin's name"
    if not _VERSION.fullmatch(spec.get("version", "")):
        yield f"spec.version {spec.get('version')!r} is not v and a semantic version"
    short = spec.get("shortDescription", "")
    if not short or len(short) > _SHORT or short.endswith(".") or "kubectl" in short.lower():
        yield f"spec.shortDescription has to be up to {_SHORT} characters, without kubectl and full stop"
    for field in ("homepage", "description"):
        if not spec.get(field):
            yield f"spec.{field} is missing"
    unknown = set(spec) - {
        "version",
        "homepage",
        "shortDescription",
        "description",
        "caveats",
        "platforms",
    }
    if unknown:
        yield f"spec has unknown fields: {', '.join(sorted(unknown))}"
    if not spec.get("platforms"):
        yield "spec.platforms is empty"
    yield from _platforms(spec.get("platforms", []))


def _platforms(platforms: Sequence[dict[str, Any]]) -> Iterator[str]:
    seen = set()
    for place, one in enumerate(platforms):
        where = f"spec.platforms[{place}]"
        labels = one.get("selector", {}).get("matchLabels", {})
        which = (labels.get("os"), labels.get("arch"))
        if which not in _SUPPORTED or set(labels) != {"os", "arch"}:
            yield f"{where} is for no platform that krew knows: {labels}"
        if which in seen:
            yield f"{where} is for the same platform as one before it"
        seen.add(which)
        if not re.fullmatch(r"https://\S+\.(zip|tar\.gz)", one.get("uri", "")):
            yield f"{where}.uri is no https address of a .zip or .tar.gz"
        if not _SUM.fullmatch(one.get("sha256", "")):
            yield f"{where}.sha256 is no sum"
        if not one.get("bin") or one["bin"].startswith(("/", "..")):
            yield f"{where}.bin has to be a path within the archive"
        if any(not file.get("from") or not file.get("to") for file in one.get("files", [{}])):
            yield f"{where}.files has an entry without from or to"
        if unknown := set(one) - {"selector", "uri", "sha256", "files", "bin"}:
            yield f"{where} has unknown fields: {', '.join(sorted(unknown))}"
