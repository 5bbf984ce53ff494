"""What makes a site of pages that are written for a forge: navigation out of their lists of links.

A page named README.md below docs/ is an index. What its lists and tables link to is below it in the navigation; in
the first of them a heading of the second level begins a group. A page that no index names is an error, since Sphinx
warns of it.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from docutils import nodes
from sphinx import addnodes

_LINK: Final = re.compile(r"\]\(([^)#:\s]+)\.md\)")
_GROUP: Final = re.compile(r"^## (.+)$")
#: what stands for itself, however else it is linked to
_LISTED: Final = re.compile(r"^(- |\d+\. |\| )")


def index(app: Any, name: str, source: list[str]) -> None:
    """Give an index page the navigation that its lists tell."""
    if name.startswith("docs/") and name.endswith("/README"):
        home = name == app.config.root_doc
        source[0] += "".join(_toctree(group, pages) for group, pages in _groups(source[0], home) if pages)


def _groups(text: str, captions: bool) -> Iterator[tuple[str, list[str]]]:
    group, pages = "", list[str]()
    for line in text.splitlines():
        if captions and (heading := _GROUP.match(line)):
            yield group, pages
            group, pages = heading[1], []
        elif _LISTED.match(line):
            pages += [page for page in _LINK.findall(line)[:1] if page not in pages]
    yield group, pages


def _toctree(group: str, pages: list[str]) -> str:
    caption = f":caption: {group}\n" if group else ""
    return "\n\n```{toctree}\n:hidden:\n" + caption + "\n" + "\n".join(pages) + "\n```\n"


def folders(app: Any, tree: nodes.document) -> None:
    """Have links to folders of the repository lead to its forge, where that is told, else to nowhere."""
    root = Path(app.srcdir)
    for link in list(tree.findall(addnodes.pending_xref)):
        here = posixpath.dirname(link.get("refdoc", ""))
        path = posixpath.normpath(posixpath.join(here, link.get("reftarget", "")))
        if link.get("reftype") == "myst" and not path.startswith("..") and (root / path).is_dir():
            base = os.environ.get("KUBERNAUT_SOURCE_URL", "")
            told = nodes.reference("", "", *link.children, refuri=f"{base}/{path}") if base else None
            link.replace_self(told or link.children)


def landing(app: Any, error: Exception | None) -> None:
    """Have the site's root lead to its first page, which lies where the repository has it."""
    if error is None and app.builder.format == "html":
        there = f"{app.config.root_doc}.html"
        head = f'<meta charset="utf-8"><meta http-equiv="refresh" content="0; url={there}">'
        page = f'<!doctype html><title>Kubernaut</title>{head}<a href="{there}">Kubernaut</a>\n'
        (Path(app.outdir) / "index.html").write_text(page)


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("source-read", index)
    app.connect("doctree-read", folders)
    app.connect("build-finished", landing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
