"""Kubernetes' own programs, built once from the source package of Debian, which holds all that they import.

They are old (1.20) and serve nobody but these tests: a real API server, scheduler, controllers, kubelet and proxy.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

VERSION = "1.20.5+really1.20.2-1.1+deb12u1"  # of Debian's package: Kubernetes 1.20.2
NAMES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OFFLINE = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=vendor", "GOPROXY": "off"}


def build(folder: Path, archive: str, codename: str) -> None:
    """Put them into `folder`/VERSION, if they are not there: six minutes on two cores, 3 GB until it is done."""
    built = folder / VERSION
    if all((built / name).exists() for name in NAMES):
        return
    began, work = time.monotonic(), folder / "source"
    shutil.rmtree(work, ignore_errors=True)
    source = _unpacked(work, archive, codename)
    (source / ".go/src/k8s.io").mkdir(parents=True)
    (source / ".go/src/k8s.io/kubernetes").symlink_to("../../..")
    for name in NAMES:
        print(f"building {name} ({time.monotonic() - began:.0f} s so far)", flush=True)
        _run("make", f"WHAT=cmd/{name}", cwd=source, env=os.environ | OFFLINE | {"GOPATH": str(source / ".go")})
    built.mkdir(exist_ok=True)
    for name in NAMES:
        (source / "_output/local/go/bin" / name).rename(built / name)
    shutil.rmtree(work)
    print(f"Kubernetes' programs: built in {time.monotonic() - began:.0f} s", flush=True)


def _unpacked(work: Path, archive: str, codename: str) -> Path:
    """The source, fetched by an apt that knows of nothing else and changes nothing of the machine's own."""
    (work / "lists/partial").mkdir(parents=True)
    (work / "sources.list").write_text(f"deb-src [signed-by={KEYRING}] {archive} {codename} main\n")
    places = {"Dir::Etc::sourcelist": work / "sources.list", "Dir::Etc::sourceparts": "/dev/null"}
    places |= {"Dir::State::lists": work / "lists", "APT::Sandbox::User": "root"}
    options = [f"--option={name}={value}" for name, value in places.items()]
    _run("apt-get", *options, "--quiet", "update", cwd=work)
    _run("apt-get", *options, "--quiet", "source", "--download-only", f"kubernetes={VERSION}", cwd=work)
    [description] = work.glob("*.dsc")
    _run("dpkg-source", "--no-check", "--extract", description.name, "kubernetes", cwd=work)
    return work / "kubernetes"


def _run(*words: str, cwd: Path, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}"
