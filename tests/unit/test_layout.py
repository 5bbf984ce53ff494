"""The shape of the repository: sizes, layers, what is imported, what must not be in tracked files."""

from __future__ import annotations

import ast
import operator
import re
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES, MEDIAN_LINES, FUNCTION_LINES = 500, 150, 60
ANALYSIS = ("numpy", "scipy", "sklearn", "hdbscan", "pandas")


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def sources(*folders: str) -> list[str]:
    return [name for name in tracked() if name.endswith(".py") and name.split("/")[0] in folders]


def texts() -> Iterator[tuple[str, str]]:
    """Give every tracked file that is text; this one names what it looks for."""
    own = Path(__file__).relative_to(ROOT).as_posix()
    for name in tracked():
        data = (ROOT / name).read_bytes()
        if name != own and b"\0" not in data:
            yield name, data.decode(errors="replace")


def lines(name: str) -> int:
    return len((ROOT / name).read_text().splitlines())


def test_no_module_is_longer_than_the_ceiling() -> None:
    long = {name: lines(name) for name in sources("operator", "hack", "tests") if lines(name) > MODULE_LINES}
    assert not long


def test_the_median_module_of_the_operator_is_short() -> None:
    assert statistics.median(lines(name) for name in sources("operator")) <= MEDIAN_LINES


def test_no_function_is_longer_than_the_ceiling() -> None:
    long = {}
    for name in sources("operator", "hack"):
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION_LINES:
                    long[f"{name}:{node.lineno} {node.name}"] = length
    assert not long


def test_the_folder_operator_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert Path(operator.__file__).is_relative_to(sysconfig.get_path("stdlib"))


def test_layers_are_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache", "--config", "pyproject.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?<![\w.$~<{}-])/(?:home|Users)/(?!me/)[a-z][\w.-]*/",
        r"(?<![\w.$~<{}/-])/root/\w",
    ],
)
def test_no_tracked_file_names_a_home_folder(pattern: str) -> None:
    found = [f"{name}: {match[0]}" for name, text in texts() for match in re.finditer(pattern, text)]
    assert not found


def test_no_tracked_file_names_a_package_registry() -> None:
    hosts = (
        r"pypi\.org|pythonhosted\.org|registry\.npmjs\.org|proxy\.golang\.org|sum\.golang\.org|index-url\s*="
    )
    found = [f"{name}: {match[0]}" for name, text in texts() for match in re.finditer(hosts, text)]
    assert not found
