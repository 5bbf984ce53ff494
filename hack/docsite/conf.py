"""Sphinx's configuration: the site is made of the pages that a forge shows, as they are."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "hack"))

project = "Kubernaut"
author = "The Kubernaut authors"
project_copyright = "the Kubernaut authors; Apache License 2.0"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "docsite.pages"]
include_patterns = ["*.md", "docs/**", "charts/kubernaut/README.md"]
exclude_patterns = ["docs/images", "docs/**/*.svg"]
root_doc = "docs/README"

# Anchors as a forge makes them; levels deeper than these have none.
myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_title = f"Kubernaut {version}"
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]
linkcheck_ignore = [r"https?://[^/]*example\.", r"https?://localhost", r"https?://[^/]*\.svc"]
linkcheck_timeout = 20
linkcheck_retries = 2
