"""The lowest layer: Python and the libraries it links, out of Debian's packages.

mmdebstrap finds, checks and unpacks the packages, beside the machine's own and without installing anything or running
one of their scripts, so nobody has to be root. What it unpacked stays in the cache as a workshop: Python runs from
there to compile bytecode, and strip to take debugging symbols away. Only what is listed here goes into the image.
"""

from __future__ import annotations

import email.parser
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from image.kinds import SCRATCH, USER
from image.layers import Component, Stored, Tree
from localcluster import packages
from localcluster.errors import ClusterError
from localcluster.process import run
from localcluster.progress import Progress, Step

#: the release of Debian, and the Python it has
SUITE, PYTHON = "bookworm", "3.11"
#: everything that goes into the image; what apt takes along beside it (debconf, dpkg, perl, ...) does not
PACKAGES = (
    "base-files",
    "ca-certificates",
    "gcc-12-base",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    f"libpython{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "media-types",
    "netbase",
    "python3-minimal",
    f"python{PYTHON}-minimal",
    "zlib1g",
)
#: what only the workshop needs
TOOLS = ("binutils",)
#: what another layer takes files of; below ``control`` is what each says of itself
LENT = ("dash",)
_LIBRARY = f"usr/lib/python{PYTHON}"
#: extension modules of which the library stays outside (curses, readline, sqlite, dbm, NIS), and others of no use
_EXTENSIONS = (
    r"_curses|_curses_panel|readline|_sqlite3|_dbm|nis|ossaudiodev|_tkinter|_test\w*|_xxtestfuzz|xxlimited\w*"
)
_UNWANTED = re.compile(
    r"usr/share/(?!doc/[^/]+/copyright$|common-licenses/|ca-certificates/)"
    r"|usr/lib/[^/]+/(gconv|engines-3|ossl-modules|audit)/"
    r"|(lib|usr/lib)/[^/]+/lib(mvec|nsl|thread_db|memusage|pcprofile|BrokenLocale|SegFault)\b"
    r"|usr/(bin/(?!python)|sbin/|lib/(valgrind|lintian|tmpfiles\.d)/)|(bin|sbin|var|boot|home|root|srv|media|mnt|opt)/"
    r"|etc/(?!os-release|debian_version|host\.conf|mime\.types|protocols|services|python)"
    rf"|{_LIBRARY}/(pydoc_data|ensurepip|idlelib|tkinter|turtledemo|test|lib2to3|sqlite3|curses)/"
    rf"|{_LIBRARY}/lib-dynload/({_EXTENSIONS})\."
    r"|.*/__pycache__/"
)


@dataclass(frozen=True)
class Workshop:
    """Unpacked packages, whose programs run where they lie."""

    root: Path

    @property
    def _libraries(self) -> str:
        return ":".join(
            str(path) for base in ("lib", "usr/lib") for path in self.root.glob(f"{base}/*-linux-gnu*")
        )

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command that runs a program with the libraries beside it.

        Raises:
            ClusterError: there is no dynamic loader.
        """
        loader = next(iter(sorted(self.root.glob("lib*/ld-linux-*.so.*"))), None)
        if loader is None:
            raise ClusterError(f"libc6 in {self.root} has no dynamic loader")
        return [str(loader), "--library-path", self._libraries, str(self.root / program), *arguments]

    def python(self, *arguments: str, path: Iterable[Path] = (), env: Mapping[str, str] | None = None) -> str:
        """Run its Python and return stdout.

        Raises:
            ClusterError: it exited non-zero; says what it said.
        """
        return self.program(f"usr/bin/python{PYTHON}", *arguments, path=path, env=env)

    def program(
        self, program: str, *arguments: str, path: Iterable[Path] = (), env: Mapping[str, str] | None = None
    ) -> str:
        """Run one of its programs, with what its Python needs where it is that; return stdout.

        Raises:
            ClusterError: it exited non-zero; says what it said.
        """
        own = {
            "PYTHONHOME": str(self.root / "usr"),
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
            "LC_ALL": "C.UTF-8",
        }
        return run(self.command(program, *arguments), env={**own, **(env or {})})

    def compile(self, folder: Path, seen_as: str, leave: str) -> None:
        """Write bytecode that is never checked against its source, and that is the same every time.

        One process, sorted files and a fixed hash seed: what Python writes depends on all three. What matches
        ``leave`` stays without.
        """
        how = ["-q", "-j", "1", "--invalidation-mode", "unchecked-hash", "-x", leave]
        self.python("-m", "compileall", *how, "-s", str(folder), "-p", f"/{seen_as}", str(folder))

    def strip(self, files: Sequence[Path]) -> None:
        """Take symbols away that only debuggers read."""
        if files:
            run(
                self.command(
                    f"usr/bin/{os.uname().machine}-linux-gnu-strip", "--strip-unneeded", *map(str, files)
                )
            )

    def missing_libraries(self, folder: Path) -> list[str]:
        """Return which libraries the extension modules and programs below a folder lack, each with who lacks it."""
        missing = []
        programs = [path for path in folder.rglob("bin/*") if path.is_file() and _is_elf(path)]
        for file in sorted([*folder.rglob("*.so"), *programs]):
            command = self.command("x", "--list")[:3]
            done = subprocess.run(
                [*command, "--list", str(file)], capture_output=True, text=True, check=False
            )
            lacking = [line.split()[0] for line in done.stdout.splitlines() if "not found" in line]
            missing += [f"{file.relative_to(folder)}: {name}" for name in lacking]
        return missing


def sources() -> list[str]:
    """Return where the machine's own apt gets Debian from, as lines of a sources.list.

    Raises:
        ClusterError: there is no apt, or it knows nothing of the release.
    """
    if not shutil.which("apt-get"):
        raise ClusterError(
            "images are made of Debian packages, which needs apt: there is no apt-get on this machine"
        )
    wanted = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
    told = run(["apt-get", "indextargets", "--format", "$(CREATED_BY)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"])
    fields = [line.split("|") for line in told.splitlines()]
    lines = {
        f"deb {uri} {release} main"
        for created, uri, release, component in fields
        if created == "Packages" and component == "main" and release in wanted
    }
    if not any(line.endswith(f" {SUITE} main") for line in lines):
        raise ClusterError(
            f"images are made of Debian {SUITE}, which apt on this machine has no source of: add one to "
            "/etc/apt/sources.list.d, or build with hack/image/Dockerfile"
        )
    return sorted(lines)


def make(root: Path, progress: Progress) -> Stored:
    """Fill a folder with the workshop and the layer.

    Raises:
        ClusterError: a package or a tool could not be had.
    """
    with progress.step(f"Debian {SUITE}: unpacking packages") as step:
        _unpack(root / "root", _mmdebstrap(root, step), step)
    workshop = Workshop(root / "root")
    archives = sorted((workshop.root / "var/cache/apt/archives").glob("*.deb"))
    found = {_field(archive, "Package"): archive for archive in archives}
    with progress.step("Debian: compiling the standard library"):
        skipped = (
            rf"/({_EXTENSIONS}|pydoc_data|ensurepip|idlelib|tkinter|turtledemo|test|lib2to3|sqlite3|curses)/"
        )
        workshop.compile(workshop.root / _LIBRARY, _LIBRARY, skipped)
    with progress.step("Debian: writing the layer"):
        layer = tree(workshop.root, {name: found[name] for name in PACKAGES}).write(root / "layer.tar")
    components = [component(run(["dpkg-deb", "--field", str(found[name])])) for name in PACKAGES]
    (root / "control").mkdir()
    for name in LENT:
        (root / "control" / name).write_text(run(["dpkg-deb", "--field", str(found[name])]))
    shutil.rmtree(workshop.root / "var")
    return Stored(layer, tuple(components), root)


def component(control: str) -> Component:
    """Return what a package's fields say of it."""
    fields = email.parser.HeaderParser().parsestr(control)
    return Component("deb", fields["Package"], fields["Version"], arch=fields["Architecture"])


