"""The root of an image: an interpreter, what it is linked to, certificates and an init; neither shell nor setuid.

`python3 -m serving.fleet.container.root ROOT`, in the stage that builds; files come from that stage's own system.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from serving.fleet.container.contents import write_packages

USER = 10001  # fixed, so that volumes and policies can name it
# Of the standard library: what installs, draws, or tests.
LEFT_OUT = (
    *("__pycache__", "EXTERNALLY-MANAGED", "config-*", "dist-packages", "ensurepip", "idlelib", "lib2to3"),
    *("site-packages", "sitecustomize.py", "test", "tests", "tkinter", "turtledemo", "_tkinter*", "_test*"),
)
OPENED = ("libc6", "libgcc-s1", "libstdc++6")  # Debian's packages that wheels link to or open while they run
FILES = ("/etc/debian_version", "/etc/ld.so.conf", "/etc/os-release", "/etc/ssl/certs/ca-certificates.crt")
INIT = Path("/usr/bin/tini-static")
FOLDERS = {"cache": 0o700, "models": 0o755, "tmp": 0o1777, "work": 0o755}


def make(root: Path) -> None:
    """Fill an empty folder.

    Raises:
        OSError: a file that belongs in it is not there.
        subprocess.CalledProcessError: ldd, dpkg-query, ldconfig or compileall failed.
    """
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    interpreter, library = Path(sys.executable), Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, root / library.relative_to("/"), ignore=shutil.ignore_patterns(*LEFT_OUT))
    modules = sorted(library.glob("lib-dynload/*.so"))
    copied = {interpreter, INIT, *map(Path, FILES), *Path("/etc/ld.so.conf.d").glob("*.conf")}
    copied |= _linked([interpreter, *modules]) | _shared(OPENED)
    for path in copied:
        _copy(path, root)
    (root / "usr/bin/tini").symlink_to(INIT.name)
    subprocess.run(["ldconfig", "-r", root], check=True)
    write_packages({*copied, *modules, library / "os.py"}, root)
    _user(root)
    compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*compiling, "-s", root, "-p", "/", root / library.relative_to("/")], check=True)


def _linked(binaries: Iterable[Path]) -> set[Path]:
    """The shared libraries that binaries are linked to, and those that these are."""
    lines = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=True).stdout.splitlines()
    words = {word for line in lines if line.startswith("\t") for word in line.split()}
    return {Path(word) for word in words if word.startswith("/")}


def _shared(packages: Iterable[str]) -> set[Path]:
    """The shared libraries of packages."""
    listed = subprocess.run(["dpkg-query", "--listfiles", *packages], capture_output=True, text=True, check=True)
    paths = map(Path, listed.stdout.splitlines())
    return {path for path in paths if ".so" in path.name and "gconv" not in path.parts and path.is_file()}


def _copy(path: Path, root: Path) -> None:
    """Copy a file, and each that it is a link to."""
    target = root / path.relative_to("/")
    if target.is_symlink() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target, follow_symlinks=False)
    if path.is_symlink():
        _copy(Path(os.path.normpath(path.parent / path.readlink())), root)


def _user(root: Path) -> None:
    """One user beside root, whose are the caches and nothing else."""
    accounts = f"root:x:0:0::/:/nonexistent\npnol:x:{USER}:{USER}::/tmp:/nonexistent\n"
    (root / "etc/passwd").write_text(accounts, encoding="utf-8")
    (root / "etc/group").write_text(f"root:x:0:\npnol:x:{USER}:\n", encoding="utf-8")
    for name, mode in FOLDERS.items():
        (root / name).mkdir()
        (root / name).chmod(mode)
    os.chown(root / "cache", USER, USER)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
