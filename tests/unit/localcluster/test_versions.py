"""The key of a build: the same for the same inputs, another one for any difference."""

import pytest

from localcluster import versions
from localcluster.versions import build_key, go_directive, parse_go_version

INPUTS = {"kube/go.mod": b"module a", "kube/main.go": b"package main"}


def test_the_key_is_stable_and_does_not_depend_on_the_order_of_files() -> None:
    assert build_key(INPUTS, "x86_64") == build_key(dict(reversed(INPUTS.items())), "x86_64")


@pytest.mark.parametrize(
    "changed",
    [
        {**INPUTS, "kube/main.go": b"package main "},
        {**INPUTS, "kube/go.sum": b""},
        {"kube/go.mod": b"package main", "kube/main.go": b"module a"},
        {"kube/go.mod": b"module a"},
        {"kube/go.mod": b"module a", "kube/other.go": b"package main"},
    ],
)
def test_any_change_of_the_inputs_changes_the_key(changed: dict[str, bytes]) -> None:
    assert build_key(changed, "x86_64") != build_key(INPUTS, "x86_64")


def test_architectures_do_not_share_a_build() -> None:
    assert build_key(INPUTS, "x86_64") != build_key(INPUTS, "aarch64")


def test_the_recipe_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build_key(INPUTS, "x86_64")
    monkeypatch.setattr(versions, "BUILD_RECIPE", versions.BUILD_RECIPE + 1)
    assert build_key(INPUTS, "x86_64") != before


def test_the_key_names_the_version_and_is_a_plain_file_name() -> None:
    key = build_key(versions.build_inputs())
    assert key.startswith(f"{versions.KUBERNETES}-")
    assert "/" not in key


def test_the_pinned_go_wheel_is_new_enough_for_the_modules() -> None:
    for module in (versions.KUBE_MODULE, versions.RUNC_MODULE, versions.METRICS_MODULE):
        assert parse_go_version(versions.GO_WHEEL) >= go_directive((module / "go.mod").read_text())


def test_the_versions_said_are_the_versions_in_the_modules() -> None:
    kube = (versions.KUBE_MODULE / "go.mod").read_text()
    for module, version in (
        ("k8s.io/kubernetes", versions.KUBERNETES),
        ("github.com/containerd/containerd/v2", versions.CONTAINERD),
        ("helm.sh/helm/v4", versions.HELM),
    ):
        assert f"\t{module} {version}\n" in kube
    assert f"github.com/opencontainers/runc {versions.RUNC} " in (versions.RUNC_MODULE / "go.mod").read_text()
    metrics = (versions.METRICS_MODULE / "go.mod").read_text()
    assert f"sigs.k8s.io/metrics-server {versions.METRICS_SERVER} " in metrics


def test_metrics_server_speaks_the_api_of_the_cluster_that_it_serves() -> None:
    minor = versions.KUBERNETES.split(".")[1]
    assert f"k8s.io/apiserver v0.{minor}." in (versions.METRICS_MODULE / "go.mod").read_text()


def test_a_build_of_metrics_server_is_apart_from_the_cluster_s() -> None:
    assert versions.metrics_key("x86_64") != versions.metrics_key("aarch64")
    assert versions.METRICS_SERVER in versions.metrics_key()
    assert not any(name.startswith("metrics/") for name in versions.build_inputs())


@pytest.mark.parametrize(
    ("older", "newer"),
    [("go1.25.9", "go1.26.0"), ("go1.26.3", "go1.26.10"), ("go1.26rc1", "go1.26.0"), ("1.26.0", "go1.26.1")],
)
def test_go_versions_are_compared_as_numbers(older: str, newer: str) -> None:
    assert parse_go_version(older) < parse_go_version(newer)


def test_vendor_suffixes_of_go_versions_do_not_count() -> None:
    assert parse_go_version("go1.26.8 X:nocoverageredesign")[:2] == (1, 26)


def test_a_module_without_go_directive_is_refused() -> None:
    with pytest.raises(ValueError, match="go directive"):
        go_directive("module x\n")
