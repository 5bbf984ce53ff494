"""Under which account Postgres runs: it refuses to be root.

The wheel's own way as root is to add a user and to open every folder down to the data, the home included,
for all users of the machine. The ways here add nobody; the first leaves permissions as they are, the second
opens folders for passing through only.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Account:
    """How a program of Postgres is started.

    Attributes:
        prefix: put before its command line.
        owner: (uid, gid) that must own the server's folders, or None for the caller.
    """

    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None

    def command(self, program: str, *arguments: str) -> list[str]:
        return [*self.prefix, program, *arguments]


def in_user_namespace() -> Account:
    """Root outside, ``nobody`` inside: files stay root's."""
    nobody = pwd.getpwnam(_UNPRIVILEGED)
    return Account(("unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}", "--"))


def as_nobody() -> Account:
    """Really ``nobody``, where user namespaces are not allowed (many containers)."""
    nobody = pwd.getpwnam(_UNPRIVILEGED)
    return Account(
        ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--"),
        owner=(nobody.pw_uid, nobody.pw_gid),
    )


def open_path(folder: Path) -> list[Path]:
    """Let everybody pass through (not list) the folders above ``folder``; return those that were changed."""
    changed = []
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
            changed.append(parent)
    return changed


def choose() -> Account | None:
    """Return the first way that works on this machine, or None."""
    if os.geteuid() != 0:
        return Account()
    for way in (in_user_namespace, as_nobody):
        account = way()
        if shutil.which(account.prefix[0]) and _works(account.command("true")):
            return account
    return None


def _works(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
