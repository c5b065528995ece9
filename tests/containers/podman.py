"""Podman with a storage of its own in one folder: images built from this checkout, containers, their processes.

In place of the base image that a registry would hand out stands a Debian with Python and pip, made by mmdebstrap. pip's
settings reach the build as secrets, with a mark that must be found in no image.
"""

import contextlib
import functools
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAMS = ("mmdebstrap", "podman", "runc")
BASE = "localhost/python:debian"
DEBIAN = "python3,python3-pip,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
HANDED_ON = ("index-url", "extra-index-url", "trusted-host", "timeout", "proxy")  # what pip may be told of an index
# Limits are named, since raising them may be forbidden; cgroups of both versions at once are runc's alone.
CONF = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def missing() -> str | None:
    """Why no image can be built here."""
    if os.getuid() != 0:
        return "needs root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)} (make test-containers installs them on Debian)" if absent else None


@dataclass(frozen=True)
class Podman:
    """Podman whose images, containers and settings lie in `folder`."""

    folder: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(16))
    seconds: dict[str, float] = field(default_factory=dict)  # that each image took to build

    def __call__(self, *words: str, check: bool = True, timeout: float = 1500) -> str:
        """What it prints."""
        done = self.run(*words, timeout=timeout)
        assert done.returncode == 0 or not check, f"podman {' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def run(self, *words: str, timeout: float = 1500) -> subprocess.CompletedProcess[str]:
        """The ended command."""
        where = ["--root", f"{self.folder}/storage", "--runroot", f"{self.folder}/state", "--storage-driver", "overlay"]
        environment = os.environ | {"CONTAINERS_CONF": str(self.folder / "containers.conf")}
        command = ["podman", *where, *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout, check=False)

    def inspect(self, name: str, kind: str = "container") -> dict[str, Any]:
        """What podman knows of a container or an image."""
        found: dict[str, Any] = json.loads(self("inspect", "--type", kind, name))[0]
        return found

    def build(self, target: str) -> str:
        """An image of this checkout; its name."""
        pip = self.folder / "pip.conf"
        pip.write_text(_pip_settings(self.mark))
        secret = ["--secret", f"id=pip.conf,src={pip}", "--secret", f"id=index.crt,src={CERTIFICATES}"]
        words = ["--isolation", "chroot", "--format", "docker", "--pull=never", "--build-arg", f"BASE={BASE}"]
        began = time.monotonic()
        self("build", *words, *secret, "--target", target, "--tag", f"localhost/pnol:{target}", str(ROOT))
        self.seconds[target] = time.monotonic() - began
        return f"localhost/pnol:{target}"

    def make_base(self) -> None:
        """The base image, from the archive that this machine's own packages come from."""
        context = self.folder / "base"
        context.mkdir()
        words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={DEBIAN}", codename()]
        subprocess.run([*words, context / "root.tar", archive()], check=True, timeout=900)
        (context / "Containerfile").write_text("FROM scratch\nADD root.tar /\n")
        self("build", "--isolation", "chroot", "--format", "docker", "--tag", BASE, str(context))
        shutil.rmtree(context)

    @contextlib.contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """The files of an image."""
        try:
            yield Path(self("image", "mount", image))
        finally:
            self("image", "unmount", image)


@contextlib.contextmanager
def podman(folder: Path) -> Iterator[Podman]:
    """Podman with its base image; nothing of it is left afterwards."""
    (folder / "containers.conf").write_text(CONF)
    started = Podman(folder)
    try:
        started.make_base()
        yield started
    finally:
        started("rm", "--all", "--force", "--time", "0", check=False)
        subprocess.run(["umount", folder / "storage/overlay"], capture_output=True, check=False)
        shutil.rmtree(folder)


@functools.cache
def codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME="))


def archive() -> str:
    """The address of Debian's archive, as apt on this machine knows it."""
    words = [
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE)",
        "Created-By: Packages",
        "Component: main",
        "Origin: Debian",
    ]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return next(site for site in listed if site.startswith(("http:", "https:")))


def _pip_settings(mark: str) -> str:
    """pip's own settings of where packages come from, without what only this machine can read."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    lines = [f"# {mark}", "[global]", "cert = /run/secrets/index.crt"]
    for line in sorted(listed.stdout.splitlines()):  # those of the environment first, which pip prefers
        name, _, value = line.partition("=")
        option, words = name.rpartition(".")[2], value.strip("'").split()
        remote = [word for word in words if not word.startswith("file:")]
        if option in HANDED_ON and remote and not any(known.startswith(f"{option} =") for known in lines):
            lines.append(f"{option} = {' '.join(remote)}")
    return "\n".join(lines) + "\n"
