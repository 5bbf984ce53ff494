"""What is secret and told by a file, as a mounted Secret has it: read each time it is needed, so rotated at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kubernaut.core.errors import KubernautError

_MOST: Final = 16 * 1024


class SecretUnreadable(KubernautError):
    """A file with a secret can't be used; says which, and never what is in it."""


def secret_in(path: Path, setting: str) -> str:
    """Return what a file holds, without the white space around it.

    Raises:
        SecretUnreadable: it can't be read, is empty, or has more than one line.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST).decode().strip()
    except OSError as error:
        told = error.strerror or type(error).__name__
        raise SecretUnreadable(f"{setting}: {path} can't be read: {told}") from None
    except UnicodeDecodeError:
        raise SecretUnreadable(f"{setting}: {path} is not text") from None
    if not text or len(text.split()) != 1:
        raise SecretUnreadable(f"{setting}: {path} has to hold one line without blanks")
    return text
