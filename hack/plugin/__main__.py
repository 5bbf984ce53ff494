"""``python3 hack/plugin``: makes the virtual environment where it is missing, and goes on in it."""

import os
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if entry != str(_HERE))]

import environment  # noqa: E402 - the path has to be right first

if __name__ == "__main__":
    home = environment.venv_path()
    if Path(sys.prefix) != home:
        environment.make(home)
        python = str(home / "bin" / "python")
        os.execv(python, [python, str(_HERE), *sys.argv[1:]])
    from plugin.cli import main

    sys.exit(main())
