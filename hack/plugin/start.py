"""Starts Kubernaut out of an archive; the first argument is the folder of what is made for this Python."""

import os
import sys

own = sys.argv.pop(1)
sys.path += [own, os.path.join(os.path.dirname(own), "any")]
sys.argv[0] = "kubectl-kubernaut"

try:
    from kubernaut.cli import main

    code = main()
except ImportError as error:
    if sys.argv[1:2] == ["__complete"]:
        sys.stdout.write(":4\n")
        sys.exit(0)
    print(f"error: {sys.executable} can't load a library of this archive: {error}", file=sys.stderr)
    print(
        f"This machine is {sys.platform} {os.uname().machine}. Take the archive for it (those for Linux need "
        "glibc), name another Python with KUBERNAUT_PYTHON, or install with `pipx install kubernaut`.",
        file=sys.stderr,
    )
    sys.exit(1)
sys.exit(code)
