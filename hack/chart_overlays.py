"""The kustomize overlays and the tests' snapshots, rendered from the chart: ``python hack/chart_overlays.py``.

It needs helm, which is built from its Go module at the first use, so ``make verify`` does not do it: a test demands
that the stored ones are what the chart renders (``tests/apiserver/test_chart.py``).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from generate import to_yaml
from localcluster.build import Build, Builder
from localcluster.progress import Progress

ROOT: Final = Path(__file__).resolve().parent.parent
CHART: Final = ROOT / "charts" / "kubernaut"
OVERLAYS: Final = ("minimal", "ha", "namespaced")
#: what goes beside each of them, from one template
MONITORING: Final = "monitoring"
#: cases that are no overlay
SNAPSHOTS: Final = ("default", "everything", "cloudnativepg")
NAMESPACE: Final = "kubernaut-system"
RELEASE: Final = "kubernaut"
# What only says that Helm put something there.
_OF_HELM: Final = ("app.kubernetes.io/managed-by", "helm.sh/")
_NOTE: Final = "# Rendered from charts/kubernaut by hack/chart_overlays.py; change it there.\n"

Manifest = dict[str, Any]


def helm() -> Path:
    """Return the helm of the local build; it is made where it is missing."""
    build = Build.current()
    Builder(build, Progress()).make(("helm",))
    return build.bin / "helm"


def values_of(name: str) -> Path:
    """Return the file with the values of an overlay or of a case of the tests."""
    return CHART / "ci" / f"{name}-values.yaml"


def template(program: Path, *arguments: str, namespace: str = NAMESPACE) -> list[Manifest]:
    """Render the chart.

    Raises:
        subprocess.CalledProcessError: values were refused; stderr says which and why.
    """
    command = [str(program), "template", RELEASE, str(CHART), "--namespace", namespace, *arguments]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def is_hook(manifest: Manifest) -> bool:
    """Whether Helm makes it at some event only, and it is no part of what is installed."""
    return "helm.sh/hook" in (manifest["metadata"].get("annotations") or {})


def plain(manifest: Manifest) -> Manifest:
    """Return an object without what only says that Helm put it there."""
    metadata = dict(manifest["metadata"])
    for field in ("labels", "annotations"):
        kept = {
            key: text
            for key, text in (metadata.pop(field, None) or {}).items()
            if not key.startswith(_OF_HELM)
        }
        if kept:
            metadata[field] = kept
    return {**manifest, "metadata": metadata}


def rendered(program: Path, name: str) -> list[Manifest]:
    """Return what is installed with the values of an overlay or a case, without CRDs: these are ``crds/``."""
    arguments = ("--values", str(values_of(name)), "--set", "crds.enabled=false")
    return [plain(manifest) for manifest in template(program, *arguments) if not is_hook(manifest)]


def monitoring(program: Path) -> list[Manifest]:
    """Return what has an overlay scraped, alerted on and shown; it is the same for all of them."""
    shown = ("--values", str(values_of(MONITORING)), "--show-only", f"templates/{MONITORING}.yaml")
    return [plain(manifest) for manifest in template(program, *shown)]


def overlay(program: Path, name: str) -> list[Manifest]:
    """Return the objects of an overlay, with its namespace."""
    namespace = yaml.safe_load((ROOT / "manifests" / "base" / "namespace.yaml").read_text())
    return [namespace, *rendered(program, name)]


def files(program: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file that is rendered, and its text."""
    found = {ROOT / "manifests" / name / "install.yaml": overlay(program, name) for name in OVERLAYS}
    found[ROOT / "manifests" / MONITORING / "install.yaml"] = monitoring(program)
    for name in SNAPSHOTS:
        found[ROOT / "tests" / "golden" / "chart" / f"{name}.yaml"] = rendered(program, name)
    for path, manifests in found.items():
        yield path, _NOTE + to_yaml(manifests).split("\n", 1)[1]


def main() -> None:
    """Write the files."""
    for path, text in files(helm()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
