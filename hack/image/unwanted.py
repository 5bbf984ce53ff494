"""What of the installed Python distributions does not go into an image, and why.

Standard library only. The Dockerfile runs it as a script, ``unwanted.py FOLDER``, which removes it below a folder.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_PATTERNS = (
    # tests; numpy's own programs need one file from among its tests
    r"(.*/)?tests?/(?!_natype\.py$)",
    r"(sqlalchemy|alembic)/testing/",
    # sources of extension modules, headers, types
    r".*\.(c|cc|cpp|cxx|h|hpp|pyx|pxd|pxi|tp|pyi|pyd|f|f90|a|lib)$",
    r"[^/]*-stubs/",
    # how it was installed, with paths of the machine that did it
    r".*\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json|uv_cache\.json)$",
    r"bin/|\.lock$",
    # classes for every kind of object and every method of the API, generated: 70 MB. Of this package Kubernaut takes
    # how it finds a cluster and its credentials; it sends requests itself. Three are imported on the way there.
    r"kubernetes/(aio/)?client/api/(?!__init__\.py$)",
    r"kubernetes/(aio/)?client/models/(?!__init__\.py$|v1_(managed_fields_entry|owner_reference|object_meta)\.py$)",
    # extensions of CEL that expressions here do not have: 28 MB
    r"cel_expr_python/ext/",
)
_UNWANTED = re.compile("|".join(_PATTERNS))
_COMPILED = re.compile(r"(.*?)__pycache__/([^/]+)\.cpython-\d+\.pyc")


def unwanted(path: str) -> bool:
    """Whether a file, by its path from where it is installed, stays out; bytecode goes where its source goes."""
    if match := _COMPILED.fullmatch(path):
        path = f"{match[1]}{match[2]}.py"
    return "__pycache__/" in path or _UNWANTED.match(path) is not None


def main(folder: Path) -> None:
    """Remove what is unwanted, and folders that are empty then."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif unwanted(path.relative_to(folder).as_posix()):
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
