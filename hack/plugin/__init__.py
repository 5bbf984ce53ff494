"""The kubectl plugin: an archive for each platform, and the krew manifest that names them.

``python3 hack/plugin`` is the command line; ``plugin.archives`` and ``plugin.krew`` are the same for tests.
"""
