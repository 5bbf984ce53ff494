"""The documentation site, made by Sphinx: ``python hack/docsite``; ``docsite.pages`` is an extension of Sphinx."""