def tree(root: Path, archives: Mapping[str, Path]) -> Tree:
    """Return what of unpacked packages goes into the image, and what their scripts would have made of it."""
    wanted = {path for archive in archives.values() for path in _paths(archive) if not _UNWANTED.match(path)}
    compiled = re.compile(rf"({_LIBRARY}/.*?)__pycache__/([^/]+)\.cpython-\d+\.pyc")

    def goes(path: str) -> bool:
        match = compiled.fullmatch(path)
        return (f"{match[1]}{match[2]}.py" if match else path) in wanted

    made = Tree().folder(root, wanted=goes)
    certificates = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = "".join(f"{path.read_text().strip()}\n" for path in certificates)
    made.file("etc/ssl/certs/ca-certificates.crt", bundle)
    made.link("usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt")
    made.link("usr/lib/ssl/certs", "/etc/ssl/certs")
    made.file(
        "etc/passwd",
        f"root:x:0:0:root:/root:/nonexistent\nkubernaut:x:{USER}:{USER}::{SCRATCH}:/nonexistent\n",
    )
    made.file("etc/group", f"root:x:0:\nkubernaut:x:{USER}:\n")
    made.file("etc/nsswitch.conf", "hosts: files dns\n")
    # Where scanners of images look for packages that no dpkg installed.
    for name, archive in archives.items():
        made.file(f"var/lib/dpkg/status.d/{name}", run(["dpkg-deb", "--field", str(archive)]))
    for path in ("dev", "proc", "run", "sys"):
        made.directory(path)
    return made.directory(SCRATCH.strip("/"), 0o1777)


def _paths(archive: Path) -> list[str]:
    """Return the files and links of a package."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        return [member.name.removeprefix("./") for member in tar if not member.isdir()]


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _field(archive: Path, name: str) -> str:
    return run(["dpkg-deb", "--field", str(archive), name]).strip()


def _mmdebstrap(root: Path, step: Step) -> str:
    """Return the program: the machine's, or the package's, unpacked."""
    if found := shutil.which("mmdebstrap"):
        return found
    return str(packages.unpack(("mmdebstrap",), root / "mmdebstrap", step) / "usr" / "bin" / "mmdebstrap")


def _unpack(root: Path, program: str, step: Step) -> None:
    """Have the packages downloaded, checked and unpacked; the archives stay beside them."""
    if not shutil.which("perl"):
        raise ClusterError("mmdebstrap needs perl: install it (apt-get install perl)")
    options = ["--variant=extract", "--mode=chrootless", "--format=directory", "--skip=cleanup"]
    options += [f"--include={','.join((*PACKAGES, *TOOLS, *LENT))}", "--components=main"]
    command = [program, *options, "", str(root), *sources()]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    ) as process:
        assert process.stderr
        said = []
        for line in process.stderr:
            said.append(line.rstrip())
            step.note(said[-1].removeprefix("I: "))
    if process.returncode != 0:
        raise ClusterError("mmdebstrap failed:\n" + "\n".join(said[-15:]))
