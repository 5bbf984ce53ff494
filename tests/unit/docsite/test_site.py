"""The site is made of pages as a forge shows them, and what leads nowhere is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from docsite.building import HERE

PAGES = {
    "README.md": "# Something\n\nSee [its pages](docs/README.md).\n",
    "docs/README.md": "# Pages\n\n- [Readme](../README.md)\n\n"
    "## Use\n\n- [One](one.md): first\n- [Kinds](kinds/README.md)\n",
    "docs/one.md": "# One\n\n## A heading, here\n\nSee [two](kinds/two.md#more) and [a folder](../code).\n",
    "docs/kinds/README.md": "# Kinds\n\n| kind |\n|---|\n| [Two](two.md) |\n",
    "docs/kinds/two.md": "# Two\n\n## More\n\nBack to [one](../one.md#a-heading-here).\n",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, text in PAGES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "code").mkdir()
    return tmp_path


def built(source: Path, call: str = "build", **environment: str) -> subprocess.CompletedProcess[str]:
    """Build in a process of its own: Sphinx changes what is global in one."""
    out, cache = source / "build" / "site", source / "build" / "cache"
    arguments = f"Path({str(source)!r}), Path({str(cache)!r})"
    if call == "build":
        arguments = f"Path({str(source)!r}), Path({str(out)!r}), Path({str(cache)!r})"
    program = f"from pathlib import Path; from docsite.building import {call}; exit({call}({arguments}))"
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(HERE.parent), **environment}
    return subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False
    )


def test_navigation_is_what_the_indexes_list_and_folders_lead_to_the_forge(source: Path) -> None:
    done = built(source, KUBERNAUT_SOURCE_URL="https://forge.example.com/tree")
    assert done.returncode == 0, done.stderr
    site = source / "build" / "site"
    assert "url=docs/README.html" in (site / "index.html").read_text()
    one = (site / "docs" / "one.html").read_text()
    assert 'href="kinds/two.html#more"' in one
    assert 'href="https://forge.example.com/tree/code"' in one
    navigation = one[one.index('class="sidebar-tree"') :]
    assert 'caption-text">Use<' in navigation
    assert navigation.index("Readme" if "Readme" in navigation else "Something") < navigation.index(">Kinds<")
    assert ">Two<" in navigation


@pytest.mark.parametrize(
    ("page", "text", "told"),
    [
        ("docs/lonely.md", "# Lonely\n", "isn't included in any toctree"),
        ("docs/one.md", "# One\n\n[x](kinds/two.md#less)\n\n## A heading, here\n", "less"),
        ("docs/one.md", "# One\n\n[x](three.md)\n\n## A heading, here\n", "three.md"),
        ("docs/one.md", "# One\n\n[x](../nothing)\n\n## A heading, here\n", "nothing"),
    ],
    ids=["a page that no index names", "an anchor", "a page", "a folder"],
)
def test_what_leads_nowhere_is_an_error(source: Path, page: str, text: str, told: str) -> None:
    (source / page).write_text(text)
    done = built(source, "check")
    assert done.returncode == 1
    assert told in done.stderr
