"""Reading what is to be checked."""

from __future__ import annotations

import sys
from pathlib import Path

from kubernaut.cli.errors import CliError


def text_of(source: str) -> str:
    """Return the text of a file, or of stdin for ``-``; raises CliError."""
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise CliError(f"there is no file {source}", "Check the path; - reads from stdin.") from None
    except UnicodeDecodeError as error:
        raise CliError(
            f"{source} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#x}"
        ) from None
    except OSError as error:
        raise CliError(f"can't read {source}: {error.strerror}") from None
